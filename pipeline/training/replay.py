"""Rendered samples stay for a while and are used several times under fresh augmentation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Block = TypeVar("Block")


class ReplayRing(Generic[Block]):
    """A sliding window over an endless sequence of rendered blocks.

    Which blocks are held, and what a step draws from them, depends on the step alone: a resumed run
    renders the same ring again and goes on as if nothing had happened. Samples that are used once are dealt
    out in their order: each is as random as any other.

    Args:
        render: makes block number n.
        block_size: samples in a block.
        batch_size: samples drawn in a step.
        reuse: how often a sample is drawn before it leaves, on average.
        capacity: blocks held at most.
    """

    def __init__(
        self, render: Callable[[int], Block], block_size: int, batch_size: int, reuse: int, capacity: int
    ) -> None:
        self._render = render
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self.block_size, self.batch_size, self.reuse, self.capacity = block_size, batch_size, reuse, capacity
        if block_size < batch_size or (reuse == 1 and block_size % batch_size):
            raise ValueError(f"a block of {block_size} samples cannot fill batches of {batch_size}")

    def window(self, step: int) -> range:
        """Numbers of the blocks that a step draws from."""
        newest = step * self.batch_size // (self.block_size * self.reuse)
        held = 1 if self.reuse == 1 else self.capacity
        return range(max(0, newest + 1 - held), newest + 1)

    def draw(self, step: int, generator: torch.Generator) -> list[tuple[Block, list[int]]]:
        """The samples of a step, none twice.

        Args:
            step: number of the step.
            generator: decides which samples.

        Returns:
            Blocks and the positions of the samples within them.
        """
        window = self.window(step)
        for number in [n for n in self._blocks if n not in window]:
            del self._blocks[number]
        for number in window:
            if number not in self._blocks:
                self._blocks[number] = self._render(number)
        if self.reuse == 1:
            first = step * self.batch_size % self.block_size
            return [(self._blocks[window[0]], list(range(first, first + self.batch_size)))]
        chosen = torch.randperm(len(window) * self.block_size, generator=generator)[: self.batch_size]
        picks: dict[int, list[int]] = {}
        for index in sorted(chosen.tolist()):
            picks.setdefault(window[index // self.block_size], []).append(index % self.block_size)
        return [(self._blocks[number], positions) for number, positions in picks.items()]

"""Samples of a data set in shuffled epochs, made ahead of time by threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.training.devices import Workers
from pipeline.training.rendered import derived_seed

Batch = TypeVar("Batch")

_AHEAD = 4  # batches
_MOST_THREADS = 8


class EpochOrder:
    """Which samples of a data set a step takes: all of them once in each epoch, in another order each time.

    A step's samples depend on its number alone, and the processes of a run share them out: several with
    small batches take the samples of one with a large batch.

    Args:
        length: samples of the data set.
        batch: samples for each step and process.
        seed: of the order.
        workers: the processes.
    """

    def __init__(self, length: int, batch: int, seed: int, workers: Workers) -> None:
        self.length, self.batch, self._seed, self._workers = length, batch, seed, workers
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def samples(self, step: int) -> list[tuple[int, int]]:
        """Number of each sample of a step, and a seed for what is varied in it."""
        first = (step * self._workers.count + self._workers.rank) * self.batch
        chosen = []
        for place in range(first, first + self.batch):
            epoch, position = divmod(place, self.length)
            chosen.append((int(self._order(epoch)[position]), derived_seed(self._seed, place, 1)))
        return chosen

    def steps(self, epochs: float) -> int:
        """Steps in so many epochs."""
        return max(1, round(epochs * self.length / (self.batch * self._workers.count)))

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng(derived_seed(self._seed, epoch)).permutation(self.length)


class Prefetched(Generic[Batch]):
    """Batches by the number of their step; threads make the next ones meanwhile.

    Args:
        make: the batch of a step.
        threads: that make them; None for one for each core, 8 at most.
    """

    def __init__(self, make: Callable[[int], Batch], threads: int | None = None) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(threads or min(_MOST_THREADS, os.cpu_count() or 1))
        self._coming: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """The batch of a step.

        Raises:
            HandPoseError: whatever went wrong in making it.
        """
        wanted = range(step, step + 1 + _AHEAD)
        for number in [n for n in self._coming if n not in wanted]:
            self._coming.pop(number).cancel()
        for number in wanted:
            if number not in self._coming:
                self._coming[number] = self._pool.submit(self._make, number)
        return self._coming.pop(step).result()

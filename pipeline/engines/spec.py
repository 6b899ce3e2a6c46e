"""What an engine is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.constants import CPU_THREADS
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.inference import for_engines, measured_channels

MAX_BATCH = 8  # what engines with a fixed largest batch are made for
_FORMAT = 3  # of converted models; raise it when the conversion changes


@dataclass(frozen=True, eq=False)
class EngineSpec:
    """A network with its weights.

    Args:
        module: in eval mode, float32, on the CPU; engines copy it, they never change it.
        input_shape: (C, S, S) of one input.
        max_batch: largest batch that engines are optimised for; larger ones run in parts.
        checkpoint: the file the weights come from: converted models are kept beside it.
        threads: of the processor, that compute; None for the engine's choice.
        made_from: fingerprint of the network that the module is another form of; None if it is none.
    """

    module: nn.Module
    input_shape: tuple[int, int, int]
    max_batch: int = MAX_BATCH
    checkpoint: Path | None = None
    threads: int | None = CPU_THREADS
    made_from: str | None = None

    @property
    def name(self) -> str:
        """Of the network, for messages and file names."""
        return self.checkpoint.stem if self.checkpoint else type(self.module).__name__.lower()

    @cached_property
    def fingerprint(self) -> str:
        """16 digits that change with the layers, the weights and the input's shape.

        Those of the network that the module was made from, as it was stored: what is computed out of weights
        may differ in its last digits from machine to machine.
        """
        if self.made_from:
            return self.made_from
        digest = hashlib.sha256(f"{_FORMAT} {self.input_shape} {self.module!r}".encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    @cached_property
    def probed(self) -> tuple[NDArray[np.float32], ...]:
        """What the module itself makes of `probe`: engines are tried with it, some more than once."""
        return self.reference(probe(self.input_shape))

    @torch.inference_mode()
    def reference(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """What the module itself makes of a batch, in float32."""
        return tuple(
            output.float().cpu().numpy() for output in as_tuple(self.module(torch.from_numpy(batch)))
        )


def probe(input_shape: tuple[int, int, int], count: int = 1) -> NDArray[np.float32]:
    """(N, C, S, S) that costs nothing to make: a slanted blob before a far background."""
    channels, height, width = input_shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shape = np.where(x**2 + y**2 + 0.3 * np.sin(5 * x) < 0.4, 0.3 * x - 0.2 * y, 1.0).astype(np.float32)
    return np.broadcast_to(shape, (count, channels, height, width)).copy()


def spec_of(
    network: CenterNet | A2J,
    max_batch: int = MAX_BATCH,
    checkpoint: Path | None = None,
    threads: int | None = CPU_THREADS,
) -> EngineSpec:
    """One of the program's networks as engines are given it; arguments as of `EngineSpec`."""
    shape = measured_channels(network), network.contract.size, network.contract.size
    made_from = EngineSpec(network, shape).fingerprint
    return EngineSpec(for_engines(network), shape, max_batch, checkpoint, threads, made_from)


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A module's outputs, however many it has."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class HalfInside(nn.Module):
    """A module that computes in half precision and takes and gives float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.half()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.float() for output in as_tuple(self.module(x.half())))

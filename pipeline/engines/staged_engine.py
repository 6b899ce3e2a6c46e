"""Batches to a GPU and back through buffers that are made once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray


class StagedEngine(ABC):
    """Pinned buffers on the host, their twins on the device, one stream.

    Args:
        input_shape: (C, S, S) of one input.
        output_shapes: of each output, without the batch.
        max_batch: rows of the buffers; larger batches run in parts.
        device: of the network; on the CPU, for tests, everything runs at once.
    """

    name: str

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_shapes: Sequence[tuple[int, ...]],
        max_batch: int,
        device: torch.device,
    ) -> None:
        shapes = [input_shape, *output_shapes]
        on_gpu = device.type == "cuda"
        host = [torch.zeros(max_batch, *shape, pin_memory=on_gpu) for shape in shapes]
        self._host_input, *self._host_outputs = host
        self._input, *self._outputs = (torch.zeros(max_batch, *shape, device=device) for shape in shapes)
        self._max_batch = max_batch
        self._stream = torch.cuda.Stream(device) if on_gpu else None
        if self._stream is not None:  # the buffers are filled on the usual stream
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the module's outputs: views that the next run overwrites."""
        if len(batch) > self._max_batch:
            starts = range(0, len(batch), self._max_batch)
            parts = [[part.copy() for part in self.run(batch[k : k + self._max_batch])] for k in starts]
            return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))
        count = len(batch)
        self._host_input[:count].copy_(torch.from_numpy(batch))
        with torch.inference_mode(), self._on_stream():
            self._input[:count].copy_(self._host_input[:count], non_blocking=True)
            self._execute(count)
            for host, output in zip(self._host_outputs, self._outputs, strict=True):
                host[:count].copy_(output[:count], non_blocking=True)
        return tuple(host[:count].numpy() for host in self._host_outputs)

    @abstractmethod
    def _execute(self, count: int) -> None:
        """The first `count` rows of the input buffer to those of the output buffers, on the stream."""

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()

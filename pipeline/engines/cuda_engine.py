"""PyTorch on an NVIDIA GPU: half precision, channels last, one CUDA graph for each batch size."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from pipeline.engines.agreement import differences
from pipeline.engines.spec import EngineSpec, HalfInside, as_tuple, probe
from pipeline.engines.staged_engine import StagedEngine

_WARM_UP = 3  # runs before a capture: cuDNN chooses its algorithms in them
_log = logging.getLogger(__name__)


class CudaEngine(StagedEngine):
    """Runs a module in half precision, or in float32 where half precision moves its answers too far.

    Args:
        spec: the network.
        device: a CUDA device; on the CPU, for tests, nothing is captured.
    """

    def __init__(self, spec: EngineSpec, device: torch.device) -> None:
        with torch.inference_mode():
            outputs = as_tuple(spec.module(torch.zeros(1, *spec.input_shape)))
        shapes = [tuple(output.shape[1:]) for output in outputs]
        super().__init__(spec.input_shape, shapes, spec.max_batch, device)
        fused = fuse(copy.deepcopy(spec.module))
        choices: dict[str, nn.Module] = {"float16": HalfInside(copy.deepcopy(fused)), "float32": fused}
        for precision, module in choices.items():
            self._prepare(module.to(device).to(memory_format=torch.channels_last))
            self.name = f"torch {precision} ({device})"
            found = differences(spec, self.run, probe(spec.input_shape))
            if all(one.acceptable for one in found):
                break
            _log.warning("%s is too coarse for %s (%s)", precision, spec.name, "; ".join(map(str, found)))

    def _prepare(self, module: nn.Module) -> None:
        """Steps for all batch sizes; those on a GPU share their memory, since one runs at a time."""
        self._module = module  # graphs read the weights, but do not keep them
        pool = None if self._stream is None else torch.cuda.graph_pool_handle()
        counts = range(self._max_batch, 0, -1)  # the largest first: the others fit into its memory
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            self._steps = {count: self._captured(self._step(module, count), pool) for count in counts}

    def _step(self, module: nn.Module, count: int) -> Callable[[], None]:
        def step() -> None:
            batch = self._input[:count].contiguous(memory_format=torch.channels_last)
            for buffer, output in zip(self._outputs, as_tuple(module(batch)), strict=True):
                buffer[:count].copy_(output)

        return step

    def _captured(self, step: Callable[[], None], pool: Any) -> Callable[[], None]:
        if self._stream is None:
            return step
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                step()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # What other threads do on the GPU meanwhile must not spoil the capture.
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            step()
        return graph.replay

    def _execute(self, count: int) -> None:
        if count:
            self._steps[count]()

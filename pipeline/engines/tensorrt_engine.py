"""TensorRT on an NVIDIA GPU or Jetson."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from importlib.util import find_spec
from types import ModuleType

import torch

from pipeline.engines.agreement import differences, realistic_inputs
from pipeline.engines.cache import ModelCache
from pipeline.engines.onnx_export import export_onnx
from pipeline.engines.spec import EngineSpec
from pipeline.engines.staged_engine import StagedEngine
from pipeline.engines.tensorrt_build import build_plan, build_plan_with_torch2trt
from pipeline.errors import HandPoseError

_log = logging.getLogger(__name__)


class TensorRtEngine(StagedEngine):
    """Runs a network in half precision; built at the first use, which takes minutes, and kept.

    With a TensorRT before 11 and torch2trt installed the latter builds it, else TensorRT itself from ONNX.
    An engine whose answers differ too much from PyTorch's is refused before it is kept.

    Args:
        spec: the network.
        device: the GPU; the CPU only in tests.
        cache: where the engine is kept.

    Raises:
        HandPoseError: it cannot be built, or is not accurate.
    """

    def __init__(self, spec: EngineSpec, device: torch.device, cache: ModelCache | None = None) -> None:
        self._trt = import_tensorrt()
        self._spec, self._device = spec, device
        # The largest batch is part of the engine.
        made_by = f"tensorrt{self._trt.__version__}-{_gpu(device)}-b{spec.max_batch}"
        # TensorRT builds and loads on the current GPU.
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            (cache or ModelCache(spec)).get("tensorrt-float16", made_by, self._build, self._load)
        self.name = f"tensorrt float16 ({device})"

    def _build(self) -> bytes:
        _log.warning(
            "building the TensorRT engine of %s: this takes some minutes, the first time only",
            self._spec.name,
        )
        if has_torch2trt(self._trt):
            plan = build_plan_with_torch2trt(self._spec, self._device)
        else:
            plan = build_plan(self._trt, export_onnx(self._spec, half=True), self._spec)
        self._load(plan)
        for found in differences(self._spec, self.run, realistic_inputs(self._spec)):
            if not found.acceptable:
                raise HandPoseError(
                    f"the TensorRT engine of {self._spec.name} is not accurate ({found}): use --engine torch"
                )
            _log.warning("the TensorRT engine of %s is ready: %s", self._spec.name, found)
        return plan

    def _load(self, plan: bytes) -> None:
        self._runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.ERROR))
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise HandPoseError("TensorRT cannot load its engine: free GPU memory, or use --engine torch")
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        is_input = {n: engine.get_tensor_mode(n) == self._trt.TensorIOMode.INPUT for n in names}
        (self._input_name,) = (name for name in names if is_input[name])
        outputs = sorted(name for name in names if not is_input[name])  # numbered in the module's order
        self._engine, self._context = engine, engine.create_execution_context()
        shapes = [tuple(engine.get_tensor_shape(name))[1:] for name in outputs]
        super().__init__(self._spec.input_shape, shapes, self._spec.max_batch, self._device)
        self._context.set_tensor_address(self._input_name, self._input.data_ptr())
        for name, buffer in zip(outputs, self._outputs, strict=True):
            self._context.set_tensor_address(name, buffer.data_ptr())

    def _execute(self, count: int) -> None:
        self._context.set_input_shape(self._input_name, (count, *self._spec.input_shape))
        stream = self._stream.cuda_stream if self._stream else 0
        if not self._context.execute_async_v3(stream):
            raise HandPoseError("TensorRT cannot run its engine: free GPU memory, or use --engine torch")


def import_tensorrt() -> ModuleType:
    """The module `tensorrt`.

    Raises:
        Exception: whatever the package raises where it is a stub, without its libraries.
    """
    import tensorrt

    return tensorrt


def has_torch2trt(trt: ModuleType) -> bool:
    """Whether torch2trt is installed, and works with this TensorRT."""
    return major_version(trt) < 11 and find_spec("torch2trt") is not None


def major_version(trt: ModuleType) -> int:
    """Of the module `tensorrt`."""
    return int(trt.__version__.split(".")[0])


def _gpu(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

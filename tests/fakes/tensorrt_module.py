"""Fakes of TensorRT 10 and 11 and of torch2trt: they build and run ONNX files on the CPU."""

from __future__ import annotations

import ctypes
import json
import math
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.engines.spec import EngineSpec
from tests.engines.modules import exported

Shape = tuple[int, ...]


class FakeTensorRT(ModuleType):
    """The module `tensorrt` of one version.

    Attributes:
        calls: names of the builder's calls so far, in order.
        strongly_typed: whether the last network was created so.
        profile: of the last engine: smallest, usual and largest shape.
        readable, buildable: set to False to let the parser or the builder fail.
    """

    class Logger:
        ERROR = 1

        def __init__(self, least: int) -> None:
            self.least = least

    class TensorIOMode(IntEnum):
        INPUT = 1
        OUTPUT = 2

    class MemoryPoolType(IntEnum):
        WORKSPACE = 0

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt")
        self.__spec__ = ModuleSpec("tensorrt", None)
        self.__version__ = version
        newest = int(version.split(".", maxsplit=1)[0]) >= 11
        old_flags = {} if newest else {"EXPLICIT_BATCH": 0}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1, **old_flags)
        self.BuilderFlag = SimpleNamespace(TF32=7, **({} if newest else {"FP16": 0}))
        self.calls: list[str] = []
        self.strongly_typed = False
        self.profile: tuple[Shape, Shape, Shape] | None = None
        self.readable = self.buildable = True

    def Builder(self, logger: Logger) -> _Builder:
        return _Builder(self)

    def OnnxParser(self, network: _Network, logger: Logger) -> _Parser:
        return _Parser(self, network)

    def Runtime(self, logger: Logger) -> _Runtime:
        return _Runtime(self)


class _Network:
    model: bytes

    def get_input(self, index: int) -> Any:
        return SimpleNamespace(name=_session(self.model).get_inputs()[index].name)


class _Parser:
    def __init__(self, trt: FakeTensorRT, network: _Network) -> None:
        self._trt, self._network = trt, network
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        self._trt.calls.append("parse")
        self.num_errors = int(not self._trt.readable)
        self._network.model = model
        return self._trt.readable

    def get_error(self, index: int) -> str:
        return "In node 3: unsupported"


class _Profile:
    def set_shape(self, name: str, smallest: Shape, usual: Shape, largest: Shape) -> None:
        self.shapes = (smallest, usual, largest)


class _Config:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        assert size > 0

    def add_optimization_profile(self, profile: _Profile) -> int:
        self._trt.profile = profile.shapes
        return 0


class _Builder:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def create_network(self, flags: int = 0) -> _Network:
        self._trt.calls.append("create_network")
        self._trt.strongly_typed = bool(flags & 1 << self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self._trt)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> memoryview | None:
        self._trt.calls.append("build_serialized_network")
        assert self._trt.profile is not None
        plan = fake_plan(self._trt, network.model, self._trt.profile[0], self._trt.profile[2])
        return memoryview(plan) if self._trt.buildable else None


def fake_plan(trt: FakeTensorRT, model: bytes, smallest: Shape, largest: Shape) -> bytes:
    """An engine file: version and profile, then the model."""
    head = {"version": trt.__version__, "smallest": smallest, "largest": largest}
    return json.dumps(head).encode() + b"\n" + model


class _Runtime:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        head, _, model = plan.partition(b"\n")
        about = json.loads(head)
        return _Engine(self._trt, about, model) if about["version"] == self._trt.__version__ else None


class _Engine:
    def __init__(self, trt: FakeTensorRT, about: dict[str, Any], model: bytes) -> None:
        self._trt, self.about, self.session = trt, about, _session(model)
        self._modes = {t.name: trt.TensorIOMode.INPUT for t in self.session.get_inputs()}
        self._shapes = {t.name: t.shape for t in [*self.session.get_inputs(), *self.session.get_outputs()]}
        for tensor in reversed(self.session.get_outputs()):  # in no order that could be relied on
            self._modes[tensor.name] = trt.TensorIOMode.OUTPUT

    @property
    def num_io_tensors(self) -> int:
        return len(self._modes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._modes)[index]

    def get_tensor_mode(self, name: str) -> int:
        return self._modes[name]

    def get_tensor_shape(self, name: str) -> Shape:
        return tuple(side if isinstance(side, int) else -1 for side in self._shapes[name])

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: Shape = ()

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        about = self._engine.about
        assert about["smallest"][0] <= shape[0] <= about["largest"][0]
        assert list(shape[1:]) == list(about["smallest"][1:])
        self._shape = shape
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        session = self._engine.session
        (name,) = (tensor.name for tensor in session.get_inputs())
        answers = session.run(None, {name: _memory(self._addresses[name], self._shape)})
        for tensor, answer in zip(session.get_outputs(), answers, strict=True):
            assert answer.dtype == np.float32
            _memory(self._addresses[tensor.name], answer.shape)[...] = answer
        return True


class FakeTorch2trt(ModuleType):
    """The module `torch2trt` beside a fake TensorRT.

    Attributes:
        options: of the last conversion.
    """

    def __init__(self, trt: FakeTensorRT) -> None:
        super().__init__("torch2trt")
        self.__spec__ = ModuleSpec("torch2trt", None)
        self._trt = trt
        self.options: dict[str, Any] = {}

    def torch2trt(self, module: nn.Module, inputs: list[Tensor], **options: Any) -> Any:
        self.options = options
        shape = tuple(inputs[0].shape[1:])
        assert len(shape) == 3
        ((smallest,), (largest,)) = options["min_shapes"], options["max_shapes"]
        model = exported(EngineSpec(module, shape, largest[0]))
        plan = fake_plan(self._trt, model, smallest, largest)
        return SimpleNamespace(engine=SimpleNamespace(serialize=lambda: memoryview(plan)))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _memory(address: int, shape: Shape) -> NDArray[np.float32]:
    buffer = (ctypes.c_float * math.prod(shape)).from_address(address)
    return np.ctypeslib.as_array(buffer).reshape(shape)

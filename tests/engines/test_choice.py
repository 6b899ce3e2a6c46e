import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.engines import ENGINES, choice, create_engines
from pipeline.engines.choice import Kind, engines_for
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec
from pipeline.errors import HandPoseError, UsageError
from tests.engines.modules import SHAPE, two_heads


class Stub:
    """Right answers, or spoilt ones."""

    def __init__(self, name: str, spec: EngineSpec, spoilt: float) -> None:
        self.name, self._spec, self._spoilt = name, spec, np.float32(spoilt)

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return tuple(output + self._spoilt for output in self._spec.reference(batch))


def kind(name: str, on_gpu: bool = False, missing: str | None = None, spoilt: float = 0.0) -> Kind:
    def make(spec: EngineSpec, device: torch.device) -> Engine:
        return Stub(f"{name} ({device})", spec, spoilt)

    return Kind(name, on_gpu, lambda: missing, make)


def failing(name: str, error: Exception) -> Kind:
    def make(spec: EngineSpec, device: torch.device) -> Engine:
        raise error

    return Kind(name, False, lambda: None, make)


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    specs = [EngineSpec(two_heads(), SHAPE), EngineSpec(two_heads(1), SHAPE)]

    def chosen(kinds: Sequence[Kind], name: str = "auto", device: str | None = None) -> list[str]:
        monkeypatch.setattr(choice, "KINDS", tuple(kinds))
        return [engine.name for engine in engines_for(name, specs, device)]

    return chosen


def test_auto_takes_the_first_that_is_there_and_says_why(
    choose: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        names = choose([kind("tensorrt", True, "not installed"), kind("openvino"), kind("torch")])
    assert names == ["openvino (cpu)"] * 2
    assert [record.message for record in caplog.records] == [
        "engine: openvino (cpu), the fastest that works here; faster ones are not here: tensorrt on a GPU"
    ]


@pytest.mark.parametrize(
    "broken",
    [
        failing("openvino", OSError("libtbb.so.12: cannot open shared object file\nmore")),
        failing("openvino", HandPoseError("it is not accurate")),
        kind("openvino", spoilt=5.0),
        kind("openvino", spoilt=np.nan),
    ],
)
def test_auto_goes_on_with_one_sentence(
    choose: Callable[..., list[str]], caplog: pytest.LogCaptureFixture, broken: Kind
) -> None:
    assert choose([broken, kind("onnx"), kind("torch")]) == ["onnx (cpu)"] * 2
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.message.startswith("openvino does not work here (")
    assert "\n" not in warning.message


def test_engines_asked_for_by_name_must_work(choose: Callable[..., list[str]]) -> None:
    rest = [kind("torch")]
    with pytest.raises(UsageError, match="the engine onnx cannot be used: pip install it"):
        choose([kind("onnx", missing="pip install it"), *rest], "onnx")
    for broken in (failing("onnx", OSError("no library")), failing("onnx", HandPoseError("no library"))):
        with pytest.raises(UsageError, match="no library"):
            choose([broken, *rest], "onnx")
    with pytest.raises(UsageError, match="gives wrong answers for twoheads"):
        choose([kind("onnx", spoilt=5.0), *rest], "onnx")


def test_the_device_narrows_the_choice(choose: Callable[..., list[str]]) -> None:
    kinds = [kind("tensorrt", on_gpu=True), kind("torch", on_gpu=True), kind("onnx"), kind("torch")]
    assert choose(kinds)[0] == "tensorrt (cuda)"
    assert choose(kinds, device="cpu")[0] == "onnx (cpu)"
    assert choose(kinds, "torch")[0] == "torch (cuda)"
    assert choose(kinds, "torch", "cpu")[0] == "torch (cpu)"
    assert choose([kind("torch", True, "no GPU"), kind("torch")], "torch")[0] == "torch (cpu)"
    with pytest.raises(UsageError, match="tensorrt does not run on cpu"):
        choose(kinds, "tensorrt", "cpu")


@pytest.mark.parametrize("absent", ["openvino", "onnxruntime", "onnxscript"])
def test_what_is_not_installed_is_named_with_its_command(
    absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = choice.find_spec
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name == absent else find(name))
    name = "openvino" if absent == "openvino" else "onnx"
    with pytest.raises(UsageError, match=rf"cannot be used: .* not installed: pip install .*{absent}"):
        create_engines(name, [EngineSpec(two_heads(), SHAPE)])


def test_every_kind_can_be_asked_for() -> None:
    assert {kind.name for kind in choice.KINDS} | {"auto"} == set(ENGINES)

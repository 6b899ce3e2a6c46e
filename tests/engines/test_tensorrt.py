"""TensorRT's calls, against fakes of 10 and 11 that run on the CPU; and a real build without a GPU."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.engines import tensorrt_engine
from pipeline.engines.choice import engines_for
from pipeline.engines.onnx_export import export_onnx
from pipeline.engines.spec import EngineSpec
from pipeline.engines.tensorrt_build import build_plan
from pipeline.engines.tensorrt_engine import TensorRtEngine
from pipeline.errors import HandPoseError, UsageError
from pipeline.networks.a2j import A2J
from tests.engines.modules import SHAPE, exported, noise, two_heads
from tests.fakes.tensorrt_module import FakeTensorRT, FakeTorch2trt

CPU = torch.device("cpu")
versions = pytest.mark.parametrize("trt", ["10.3.0", "11.4.1"], indirect=True)


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    return EngineSpec(two_heads(), SHAPE, max_batch=3, checkpoint=tmp_path / "hands.pth")


@pytest.fixture
def trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    fake = FakeTensorRT(getattr(request, "param", "10.3.0"))
    monkeypatch.setattr(tensorrt_engine, "export_onnx", exported)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture
def torch2trt(trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> FakeTorch2trt:
    fake = FakeTorch2trt(trt)
    monkeypatch.setitem(sys.modules, "torch2trt", fake)
    return fake


def assert_close(engine: TensorRtEngine, spec: EngineSpec, count: int) -> None:
    batch = noise(count)
    for found, expected in zip(engine.run(batch), spec.reference(batch), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=3e-2, atol=3e-2)


@versions
def test_engine_is_built_strongly_typed_kept_and_run(
    trt: FakeTensorRT, spec: EngineSpec, caplog: pytest.LogCaptureFixture
) -> None:
    engine = TensorRtEngine(spec, CPU)
    assert trt.strongly_typed
    assert trt.profile == ((1, *SHAPE), (1, *SHAPE), (3, *SHAPE))
    assert trt.calls == ["create_network", "parse", "build_serialized_network"]
    for count in (1, 3, 2, 8):  # the last in three parts
        assert_close(engine, spec, count)
    assert "building the TensorRT engine of hands: this takes some minutes" in caplog.text
    assert "outputs differ by" in caplog.text
    TensorRtEngine(spec, CPU)
    assert trt.calls.count("build_serialized_network") == 1
    (kept,) = spec.checkpoint.parent.iterdir()  # type: ignore[union-attr]
    for part in (spec.fingerprint, f"tensorrt{trt.__version__}", "float16", "cpu"):
        assert part in kept.name


def test_engines_are_built_and_loaded_on_their_own_gpu(
    trt: FakeTensorRT, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[torch.device] = []

    @contextmanager
    def chosen(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield
        current.pop()

    class Cache:
        def get(self, *_: object) -> None:
            assert current == [torch.device("cuda:1")]

    monkeypatch.setattr(torch.cuda, "device", chosen)
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    TensorRtEngine(spec, torch.device("cuda:1"), Cache())  # type: ignore[arg-type]


def test_engines_of_another_version_are_not_loaded(
    trt: FakeTensorRT, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    TensorRtEngine(spec, CPU)
    trt.__version__ = "10.9.0"
    assert_close(TensorRtEngine(spec, CPU), spec, 2)
    assert trt.calls.count("build_serialized_network") == 2


def test_inaccurate_engines_are_refused_and_not_kept(
    trt: FakeTensorRT, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = exported(EngineSpec(two_heads(seed=1), SHAPE, max_batch=3))
    monkeypatch.setattr(tensorrt_engine, "export_onnx", lambda *_, **__: other)
    with pytest.raises(HandPoseError, match=r"not accurate \(outputs differ by"):
        TensorRtEngine(spec, CPU)
    assert not list(spec.checkpoint.parent.iterdir())  # type: ignore[union-attr]


def test_failures_of_parser_and_builder_are_told(trt: FakeTensorRT, spec: EngineSpec) -> None:
    trt.buildable = False
    with pytest.raises(HandPoseError, match=r"TensorRT 10.3.0 cannot build hands"):
        build_plan(trt, exported(spec, half=True), spec)
    trt.readable = False
    with pytest.raises(HandPoseError, match=r"cannot read hands \(In node 3: unsupported\)"):
        build_plan(trt, b"", spec)


def test_torch2trt_builds_where_it_works(
    trt: FakeTensorRT, torch2trt: FakeTorch2trt, spec: EngineSpec
) -> None:
    assert_close(TensorRtEngine(spec, CPU), spec, 3)
    assert torch2trt.options["fp16_mode"] is True
    assert torch2trt.options["max_shapes"] == [(3, *SHAPE)]
    assert trt.calls == []


@pytest.mark.parametrize("trt", ["11.4.1"], indirect=True)
def test_torch2trt_is_left_alone_beside_tensorrt_11(
    trt: FakeTensorRT, torch2trt: FakeTorch2trt, spec: EngineSpec
) -> None:
    TensorRtEngine(spec, CPU)
    assert torch2trt.options == {}
    assert trt.calls[-1] == "build_serialized_network"


@pytest.mark.parametrize("trt", ["8.6.2"], indirect=True)
def test_tensorrt_8_without_torch2trt_is_told(
    trt: FakeTensorRT, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match=r"TensorRT 8.6.2 .* needs torch2trt"):
        engines_for("tensorrt", [spec])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_tensorrt_without_a_gpu_is_told(trt: FakeTensorRT, spec: EngineSpec) -> None:
    with pytest.raises(UsageError, match="PyTorch sees no CUDA GPU: install a CUDA build"):
        engines_for("tensorrt", [spec])


def test_no_tensorrt_is_told(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UsageError, match="TensorRT is not installed: on a Jetson it comes with JetPack"):
        engines_for("tensorrt", [spec])


def test_tensorrt_without_its_libraries_is_told(
    spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise FileNotFoundError('libnvinfer.so.10')")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="TensorRT is not installed"):
        engines_for("tensorrt", [spec])


@pytest.mark.vendor
def test_a_real_builder_makes_the_engine_without_a_gpu(caplog: pytest.LogCaptureFixture) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    with caplog.at_level(logging.WARNING):
        spec = EngineSpec(A2J(width=0.25, head_width=16).eval(), (1, 64, 64), max_batch=4)
        assert len(build_plan(trt, export_onnx(spec, half=True), spec)) > 100_000

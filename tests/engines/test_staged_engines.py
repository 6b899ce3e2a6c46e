"""PyTorch's GPU engine, its steps on the CPU and, where there is one, on a GPU."""

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.engines import cuda_engine
from pipeline.engines.cuda_engine import CudaEngine
from pipeline.engines.spec import EngineSpec
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.contracts import HandInput
from pipeline.networks.inference import for_engines
from tests.engines.modules import SHAPE, lived_in, noise, two_heads

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
CROP = HandInput(size=64, crop_mm=260, outside="far", handedness="right", std=150, depth_range_mm=150)


def reader(presence: bool) -> nn.Module:
    """A network that tells the hand's side, and whether there is one, besides its joints."""
    return for_engines(A2J(width=0.25, head_width=16, contract=CROP, side_head=True, presence=presence))


@pytest.mark.parametrize("device", DEVICES)
def test_batches_of_any_size_are_in_half_precision(device: str) -> None:
    spec = EngineSpec(two_heads(), SHAPE, max_batch=3)
    engine = CudaEngine(spec, torch.device(device))
    for count in (1, 3, 2, 7):
        batch = noise(count, seed=count)
        for found, expected in zip(engine.run(batch), spec.reference(batch), strict=True):
            assert found.shape == expected.shape
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=2e-2, rtol=2e-2)
            assert not np.array_equal(found, expected)
    assert engine.name == f"torch float16 ({device})"


@pytest.mark.parametrize("device", DEVICES)
def test_buffers_are_used_again(device: str) -> None:
    engine = CudaEngine(EngineSpec(two_heads(), SHAPE, max_batch=2), torch.device(device))
    first, second = engine.run(noise(2))[0], engine.run(noise(2))[0]
    assert np.shares_memory(first, second)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_where_half_is_too_coarse(
    device: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Spoilt(cuda_engine.HalfInside):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(output + 1 for output in super().forward(x))

    monkeypatch.setattr(cuda_engine, "HalfInside", Spoilt)
    spec = EngineSpec(two_heads(), SHAPE, max_batch=1)
    engine = CudaEngine(spec, torch.device(device))
    assert engine.name == f"torch float32 ({device})"
    assert "float16 is too coarse for twoheads (outputs differ by" in caplog.text
    for found, expected in zip(engine.run(noise(1)), spec.reference(noise(1)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (CenterNet(2, width=0.25, plain_head=True), (3, 64, 64)),
        (CenterNet(1, width=0.25), (3, 64, 64)),
        (A2J(width=0.25, head_width=16, contract=CROP), (1, 64, 64)),
        (A2J("resnet50", width=0.25, head_width=16, contract=CROP), (1, 64, 64)),
        (A2J("mobilenet", head_width=16, contract=CROP), (1, 64, 64)),
        (reader(presence=False), (1, 64, 64)),
        (reader(presence=True), (1, 64, 64)),
    ],
)
def test_captured_networks_follow_their_input(
    module: nn.Module, shape: tuple[int, int, int], device: str
) -> None:
    spec = EngineSpec(lived_in(module), shape, max_batch=2)
    engine = CudaEngine(spec, torch.device(device))
    assert engine.name == f"torch float16 ({device})"
    for seed, count in enumerate((2, 1, 2)):
        batch = noise(count, shape, seed)
        for found, expected in zip(engine.run(batch), spec.reference(batch), strict=True):
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found, expected, atol=2e-2 * scale)


@pytest.mark.parametrize("device", DEVICES)
def test_weights_stay_when_other_things_take_memory(device: str) -> None:
    spec = EngineSpec(two_heads(), SHAPE, max_batch=2)
    engine = CudaEngine(spec, torch.device(device))
    gc.collect()
    taken = [torch.full((size,), torch.nan, device=device) for size in (8, 64, 512, 4096) for _ in range(500)]
    for found, expected in zip(engine.run(noise(2)), spec.reference(noise(2)), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-2, rtol=2e-2)
    assert len(taken) == 2000


def test_an_engine_keeps_its_weights_without_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the steps are gone once they are captured."""
    made: list[weakref.ref[nn.Module]] = []

    def captured(engine: CudaEngine, step: Callable[[], None], pool: object) -> Callable[[], None]:
        made.extend(weakref.ref(one) for one in _modules_of(step))
        return lambda: None

    monkeypatch.setattr(CudaEngine, "_captured", captured)
    engine = CudaEngine(EngineSpec(two_heads(), SHAPE, max_batch=1), torch.device("cpu"))
    gc.collect()
    assert made[-1]() is not None  # of the precision that was taken
    del engine


def _modules_of(step: Callable[[], None]) -> list[nn.Module]:
    cells = step.__closure__ or ()
    return [cell.cell_contents for cell in cells if isinstance(cell.cell_contents, nn.Module)]


@pytest.mark.parametrize("device", DEVICES)
def test_another_thread_may_run_what_one_made(device: str) -> None:
    spec = EngineSpec(two_heads(), SHAPE, max_batch=2)
    engine = CudaEngine(spec, torch.device(device))
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(engine.run, noise(2)).result()
    for ours, theirs in zip(found, spec.reference(noise(2)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-2, rtol=2e-2)

"""PyTorch's GPU engine, its steps on the CPU and, where there is one, on a GPU."""

import numpy as np
import pytest
import torch

from pipeline.engines import cuda_engine
from pipeline.engines.cuda_engine import CudaEngine
from pipeline.engines.spec import EngineSpec
from pipeline.networks.a2j import A2J
from tests.engines.modules import SHAPE, lived_in, noise, two_heads

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


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


def test_float32_where_half_is_too_coarse(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Spoilt(cuda_engine.HalfInside):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(output + 1 for output in super().forward(x))

    monkeypatch.setattr(cuda_engine, "HalfInside", Spoilt)
    spec = EngineSpec(two_heads(), SHAPE, max_batch=1)
    engine = CudaEngine(spec, torch.device("cpu"))
    assert engine.name == "torch float32 (cpu)"
    assert "float16 is too coarse for twoheads (outputs differ by" in caplog.text
    for found, expected in zip(engine.run(noise(1)), spec.reference(noise(1)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_captured_graphs_follow_their_input() -> None:
    spec = EngineSpec(lived_in(A2J(width=0.25, head_width=16)), (1, 64, 64), max_batch=2)
    engine = CudaEngine(spec, torch.device("cuda"))
    for seed in range(3):
        batch = noise(2, (1, 64, 64), seed)
        for found, expected in zip(engine.run(batch), spec.reference(batch), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-2, rtol=2e-2)

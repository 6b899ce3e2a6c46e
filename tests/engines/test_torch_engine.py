import copy

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.engines import create_engine
from pipeline.engines.torch_engine import TorchEngine
from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet


def lived_in(module: nn.Module) -> nn.Module:
    """With statistics in its BatchNorm layers as after training."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return module.eval()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (CenterNet(2, width=0.25, plain_head=True), (3, 64, 64)),
        (CenterNet(1, width=0.25), (3, 64, 64)),
        (A2J(width=0.25, head_width=16), (1, 64, 64)),
        (A2J("mobilenet", head_width=16), (1, 64, 64)),
    ],
)
def test_outputs_are_the_modules(module: nn.Module, shape: tuple[int, int, int]) -> None:
    module = lived_in(module)
    before = copy.deepcopy(module.state_dict())
    engine = create_engine("auto", module, shape)
    batch = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(batch))
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = engine.run(batch)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-4)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_any_batch_size_runs_and_results_stay() -> None:
    engine = TorchEngine(nn.Conv2d(1, 2, 3, padding=1).eval(), (1, 8, 8), "cpu")
    ones = engine.run(np.ones((1, 1, 8, 8), np.float32))[0]
    kept = ones.copy()
    many = engine.run(np.full((5, 1, 8, 8), 2, np.float32))[0]
    assert many.shape == (5, 2, 8, 8)
    np.testing.assert_array_equal(ones, kept)
    assert engine.run(np.zeros((0, 1, 8, 8), np.float32))[0].shape == (0, 2, 8, 8)


def test_engine_says_what_it_is() -> None:
    assert TorchEngine(nn.Identity().eval(), (1, 4, 4), "cpu").name == "torch (cpu)"


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_devices_that_are_not_there_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match=device):
        create_engine("torch", nn.Identity(), (1, 4, 4), device)


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(UsageError, match="'steam' is unknown: choose one of auto, torch"):
        create_engine("steam", nn.Identity(), (1, 4, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu() -> None:
    module = lived_in(A2J(width=0.25, head_width=16))
    batch = np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32)
    here, there = (create_engine("torch", module, (1, 64, 64), d).run(batch) for d in ("cpu", "cuda"))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2)

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.engines import create_engine
from pipeline.engines.spec import EngineSpec
from pipeline.engines.torch_engine import TorchEngine
from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J, nyu_input
from pipeline.networks.centernet import CenterNet
from tests.engines.modules import SHAPE, lived_in, noise, two_heads


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
    engine = create_engine("torch", module, shape, "cpu")
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


def test_any_batch_size_runs() -> None:
    engine = TorchEngine(EngineSpec(nn.Conv2d(1, 2, 3, padding=1).eval(), (1, 8, 8)), torch.device("cpu"))
    assert engine.run(np.full((5, 1, 8, 8), 2, np.float32))[0].shape == (5, 2, 8, 8)
    assert engine.name == "torch float32 (cpu)"


def test_modules_run_in_eval_mode_and_stay_in_theirs() -> None:
    module = two_heads().train()
    found = create_engine("torch", module, SHAPE, "cpu").run(noise(2))
    assert module.training
    for ours, theirs in zip(found, EngineSpec(module.eval(), SHAPE).reference(noise(2)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_devices_that_are_not_there_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match=device):
        create_engine("torch", nn.Identity(), (1, 4, 4), device)


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(UsageError, match="'steam' is unknown: choose one of auto, torch"):
        create_engine("steam", nn.Identity(), (1, 4, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu() -> None:
    contract = replace(nyu_input(21), size=64)
    module = lived_in(A2J(width=0.25, head_width=16, contract=contract))
    batch = np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32)
    here, there = (create_engine("torch", module, (1, 64, 64), d).run(batch) for d in ("cpu", "cuda"))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2)

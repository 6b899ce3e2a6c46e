import os
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

from pipeline.constants import ROOT
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.resnet import RESNETS, ResNet, Shortcut
from tests.networks.literal import shaken


@pytest.mark.parametrize("name", RESNETS)
def test_has_torchvisions_parameters(name: str) -> None:
    with torch.device("meta"):
        ours = ResNet(name).state_dict()
        theirs = getattr(torchvision.models, name)(weights=None).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.parametrize(("name", "dilated"), [("resnet18", False), ("resnet50", False), ("resnet50", True)])
def test_computes_what_torchvision_computes(name: str, dilated: bool) -> None:
    torch.manual_seed(0)
    theirs = shaken(
        getattr(torchvision.models, name)(
            weights=None, **({"replace_stride_with_dilation": [False, False, True]} if dilated else {})
        )
    )
    ours = ResNet(name, dilated=dilated).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 96, 96)
    expected = create_feature_extractor(theirs, [f"layer{k}" for k in (1, 2, 3, 4)])
    with torch.no_grad():
        for found, wanted in zip(ours(x), expected(x).values(), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("inputs", [8, 24])
@pytest.mark.parametrize(("stride", "size"), [(1, 10), (2, 10), (2, 11)])
def test_shortcuts_train_as_plain_convolutions(inputs: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    shortcut = Shortcut(inputs, 2 * inputs, stride).double()  # sums in another order differ in float32
    x = torch.randn(2, inputs, size, size, dtype=torch.float64, requires_grad=True)
    gradients = []
    for module in (shortcut, nn.Sequential(*shortcut)):
        out = module(x)
        parameters = [x, *module.parameters()]
        gradients.append((out, *torch.autograd.grad(out.square().mul(out).sum(), parameters)))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_norms_fold_into_the_shortcuts() -> None:
    folded = fuse(ResNet("resnet18", width=0.125).eval())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_narrow_networks_train_without_breaking_memory() -> None:
    """In a process of its own: where memory is broken it dies, there or at its end."""
    code = (
        "import torch\n"
        "from pipeline.networks.resnet import Shortcut\n"
        "last = torch.channels_last\n"
        "shortcut = Shortcut(8, 16, 2).to(memory_format=last)\n"
        "for _ in range(60):\n"
        "    shortcut(torch.randn(2, 8, 80, 80).contiguous(memory_format=last)).sum().backward()\n"
        "    [torch.empty(n) for n in (5, 50, 500, 5000)]\n"
    )
    environment = {**os.environ, "MALLOC_CHECK_": "3"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def test_width_scales_every_stage() -> None:
    with torch.device("meta"):
        half = ResNet("resnet18", width=0.5, dilated=True)
        features = half(torch.empty(2, 3, 128, 128))
    assert [tuple(f.shape[1:]) for f in features] == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 8, 8)]
    assert not any(name.startswith("fc") for name in half.state_dict())


@pytest.mark.parametrize("network", [CenterNet(2), A2J("resnet18")], ids=["CenterNet", "A2J"])
def test_all_that_is_to_be_trained_has_a_gradient(network: CenterNet | A2J) -> None:
    """Processes that train together wait for the gradient of each such parameter: torchrun ends without."""
    size = 64 if isinstance(network, CenterNet) else network.contract.size
    outputs = network(torch.randn(2, 3 if isinstance(network, CenterNet) else 1, size, size))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not without

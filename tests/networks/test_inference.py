"""The forms for engines and processors answer as the networks do, and leave these alone."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.engines.agreement import realistic_inputs
from pipeline.engines.spec import as_tuple, spec_of
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet, Scored
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.inference import for_engines, for_processors, measured_channels
from pipeline.training.hand_task import hand_contract
from tests.networks import literal


def reader() -> A2J:
    return A2J(width=0.25, head_width=8, contract=hand_contract(64), side_head=True, presence=True)


def depth_only() -> CenterNet:
    return CenterNet(width=0.25, plain_head=True, contract=DetectorInput(channels="depth"))


def assert_same(
    network: CenterNet | A2J, form: nn.Module, whole: torch.Tensor, measured: torch.Tensor
) -> None:
    tells = getattr(network, "read" if getattr(network, "side_head", None) else "forward")
    with torch.no_grad():
        for found, expected in zip(as_tuple(form(measured)), as_tuple(tells(whole)), strict=True):
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


MAKERS = (
    lambda: CenterNet(2, width=0.25, plain_head=True),
    lambda: CenterNet(1, width=0.25),
    depth_only,
    lambda: A2J("resnet50", width=0.25, head_width=8),
    reader,
    lambda: A2J("mobilenet", head_width=8),
)


@pytest.mark.parametrize("make", MAKERS)
def test_they_answer_the_same(make: Callable[[], CenterNet | A2J]) -> None:
    torch.manual_seed(0)
    network = make()
    literal.shaken(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whole = measured = torch.randn(2, 1, 64, 96)
    if isinstance(network, CenterNet):
        depth, ir = whole, torch.randn(2, 1, 64, 96)
        fused = network.contract.channels == "fused"
        whole = torch.cat([depth, ir, (depth + ir) / 2] if fused else [depth] * 3, 1)
        measured = torch.cat([depth, ir], 1) if fused else depth
    form = for_engines(network)
    assert_same(network, form, whole, measured)
    assert_same(network, for_processors(form), whole, measured)
    assert before.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_what_is_slow_is_gone() -> None:
    detector, hands = (
        for_processors(for_engines(one.eval())) for one in (CenterNet(2, width=0.25), reader())
    )
    assert not any(isinstance(part, nn.ConvTranspose2d | Scored) for part in detector.modules())
    folded = for_engines(CenterNet(2, width=0.25).eval())
    assert isinstance(folded, CenterNet)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.up_sample1.modules())
    for module, channels in ((detector, 2), (hands, 1)):
        first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
        assert first.in_channels == first.weight.shape[1] == channels


def test_the_network_itself_keeps_its_mode() -> None:
    network = reader().train()
    assert not for_engines(network).training
    assert network.training


@pytest.mark.parametrize(("make", "channels"), [(MAKERS[0], 2), (depth_only, 1), (reader, 1)])
def test_engines_get_as_many_channels_as_are_measured(
    make: Callable[[], CenterNet | A2J], channels: int
) -> None:
    network = make()
    assert measured_channels(network) == channels
    size = network.contract.size
    assert spec_of(network).input_shape == (channels, size, size)
    assert realistic_inputs(spec_of(network), 2).shape == (2, channels, size, size)

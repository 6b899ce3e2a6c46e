"""8 bits: what is rounded, and that integers of NumPy give the same."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.constants import (
    A2J_CHECKPOINT,
    A2J_LIGHT_CHECKPOINT,
    CENTERNET_CHECKPOINT,
    CENTERNET_LIGHT_CHECKPOINT,
)
from pipeline.engines.eight_bits import RoundedConv, RoundedValues, in_eight_bits, measure_ranges
from pipeline.engines.precision import read_proofs
from pipeline.engines.spec import as_tuple, spec_of
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.networks.inference import for_engines
from pipeline.training.hand_task import hand_contract
from tests.engines.modules import lived_in, noise, two_heads

numbers = st.lists(st.floats(-300, 300, width=32), min_size=1)


@given(st.floats(-100, 100), st.floats(0.001, 200), numbers)
def test_values_are_rounded_to_one_of_256_steps(low: float, extent: float, values: list[float]) -> None:
    rounding = RoundedValues(low, low + extent)
    found = rounding(torch.tensor([*values, 0.0]))
    assert found[-1] == 0  # what is padded with zeros stays so
    least, most = min(low, 0.0), max(low + extent, 0.0)
    step = (most - least) / 255
    expected = np.clip(np.array(values), least, most)
    errors = np.abs(found[:-1].numpy() - expected)
    assert errors.max() <= step * 1.01 + 1e-6
    inside = (expected > least + step) & (expected < most - step)  # at the ends 0 comes before the nearest
    assert errors[inside].max(initial=0) <= step * 0.51 + 1e-6
    assert len(rounding(torch.linspace(least - step, most + step, 5000)).unique()) == 256


def test_an_empty_range_is_no_division_by_zero() -> None:
    assert torch.equal(RoundedValues(0.0, 0.0)(torch.ones(3)).round(), torch.zeros(3))


def test_a_convolution_is_one_of_integers() -> None:
    """By NumPy's integers, one output at a time."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    seen = RoundedValues(-1.0, 2.0)
    x = torch.randn(2, 3, 3, 3)
    with torch.inference_mode():
        found = RoundedConv(conv)(seen(x))[..., 0, 0].numpy()
        weight = conv.weight.numpy()
        bias = conv.bias.numpy() if conv.bias is not None else 0
    step = np.abs(weight).max((1, 2, 3)) / 127
    whole = np.rint(weight / step[:, None, None, None]).astype(np.int64)
    inputs = (
        np.clip(np.rint(x.numpy() / seen.scale) + seen.zero_point, 0, 255).astype(np.int64) - seen.zero_point
    )
    sums = np.einsum("nchw,ochw->no", inputs, whole)
    np.testing.assert_allclose(found, sums * step * seen.scale + bias, rtol=1e-4, atol=1e-4)


def convolutions(module: nn.Module) -> list[nn.Module]:
    """All of them, in the order of the graph's steps."""
    assert isinstance(module, torch.fx.GraphModule)
    called = [module.get_submodule(str(n.target)) for n in module.graph.nodes if n.op == "call_module"]
    return [step for step in called if isinstance(step, nn.Conv2d | RoundedConv)]


def test_all_are_rounded_but_the_first_and_the_last_of_the_detector() -> None:
    reader = for_engines(A2J(width=0.125, head_width=8, contract=hand_contract(64), side_head=True)).eval()
    first, *others = convolutions(in_eight_bits(reader, measure_ranges(reader, noise(2, (1, 64, 64)))))
    assert isinstance(first, nn.Conv2d)
    assert first.kernel_size == (7, 7)
    assert all(isinstance(conv, RoundedConv) for conv in others)

    detector = for_engines(CenterNet(2, 0.125, plain_head=True)).eval()
    first, *others = convolutions(in_eight_bits(detector, measure_ranges(detector, noise(2, (2, 64, 64)))))
    assert isinstance(first, nn.Conv2d)
    assert first.kernel_size == (7, 7)
    assert [isinstance(conv, RoundedConv) for conv in others] == [True] * (len(others) - 3) + [False] * 3
    assert [conv.out_channels for conv in others[-3:]] == [4 * 16, 4 * 8, 4 * 6]  # 2 x 2 pixels of each


def hand_network() -> nn.Module:
    contract = hand_contract(64)
    return for_engines(A2J(width=0.125, head_width=8, contract=contract, side_head=True, presence=True))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "centernet": (lambda: for_engines(CenterNet(2, 0.125, plain_head=True)), 2),
    "a2j": (hand_network, 1),
    "mobilenet": (lambda: A2J("mobilenet", head_width=8), 1),
    "resnet50": (lambda: A2J("resnet50", width=0.125, head_width=8), 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rounded_network_answers_nearly_the_same(name: str) -> None:
    make, channels = NETWORKS[name]
    torch.manual_seed(0)
    module = lived_in(make())
    inputs = noise(4, (channels, 64, 64))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rounded = in_eight_bits(module, measure_ranges(module, inputs))
    with torch.inference_mode():
        found, expected = (as_tuple(m(torch.from_numpy(inputs))) for m in (rounded, module))
    for ours, theirs in zip(found, expected, strict=True):
        error = (ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt().clamp(min=1e-3)
        assert 0 < float(error) < 0.2
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("ranges", [[], [(0.0, 1.0)] * 3])
def test_ranges_of_another_network_are_told(ranges: Sequence[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="quantize once more"):
        in_eight_bits(two_heads(), ranges)


def test_ranges_are_means_of_the_extremes() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Identity(), nn.Conv2d(1, 1, 1))
    nn.init.ones_(module[0].weight)  # type: ignore[arg-type]
    inputs = np.array([[-1.0, 3.0], [-2.0, 5.0]], np.float32).reshape(2, 1, 1, 2)
    assert measure_ranges(module.eval(), inputs) == [(-1.5, 4.0)]


SHIPPED: dict[Path, Callable[[Path], CenterNet | A2J]] = {
    CENTERNET_CHECKPOINT: load_centernet,
    CENTERNET_LIGHT_CHECKPOINT: load_centernet,
    A2J_CHECKPOINT: load_a2j,
    A2J_LIGHT_CHECKPOINT: load_a2j,
}


@pytest.mark.parametrize("checkpoint", SHIPPED, ids=lambda path: path.stem)
def test_what_is_proven_of_shipped_weights_is_of_these_weights(checkpoint: Path) -> None:
    spec = spec_of(SHIPPED[checkpoint](checkpoint), checkpoint=checkpoint)
    proofs = read_proofs(spec)
    assert set(proofs) == {"bfloat16", "int8"}
    rounded = in_eight_bits(spec.module, proofs["int8"].ranges)
    assert any(isinstance(part, RoundedConv) for part in rounded.modules())

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.engines.agreement import Outputs, differences, realistic_inputs, works
from pipeline.engines.spec import EngineSpec, probe
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.contracts import HandInput
from pipeline.training.hand_task import hand_contract
from tests.engines.modules import SHAPE, lived_in, two_heads


@pytest.fixture(scope="module")
def hands() -> EngineSpec:
    return EngineSpec(lived_in(A2J(width=0.125, head_width=8, contract=hand_contract(64))), (1, 64, 64))


def test_a_network_agrees_with_itself(hands: EngineSpec) -> None:
    for spec in (hands, EngineSpec(two_heads(), SHAPE), EngineSpec(CenterNet(1, 0.125).eval(), (3, 64, 64))):
        (found,) = differences(spec, spec.reference, probe(spec.input_shape, 2))
        assert found.value == 0
        assert found.acceptable


def test_joints_are_compared_in_millimetres(hands: EngineSpec) -> None:
    contract = hands.module.contract
    assert isinstance(contract, HandInput)
    assert contract.crop_mm is not None

    def moved(batch: np.ndarray) -> Outputs:
        classification, offsets, depths = hands.reference(batch)
        return classification, offsets + np.array([3, 0], np.float32), depths + np.float32(4)

    (found,) = differences(hands, moved, probe((1, 64, 64)))
    expected = np.hypot(3 * contract.crop_mm / 64, 4 * contract.depth_unit_mm)
    assert found.value == pytest.approx(expected, rel=1e-3)
    assert not found.acceptable
    assert str(found) == f"joints differ by {found.value:.3g} mm at most, 2 mm allowed"


def test_scores_are_compared_for_the_detector() -> None:
    spec = EngineSpec(CenterNet(2, 0.125, plain_head=True).eval(), (3, 64, 64))

    def louder(batch: np.ndarray) -> Outputs:
        (output,) = spec.reference(batch)
        output[:, 0] += 0.06
        output[:, 2:] += 5
        return (output,)

    (found,) = differences(spec, louder, probe((3, 64, 64)))
    assert found.value == pytest.approx(0.06, rel=1e-3)
    assert not found.acceptable


def test_broken_answers_are_never_acceptable(hands: EngineSpec) -> None:
    def broken(batch: np.ndarray) -> Outputs:
        return tuple(output * np.nan for output in hands.reference(batch))

    def short(batch: np.ndarray) -> Outputs:
        return hands.reference(batch)[:2]

    for run in (broken, short):
        assert not any(one.acceptable for one in differences(hands, run, probe((1, 64, 64))))


def test_realistic_inputs_are_rendered_in_the_networks_form(hands: EngineSpec) -> None:
    ours = realistic_inputs(hands, 2)
    assert ours.shape == (2, 1, 64, 64)
    assert ours.max() == pytest.approx(1)
    assert ours.min() >= -1
    assert (ours < 1).mean() > 0.05
    published = realistic_inputs(EngineSpec(A2J(width=0.125, head_width=8), (1, 176, 176)), 1)
    assert published.shape == (1, 1, 176, 176)
    background = torch.from_numpy(published).mode().values.mode().values.item()
    assert background == pytest.approx(0.66877532 / 28.32958208, rel=1e-4)


def test_an_engine_works_if_its_answers_are_roughly_right(hands: EngineSpec) -> None:
    assert works(hands, hands.reference)
    assert works(hands, lambda batch: tuple(1.2 * part for part in hands.reference(batch)))
    assert not works(hands, lambda batch: tuple(1.4 * part for part in hands.reference(batch)))
    assert not works(hands, lambda batch: tuple(part[:, :1] for part in hands.reference(batch)))
    assert not works(hands, lambda batch: tuple(np.nan * part for part in hands.reference(batch)))


def test_logits_count_as_the_probabilities_they_stand_for() -> None:
    """8 bits may be less sure of what is sure in any case."""

    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 9 + 0 * x.mean((1, 2, 3))

    spec = EngineSpec(Sure(), SHAPE)
    assert works(spec, lambda batch: (0.6 * spec.reference(batch)[0],))
    assert not works(spec, lambda batch: (-spec.reference(batch)[0],))

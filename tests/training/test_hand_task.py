"""A2J's task on simple hands: joints, sides by mirrored crops, and a light network that is taught."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import load_a2j
from pipeline.synthetic.crops import CropBatch
from pipeline.training.hand_task import SIDE_SHARE, HandData, HandTask, hand_contract, side_loss
from pipeline.training.siblings import Siblings

SIZE, BATCH = 32, 16


def slopes(number: int, count: int) -> CropBatch:
    """Stands in for rendered hands: all rise to the right, joints on a line from the wrist up."""
    generator = torch.Generator().manual_seed(number)
    images = torch.linspace(-0.9, 0.9, SIZE) + 0.1 * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    place = torch.linspace(SIZE - 8.0, 8.0, 21)
    middle = torch.full((21,), SIZE / 2)
    joints = torch.stack([middle, place, torch.zeros(21)], dim=1).expand(count, -1, -1)
    window = torch.tensor([[0.0, 0.0, float(SIZE)]]).expand(count, -1)
    visible, centre = torch.ones(count, 21).bool(), torch.full((count,), 600.0)
    return CropBatch(images.clamp(-1, 1), joints, visible, window, centre, 500.0, joints + 600.0)


def task(networks: int = 1, side_head: bool = True) -> HandTask:
    torch.manual_seed(0)
    contract = hand_contract(SIZE)
    model = Siblings(
        [A2J(width=0.125, head_width=8, contract=contract, side_head=side_head) for _ in range(networks)]
    )
    data = HandData(slopes, 0, 0, BATCH, reuse=2, block=32)
    return HandTask(model, data, [slopes(99, 8)])


def trained(hands: HandTask, steps: int) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW(hands.model.parameters(), 5e-3)
    history = []
    for step in range(steps):
        losses = hands.losses(hands.model.train(), step, step / steps)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    hands.model.eval()
    return history


def test_a_short_run_learns_joints_and_sides() -> None:
    hands = task()
    history = trained(hands, 40)
    assert history[-1]["joints"] < 0.6 * history[0]["joints"]
    assert history[-1]["side"] < 0.5 * history[0]["side"]
    figures = hands.evaluate(hands.model, 1.0)
    assert figures["side_first"] > 0.5
    assert hands.score(figures) == figures["mean_mm"]


def test_mirrored_crops_teach_the_side_only() -> None:
    hands = task()
    seen: list[Tensor] = []

    def network(images: Tensor) -> list[tuple[Tensor, ...]]:
        seen.append(images)
        answers = hands.model(images)
        for part in answers[0][:3]:
            part.retain_grad()
        seen.extend(answers[0][:3])
        return answers

    losses = hands.losses(network, 0, 0.5)  # type: ignore[arg-type]
    losses["total"].backward()
    mirrored = round(SIDE_SHARE * BATCH)
    plain, _ = hands.samples(0, SIZE)
    images, *votes = seen
    assert torch.equal(images[:mirrored], plain[:mirrored].flip(-1))
    assert torch.equal(images[mirrored:], plain[mirrored:])
    for vote in votes:
        assert vote.grad is not None
        assert not vote.grad[:mirrored].any()
        assert vote.grad[mirrored:].any()


def test_without_a_side_head_nothing_is_mirrored() -> None:
    hands = task(side_head=False)
    assert "side" not in hands.losses(hands.model, 0, 0.5)


def test_both_sides_weigh_alike() -> None:
    logits = torch.tensor([2.0, 0.0, 0.0, 0.0])
    expected = (math.log1p(math.exp(2.0)) + math.log(2.0)) / 2
    assert float(side_loss(logits, 1)) == pytest.approx(expected)


def test_a_light_network_is_taught_more_and_more(tmp_path: Path) -> None:
    hands = task(networks=2)
    start, end = (hands.losses(hands.model, 0, progress) for progress in (0.0, 1.0))
    assert float(start["light_teacher"]) == 0.0
    assert float(end["light_teacher"]) > 0.0
    teacher = hands.model.first
    (gradient,) = torch.autograd.grad(
        end["light_teacher"], [teacher.joint_classification.output.weight], allow_unused=True
    )
    assert gradient is None  # the teacher does not follow its pupil
    assert {"mean_mm", "light_mean_mm"} <= hands.evaluate(hands.model.eval(), 1.0).keys()
    hands.export(tmp_path / "last.pth", hands.model, {})
    assert load_a2j(tmp_path / "last_light.pth").side_head is not None

"""A2J's task on simple hands: joints, sides by mirrored crops, and a light network that is taught."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import load_a2j
from pipeline.synthetic.crops import CropBatch
from pipeline.synthetic.scene_crops import SceneCropBatch
from pipeline.training.hand_task import HandData, HandTask, balanced_loss, hand_contract
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


def in_scenes(number: int, count: int) -> SceneCropBatch:
    """Slopes, and, every second one, a plane: no hand; of the first one nobody can tell."""
    crops = slopes(number, count)
    present = 1 - torch.arange(count) % 2
    images = torch.where(present[:, None, None, None] > 0, crops.images, 0.2)
    joints = crops.joints * present[:, None, None]
    present[0] = -1
    return SceneCropBatch(images, joints, present)


def task(
    networks: int = 1, side_head: bool = True, batch: int = BATCH, sizes: tuple[int, ...] | None = None
) -> HandTask:
    torch.manual_seed(0)
    model = Siblings(
        [
            A2J(width=0.125, head_width=8, contract=hand_contract(SIZE), side_head=side_head, presence=True)
            for _ in range(networks)
        ]
    )
    data = HandData(slopes, 0, 0, batch, 2, block=32, render_in_scenes=in_scenes)
    hands = HandTask(model, data, [slopes(99, 8)], [in_scenes(99, 8)], sizes)
    hands._augment = replace(hands._augment, torn=0.0)  # so that a short test learns something
    return hands


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


def test_a_short_run_learns_joints_sides_and_presence() -> None:
    hands = task()
    history = trained(hands, 60)
    assert history[-1]["joints"] < 0.6 * history[0]["joints"]
    assert history[-1]["side"] < 0.6 * history[0]["side"]
    assert history[-1]["presence"] < 0.6 * history[0]["presence"]
    figures = hands.evaluate(hands.model, 1.0)
    assert {"side_first", "scene_mm", "presence_yes", "presence_no"} <= figures.keys()
    assert hands.score(figures) == figures["mean_mm"]


def test_joints_are_learnt_from_right_hands_that_show_only() -> None:
    hands = task()
    seen: list[Tensor] = []

    def network(images: Tensor) -> list[tuple[Tensor, ...]]:
        seen.append(images)
        answers = hands.model(images)
        for part in answers[0]:
            part.retain_grad()
        seen.extend(answers[0])
        return answers

    hands.losses(network, 0, 0.5)["total"].backward()  # type: ignore[arg-type]
    samples = hands.samples(0, SIZE)
    images, *votes, side, presence = seen
    mirrored = (images == samples.images.flip(-1)).all(-1).all(-1).all(-1)
    assert mirrored.any()
    assert torch.equal(images[~mirrored], samples.images[~mirrored])
    for vote in votes:
        assert vote.grad is not None
        touched = vote.grad.flatten(1).any(1)
        assert torch.equal(touched, samples.told & ~mirrored)
    assert side.grad is not None
    assert torch.equal(side.grad != 0, samples.present == 1)
    assert presence.grad is not None
    assert torch.equal(presence.grad != 0, samples.present >= 0)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_step_without_joints_to_learn_has_finite_losses(batch: int) -> None:
    hands = task(networks=2, batch=batch)
    seen = 0
    for step in range(4):
        losses = hands.losses(hands.model, step, 0.5)
        losses["total"].backward()
        assert all(value.isfinite() for value in losses.values())
        samples = hands.samples(step, SIZE)
        if not samples.told[1:].any():  # the first one is mirrored
            seen += 1
            assert all(losses[name] == 0 for name in ("joints", "dense", "light_joints", "light_teacher"))
    assert seen
    assert all(p.grad is not None and p.grad.isfinite().all() for p in hands.model.parameters())


def test_without_a_side_head_nothing_is_mirrored() -> None:
    hands = task(side_head=False)
    assert "side" not in hands.losses(hands.model, 0, 0.5)


def test_growing_inputs_end_on_the_size_of_the_contract() -> None:
    hands = task(sizes=(16, SIZE))
    assert [hands.size_at(progress) for progress in (0.0, 0.49, 0.5, 1.0)] == [16, 16, SIZE, SIZE]
    with pytest.raises(UsageError, match="end on 32"):
        task(sizes=(16, 16))


def test_both_kinds_weigh_alike() -> None:
    logits = torch.tensor([2.0, 0.0, 0.0, 0.0, 9.0])
    no, yes = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 1, 0]]).bool()
    expected = (math.log1p(math.exp(2.0)) + math.log(2.0)) / 2
    assert float(balanced_loss(logits, yes, no)) == pytest.approx(expected)


def test_a_light_network_is_taught_more_and_more(tmp_path: Path) -> None:
    hands = task(networks=2)
    start, end = (hands.losses(hands.model, 0, progress) for progress in (0.0, 1.0))
    assert float(start["light_teacher"].detach()) == 0.0
    assert float(end["light_teacher"].detach()) > 0.0
    teacher = hands.model.first
    (gradient,) = torch.autograd.grad(end["light_teacher"], [next(teacher.parameters())], allow_unused=True)
    assert gradient is None  # the teacher does not follow its pupil
    assert {"mean_mm", "light_mean_mm"} <= hands.evaluate(hands.model.eval(), 1.0).keys()
    hands.export(tmp_path / "last.pth", hands.model, {})
    assert load_a2j(tmp_path / "last_light.pth").side_head is not None

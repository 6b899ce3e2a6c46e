"""Crops out of scenes: joints lie on hands, left ones are mirrored, and none is where none is said to be."""

import pytest
import torch

from pipeline.synthetic.bodies import bone_number
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.scene_crops import SceneCropBatch, SceneCropGenerator, _aimed
from pipeline.synthetic.scenes import pose_bank, scene_renderer
from pipeline.synthetic.staging import sample_scene

SIZE, CROP_MM = 96, 325.0
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch() -> SceneCropBatch:
    return SceneCropGenerator("cpu", SIZE, CROP_MM, poses=256).batch(96, seed=3)


def test_the_same_seed_gives_the_same_crops(batch: SceneCropBatch) -> None:
    again = SceneCropGenerator("cpu", SIZE, CROP_MM, poses=256).batch(96, seed=3)
    assert torch.equal(again.images, batch.images)
    assert torch.equal(again.joints, batch.joints)


def test_there_are_crops_of_all_kinds(batch: SceneCropBatch) -> None:
    shares = torch.bincount(batch.present + 1, minlength=3) / len(batch.present)
    assert shares.min() > 0.03
    assert shares[1:].min() > 0.2
    assert batch.images.shape == (96, 1, SIZE, SIZE)
    assert batch.images.abs().max() <= 1
    assert batch.joints.isfinite().all()


def test_visible_joints_lie_just_behind_the_measured_surface(batch: SceneCropBatch) -> None:
    hands = batch.present == 1
    images, joints = batch.images[hands, 0], batch.joints[hands]
    column, row = joints[..., :2].round().long().clamp(0, SIZE - 1).unbind(2)
    surface_mm = 150.0 * images[torch.arange(len(images))[:, None], row, column]
    joint_mm = joints[..., 2] * CROP_MM / SIZE
    behind = joint_mm - surface_mm
    assert (behind.median(1).values - 10).abs().median() < 12
    near = ((behind > -15) & (behind < 45)).float().mean(1)
    assert near.median() > 0.6


def test_thumbs_are_those_of_right_hands(batch: SceneCropBatch) -> None:
    """A right hand's way to the index x its way to the little finger points out of the palm."""
    joints = batch.joints[batch.present == 1]
    wrist, thumb, index, pinky = (joints[:, k] for k in (0, 2, 5, 17))
    palm = torch.linalg.cross(index - wrist, pinky - wrist)
    # The thumb's middle joint is bent to the palm's inner side in nearly all poses.
    inside = (palm * (thumb - (index + wrist) / 2)).sum(1)
    assert (inside > 0).float().mean() > 0.8


def test_where_no_hand_is_there_are_no_joints(batch: SceneCropBatch) -> None:
    assert not batch.joints[batch.present == 0].any()
    measured = batch.images[batch.present == 0] < 1
    assert measured.flatten(1).any(1).all()


def test_heads_are_among_what_is_no_hand() -> None:
    """A point of the head's upper half is the middle of some crops: the neck's bone ends well below."""
    sampler = Sampler("cpu", 5)
    scene, posed = sample_scene(256, scene_renderer(CPU).people, pose_bank(CPU, 256), sampler)
    aim = _aimed(scene, posed, sampler)
    place = scene.place[:, None] + posed.body_joints[:, [bone_number("neck"), bone_number("head")]]
    neck, head = (place @ scene.camera[scene.image].transpose(1, 2)).unbind(1)
    upper = head + (head - neck)
    away = (aim.point[scene.image] - upper).norm(dim=1)
    assert int(((aim.hand[scene.image] < 0) & (away < 0.1)).sum()) >= 6

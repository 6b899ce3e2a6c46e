import numpy as np
import pytest
import torch

from pipeline.frame import DepthCamera
from pipeline.synthetic.crops import DEPTH_RANGE_MM, CropBatch, CropGenerator


@pytest.fixture(scope="module")
def batch() -> CropBatch:
    return CropGenerator("cpu", seed=5, size=96, poses=512).batch(96)


def test_shapes_ranges_and_finiteness(batch: CropBatch) -> None:
    assert batch.images.shape == (96, 1, 96, 96)
    assert batch.joints.shape == batch.joints_mm.shape == (96, 21, 3)
    assert batch.visible.shape == (96, 21)
    assert batch.images.dtype == batch.joints.dtype == torch.float32
    assert batch.images.abs().max() <= 1
    for tensor in (batch.images, batch.joints, batch.joints_mm, batch.window, batch.centre_mm):
        assert torch.isfinite(tensor).all()
    assert batch.joints_mm[..., 2].min() > 80
    assert batch.joints_mm[..., 2].max() < 2500


def test_joints_are_the_projection_of_their_points(batch: CropBatch) -> None:
    camera = DepthCamera(640, 576, batch.fx, batch.fx, 0.0, 0.0)
    for number in range(8):
        u, v, z = camera.project(batch.joints_mm[number].numpy()).T
        x0, y0, side = batch.window[number].tolist()
        scale = 96 / side
        expected = np.stack(
            [
                (u + 0.5 - x0) * scale - 0.5,
                (v + 0.5 - y0) * scale - 0.5,
                (z - float(batch.centre_mm[number])) * 96 / 260,
            ],
            axis=1,
        )
        np.testing.assert_allclose(batch.joints[number], expected, atol=2e-3)


def test_image_shows_the_flesh_just_before_each_visible_joint(batch: CropBatch) -> None:
    column, row = batch.joints[..., :2].round().long().unbind(2)
    image, joint = (batch.visible & (batch.joints[..., 2].abs() < 40)).nonzero(as_tuple=True)
    value = batch.images[image, 0, row[image, joint], column[image, joint]]
    surface_mm = DEPTH_RANGE_MM * value
    before = batch.joints[image, joint, 2] * 260 / 96 - surface_mm
    measured = value < 1  # a joint at an outline may fall on the background
    assert measured.float().mean() > 0.85
    assert 2 < before[measured].median() < 15
    assert ((before[measured] > -15) & (before[measured] < 35)).float().mean() > 0.93


def test_hands_fill_the_crop_as_a_detector_would_frame_them(batch: CropBatch) -> None:
    place = batch.joints[..., :2]
    assert ((place > 0) & (place < 95)).float().mean() > 0.9
    middle = (place.amin(1) + place.amax(1)) / 2 - 47.5
    assert middle.mean(0).abs().max() < 2
    assert 2 < middle.std() < 10
    assert 0.5 < batch.visible.float().mean() < 0.9
    depth_error = batch.joints_mm[..., 2].median(1).values - batch.centre_mm
    assert -5 < depth_error.mean() < 15
    assert 8 < depth_error.std() < 35


def test_hands_come_from_every_side(batch: CropBatch) -> None:
    up = batch.joints_mm[:, 9] - batch.joints_mm[:, 0]
    angle = torch.atan2(up[:, 1], up[:, 0])
    quadrants = torch.histc(angle, 4, -np.pi, np.pi) / len(angle)
    assert quadrants.min() > 0.08
    facing = torch.linalg.cross(batch.joints_mm[:, 2] - batch.joints_mm[:, 17], up)[:, 2] < 0
    assert 0.3 < facing.float().mean() < 0.8


def test_all_hands_are_right_hands(batch: CropBatch) -> None:
    joints = batch.joints_mm
    normal = torch.linalg.cross(joints[:, 5] - joints[:, 17], joints[:, 9] - joints[:, 0])  # out of the palm
    curl = (joints[:, [8, 12, 16, 20]] - joints[:, [5, 9, 13, 17]]).mean(1)
    assert ((normal * curl).sum(1) > 0).float().mean() > 0.8  # fingers bend to the palm


def test_batches_repeat_from_seed_and_index() -> None:
    first = CropGenerator("cpu", seed=7, size=64, poses=128)
    first.batch(3)
    second_batch = first.batch(3)
    resumed = CropGenerator("cpu", seed=7, size=64, poses=128)
    resumed.index = 1
    again = resumed.batch(3)
    assert torch.equal(second_batch.images, again.images)
    assert torch.equal(second_batch.joints, again.joints)
    assert not torch.equal(
        second_batch.images, CropGenerator("cpu", seed=8, size=64, poses=128).batch(3).images
    )


@pytest.mark.parametrize("count", [1, 2])
def test_small_batches_and_other_sizes(count: int) -> None:
    batch = CropGenerator("cpu", seed=9, size=176, poses=64).batch(count)
    assert batch.images.shape == (count, 1, 176, 176)
    assert (batch.images < 1).float().mean() > 0.02

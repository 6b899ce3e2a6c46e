"""Turning: by angles that are known, and as the pipeline's own crops tell them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.crop import CropPose, HandCrop
from pipeline.frame import DepthCamera
from pipeline.hand import HAND_21
from pipeline.training.hand_task import hand_contract
from pipeline.training.warp import palm_roll, rotation, sample_nearest


def upright() -> Tensor:
    """(21, 2) px: the wrist below the knuckles' mean, on whose left the thumb is, and curled fingers."""
    joints = torch.zeros(21, 2)
    joints[[5, 9, 13, 17]] = torch.tensor([[-30.0, -70.0], [-10.0, -90.0], [10.0, -90.0], [30.0, -70.0]])
    joints[1:5, 0] = -60.0
    joints[[8, 12, 16, 20]] = torch.tensor([5.0, 40.0])
    return joints


@pytest.mark.parametrize(
    ("way", "roll"),
    [((0, -1), 0), ((1, 0), 90), ((0, 1), 180), ((-1, 0), -90), ((1, -1), 45), ((-3, -3), -45)],
)
def test_the_palm_points_from_the_wrist_to_the_knuckles(way: tuple[int, int], roll: float) -> None:
    """Clockwise from up, as the image is seen: rows go down."""
    joints = torch.full((1, 21, 3), 7.0)
    joints[0, [5, 9, 13, 17], :2] += torch.tensor(way)
    assert math.degrees(float(palm_roll(joints, HAND_21))) == pytest.approx(roll, abs=1e-4)


def test_a_turned_hand_has_the_angle_by_which_it_was_turned() -> None:
    angles = torch.linspace(-3.1, 3.1, 13)
    turned = torch.einsum("nij,kj->nki", rotation(angles), upright()) + 50.0
    torch.testing.assert_close(palm_roll(turned, HAND_21), angles)


def test_it_is_the_roll_that_the_pipeline_sees() -> None:
    rng = np.random.default_rng(0)
    camera = DepthCamera(640, 576, 504.0, 504.0, 320.0, 288.0)
    crop = HandCrop.around(np.array([300.0, 250.0, 700.0]), camera, hand_contract(128))
    joints = rng.uniform(0, 127, (50, 21, 3))
    expected = [CropPose(crop, crop.to_image(one), np.ones(21)).roll for one in joints]
    found = palm_roll(torch.from_numpy(joints), HAND_21)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_quarter_turn_of_an_image_goes_clockwise() -> None:
    image = torch.arange(25.0).view(1, 1, 5, 5) / 25
    turned = sample_nearest(image, rotation(torch.tensor([math.pi / 2])), torch.zeros(1, 2), 5)
    torch.testing.assert_close(turned[0, 0], torch.rot90(image[0, 0], -1))


def test_a_shift_goes_right_and_down_and_leaves_what_is_far() -> None:
    image = torch.arange(25.0).view(1, 1, 5, 5) / 25
    moved = sample_nearest(image, torch.eye(2)[None], torch.tensor([[2.0, 1.0]]), 5)[0, 0]
    torch.testing.assert_close(moved[1:, 2:], image[0, 0, :4, :3])
    assert (moved[0] == 1).all()
    assert (moved[:, :2] == 1).all()

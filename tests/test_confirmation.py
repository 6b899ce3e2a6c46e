"""Proposals become hands by what the joint network says of them."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.confirmation import (
    Found,
    agreed_box,
    confirmed,
    hand_score,
    hopeless,
    joints_box,
    proposals,
)
from pipeline.constants import (
    CONFIRM_BIAS,
    CONFIRM_DETECTOR,
    CONFIRM_PRESENCE,
    FINGER_MM,
    PROPOSAL_SCORE,
    PROPOSALS,
)
from pipeline.crop import CropPose, HandCrop
from pipeline.frame import DepthCamera
from pipeline.hand import Detection
from pipeline.networks.contracts import HandInput

CAMERA = DepthCamera(640, 576, 500.0, 250.0, 320.0, 288.0)
CONTRACT = HandInput(size=128, crop_mm=256.0, outside="far", std=150.0)


def found(u: float, v: float, score: float, spread_mm: float, presence: float | None = 4.0) -> Found:
    """A proposal whose joints lie in a square about (u, v), 500 mm away."""
    crop = HandCrop.around(np.array([u, v, 500.0]), CAMERA, CONTRACT)
    corners = np.array([[-1, -1], [1, -1], [1, 1]]) * 40.0
    uvd = np.column_stack([corners + np.array([u, v]), np.full(3, 500.0)])
    detection = Detection(np.array([u - 5, v - 5, u + 5, v + 5], np.float32), score, "left")
    return detection, CropPose(crop, uvd, np.full(3, spread_mm), presence_log_odds=presence)


def test_score_is_the_probability_by_all_three_signs() -> None:
    one = found(300, 250, 0.2, spread_mm=20.0, presence=3.0)  # confidence 1 / 2: log-odds 0
    ((detection, pose),) = confirmed([one], CAMERA, 0.1)
    assert pose is one[1]
    log_odds = CONFIRM_BIAS + CONFIRM_DETECTOR * np.log(0.2 / 0.8) + CONFIRM_PRESENCE * 3.0
    assert detection.score == pytest.approx(1 / (1 + np.exp(-log_odds)))
    assert detection.handedness == "left"


def test_each_sign_counts() -> None:
    base = found(300, 250, 0.2, 12.0, 2.0)
    better = [
        found(300, 250, 0.4, 12.0, 2.0),
        found(300, 250, 0.2, 6.0, 2.0),
        found(300, 250, 0.2, 12.0, 4.0),
    ]
    scores = [hand_score(one.score, pose) for one, pose in (base, *better)]
    assert min(scores[1:]) > scores[0]
    assert np.isfinite(hand_score(0.0, found(300, 250, 0.0, 1e9, -1e9)[1]))
    assert np.isfinite(hand_score(1.0, found(300, 250, 1.0, 0.0, 1e9)[1]))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_no_presence_outweighs_all_other_signs(sign: float) -> None:
    scores = [hand_score(0.5, found(300, 250, 0.5, 12.0, sign * odds)[1]) for odds in (7.0, 8.0, 9.0, 1e9)]
    assert scores[0] != scores[1] == scores[2] == scores[3]


def test_a_network_that_tells_no_presence_says_neither() -> None:
    silent, undecided = (found(300, 250, 0.4, 12.0, presence)[1] for presence in (None, 0.0))
    assert hand_score(0.4, silent) == hand_score(0.4, undecided)


def test_what_joints_or_presence_do_not_confirm_is_no_hand() -> None:
    sure, unsure = found(150, 250, 0.3, spread_mm=8.0), found(450, 250, 0.3, spread_mm=60.0)
    absent = found(300, 400, 0.3, spread_mm=8.0, presence=-6.0)
    assert [pose for _, pose in confirmed([unsure, absent, sure], CAMERA, 0.5)] == [sure[1]]
    assert confirmed([], CAMERA, 0.3) == []


def test_two_readings_of_one_hand_are_one() -> None:
    better, worse = found(300, 250, 0.3, 8.0), found(308, 254, 0.3, 15.0)
    other = found(100, 100, 0.25, 10.0)
    kept = [pose for _, pose in confirmed([worse, other, better], CAMERA, 0.1)]
    assert kept == [better[1], other[1]]


def test_box_holds_joints_and_skin_inside_the_image() -> None:
    _, pose = found(300, 250, 0.5, 8.0)
    flesh = FINGER_MM * np.array([500.0, 250.0]) / 500.0  # px at 500 mm
    expected = [260 - flesh[0], 210 - flesh[1], 340 + flesh[0], 290 + flesh[1]]
    np.testing.assert_allclose(joints_box(pose, CAMERA), expected, rtol=1e-6)
    _, pose = found(630, 10, 0.5, 8.0)
    assert joints_box(pose, CAMERA)[2] == 640
    assert joints_box(pose, CAMERA)[1] == 0


def seen_as(one: Found, *box: float) -> Found:
    """The same, but the detector's box is another."""
    return replace(one[0], box=np.array(box, np.float32)), one[1]


def test_a_confirmed_hand_lies_between_the_detector_s_box_and_the_joints_one() -> None:
    one = found(300, 250, 0.5, 8.0)
    around_joints = joints_box(one[1], CAMERA)
    ((hand, _),) = confirmed([seen_as(one, *(around_joints + 10))], CAMERA, 0.1)
    np.testing.assert_allclose(hand.box, around_joints + 3, rtol=1e-5)
    assert hand.box.dtype == np.float32


def test_joints_found_elsewhere_have_their_own_box() -> None:
    here, elsewhere = (np.array(box, np.float32) for box in ([0, 0, 10, 10], [10, 0, 20, 10]))
    np.testing.assert_array_equal(agreed_box(here, elsewhere), elsewhere)
    np.testing.assert_array_equal(agreed_box(np.full(4, np.nan, np.float32), elsewhere), elsewhere)


def test_it_is_the_joints_that_tell_whether_two_readings_are_one_hand() -> None:
    one, other = found(300, 250, 0.5, 8.0), found(360, 250, 0.4, 8.0)  # IoU of the joints' boxes: 0.24
    together = [200.0, 150.0, 460.0, 350.0]
    assert len(confirmed([seen_as(one, *together), seen_as(other, *together)], CAMERA, 0.1)) == 2
    twice = found(340, 250, 0.4, 8.0)  # 0.42
    apart = seen_as(one, 200, 150, 280, 350), seen_as(twice, 370, 150, 460, 350)
    assert len(confirmed(apart, CAMERA, 0.1)) == 1


def test_hands_outside_the_image_are_none() -> None:
    assert confirmed([found(900, 250, 0.9, 2.0)], CAMERA, 0.1) == []


def test_only_the_best_proposals_get_a_look() -> None:
    many = [found(100, 100, PROPOSAL_SCORE + 0.01 * k, 8.0)[0] for k in range(PROPOSALS + 5)]
    chosen = proposals(many)
    assert len(chosen) == PROPOSALS
    assert chosen[0] is many[-1]
    assert proposals([found(100, 100, PROPOSAL_SCORE - 0.01, 8.0)[0], *many[:2]]) == many[1::-1]


def test_hopeless_is_what_most_signs_speak_against() -> None:
    assert hopeless(0.1, found(300, 250, 0.1, 60.0, -2.5)[1])
    assert not hopeless(0.5, found(300, 250, 0.5, 24.0, -2.5)[1])
    assert not hopeless(0.1, found(300, 250, 0.1, 24.0, 4.0)[1])
    assert not hopeless(np.nan, found(300, 250, np.nan, 60.0, -2.5)[1])

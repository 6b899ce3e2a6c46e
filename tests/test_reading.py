from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from pipeline import hand, reading
from pipeline.constants import FLESH_MM
from pipeline.crop import CropPose
from pipeline.detecting import given_hands
from pipeline.frame import Frame
from pipeline.hand import Detection, Handedness
from pipeline.networks.a2j import anchor_grid
from pipeline.networks.contracts import HandInput
from pipeline.reading import HandReader
from pipeline.sight import Look
from tests.fakes.hand_networks import BOXES, CAMERA, HANDS, SIZE, TIPS, FakeEngine, NearestPoint, two_squares


class KnowsRightHands(NearestPoint):
    """Its side head takes a hand for a right one if its nearest pixel lies right of the others' mean.

    Args:
        wrong_looks: in so many of its first batches it says the opposite.
    """

    def __init__(self, wrong_looks: int = 0) -> None:
        super().__init__()
        self.wrong_looks = wrong_looks

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        away = [np.argmin(image) % SIZE - np.nonzero(image < 0.9)[1].mean() for image in batch[:, 0]]
        logits = np.where(np.array(away) > 0, 4, -4) * (-1 if len(self.batches) <= self.wrong_looks else 1)
        return (*super().answer(batch), logits.astype(np.float32))


class Reading:
    """A reader, and the network it asks."""

    def __init__(self, network: FakeEngine, contract: HandInput = HANDS) -> None:
        self.network = network
        self.reader = HandReader(network, contract, tells_side=isinstance(network, KnowsRightHands))

    def at(self, frame: Frame, boxes: ArrayLike, sides: Sequence[Handedness] | None = None) -> list[CropPose]:
        """The joints in boxes."""
        return [pose for _, pose in self.reader.read_detections(frame, given_hands(boxes, sides))]

    def sides_of(self, frame: Frame, *found: Detection) -> list[Handedness]:
        """What detections are read as."""
        return [self.reader.side(pose.crop) for _, pose in self.reader.read_detections(frame, found)]

    @property
    def looks(self) -> list[int]:
        """The sizes of the network's batches."""
        return [len(batch) for batch in self.network.batches]


@pytest.fixture
def frame() -> Frame:
    return two_squares()


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hands are not cropped anew."""
    monkeypatch.setattr(reading, "RECROP_MM", np.inf)


def nearest_pixels(poses: Sequence[CropPose]) -> NDArray[np.float64]:
    """Joint 0 without what NearestPoint adds to its row, in px of the image, and its depth."""
    uvd = np.array([pose.uvd[0] for pose in poses])
    uvd[:, 1] -= 10 * 260 / SIZE * CAMERA.fy / (np.array([700, 1400]) + FLESH_MM)[: len(poses)]
    return uvd


# --- Joints ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("once")
def test_joints_come_back_where_they_are_seen(frame: Frame) -> None:
    asked = Reading(NearestPoint())
    found = nearest_pixels(asked.at(frame, BOXES, ["right", "left"]))
    assert asked.looks == [2]
    np.testing.assert_allclose(found[:, :2], TIPS, atol=2.5)  # half a pixel of the crop
    np.testing.assert_allclose(found[:, 2], [650, 1350], atol=1e-3)


@pytest.mark.usefixtures("once")
def test_spread_is_that_of_the_votes(frame: Frame) -> None:
    sure, unsure = Reading(NearestPoint()).at(frame, BOXES, ["right", "right"])
    np.testing.assert_allclose(sure.spread_mm, 0, atol=0.1)
    np.testing.assert_allclose(unsure.spread_mm, np.sqrt(2) * 9 * 260 / SIZE, rtol=1e-3)


@pytest.mark.usefixtures("once")
def test_joints_beyond_the_lens_model_are_not_trusted(frame: Frame) -> None:
    (free,) = Reading(NearestPoint()).at(frame, BOXES[:1], ["right"])
    rays = CAMERA.unproject(np.column_stack([free.uvd[:, :2], np.ones(21)]))[:, :2]
    limited = replace(CAMERA, metric_radius=float(np.median(np.linalg.norm(rays, axis=1))))
    (pose,) = Reading(NearestPoint()).at(replace(frame, camera=limited), BOXES[:1], ["right"])
    held = limited.reaches(pose.uvd)
    assert 9 <= held.sum() <= 12
    np.testing.assert_array_equal(pose.uvd, free.uvd)
    np.testing.assert_array_equal(pose.confidence[held], free.confidence[held])
    assert free.confidence.min() > 0.99
    assert pose.confidence[~held].max() < 0.01


@pytest.mark.usefixtures("once")
def test_crops_are_centred_on_what_the_weights_were_trained_about(frame: Frame) -> None:
    middle = SIZE // 2
    published = HandInput(size=SIZE, window_px=220.0, window_fx=588.0)
    for contract, expected in ((HANDS, -FLESH_MM / 150), (published, 0)):  # joints behind the surface; on it
        asked = Reading(NearestPoint(), contract)
        asked.at(frame, BOXES[:1], ["right"])
        assert asked.network.batches[0][0, 0, middle, middle] == pytest.approx(expected, abs=1e-5)


class HandAtNearestPoint(FakeEngine):
    """All joints about the nearest pixel of each crop.

    Args:
        growing: the second look is less sure than the first, not surer.
    """

    def __init__(self, growing: bool = False) -> None:
        super().__init__()
        self.growing = growing

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        anchors = anchor_grid(SIZE).numpy()
        around = np.stack([np.linspace(-5, 5, 21)] * 2, 1)
        offsets = [
            np.array(np.unravel_index(np.argmin(image), image.shape)) + around - anchors[:, None]
            for image in batch[:, 0]
        ]
        flat = np.zeros((len(batch), len(anchors), 21), np.float32)
        noise = float(len(self.batches)) ** (1 if self.growing else -1)
        wiggle = np.where(np.arange(len(anchors)) % 2, noise, -noise)[:, None, None]
        return flat, (np.stack(offsets) + wiggle).astype(np.float32), flat


def test_crops_that_were_off_are_taken_anew(frame: Frame) -> None:
    asked = Reading(HandAtNearestPoint())
    depth = np.full_like(frame.depth, 2500)
    cv2.circle(depth, (250, 180), 40, 700, -1)
    cv2.circle(depth, (450, 380), 40, 700, -1)
    depth[178:183, 248:253] = depth[398:403, 423:428] = 690
    boxes = np.array([[210, 140, 290, 220], [410, 340, 490, 420]], np.float32)
    centred, off = asked.at(replace(frame, depth=depth), boxes, ["right", "right"])
    assert asked.looks == [2, 1]
    again = asked.network.batches[1][0, 0]
    middle = np.unravel_index(np.argmin(again), again.shape)
    np.testing.assert_allclose(middle, (SIZE - 1) / 2, atol=1)
    np.testing.assert_allclose(off.uvd.mean(axis=0)[:2], [425, 400], atol=3)
    np.testing.assert_allclose(centred.uvd.mean(axis=0)[:2], [250, 180], atol=3)


def test_a_second_look_that_is_less_sure_does_not_count(frame: Frame) -> None:
    for growing, px in ((False, 1 / 2), (True, 1.0)):
        asked = Reading(HandAtNearestPoint(growing))
        (pose,) = asked.at(frame, BOXES[:1], ["right"])
        assert asked.looks == [1, 1]
        np.testing.assert_allclose(pose.spread_mm, np.sqrt(2) * px * 260 / SIZE, rtol=1e-3)


class TurnedHand(FakeEngine):
    """A hand amid each crop, its palm turned clockwise from the crop's upward direction by an angle."""

    def __init__(self, turned: float) -> None:
        super().__init__()
        self.turned = turned

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        anchors = anchor_grid(SIZE).numpy()
        joints = np.full((21, 2), SIZE / 2)
        joints[1:] += 10 * np.array([-np.cos(self.turned), np.sin(self.turned)])  # row, column
        flat = np.zeros((len(batch), len(anchors), 21), np.float32)
        offsets = np.stack([joints - anchors[:, None]] * len(batch)).astype(np.float32)
        return flat, offsets, flat


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    ("turned", "roll", "looks"),
    [(0.1, None, 2), (0.1, 1.0, 1), (-0.3, 1.0, 1), (0.5, 1.0, 2), (-0.5, 1.0, 2)],
)
def test_palms_that_point_to_the_side_are_looked_at_again(
    frame: Frame, turned: float, roll: float | None, looks: int
) -> None:
    asked = Reading(TurnedHand(turned), replace(HANDS, upright=True))
    (pose,) = asked.reader.read(frame, [Look(np.array([250.0, 180.0, 700.0]), "right", roll)])
    assert asked.looks == [1] * looks
    assert pose is not None
    assert pose.crop.roll == pytest.approx((roll or 0.0) + turned * (looks - 1), abs=0.01)


class Broken(NearestPoint):
    """Not a number for the first crop, a hand behind the camera for the second."""

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        votes, offsets, depths = super().answer(batch)
        offsets[0, :, 5] = np.nan
        depths[1] = -1e4
        return votes, offsets, depths


@pytest.mark.usefixtures("once")
def test_what_is_not_a_hand_is_left_out(frame: Frame) -> None:
    asked = Reading(Broken())
    (pose,) = asked.at(frame, BOXES[[0, 1, 0]], ["right"] * 3)
    assert np.isfinite(pose.uvd).all()
    looks = [Look(np.array([*tip, 700.0]), "right") for tip in TIPS]
    assert asked.reader.read(frame, looks) == [None, None]


def test_boxes_that_hold_nothing_are_left_out(frame: Frame) -> None:
    nothing = [[np.nan, 0, 50, 50], [-90, -90, -10, -10], [9, 9, 9, 60], [0, 0, np.inf, 50]]
    boxes = given_hands([nothing[0], *BOXES.tolist(), *nothing[1:]])
    reader = Reading(NearestPoint()).reader
    assert [seen.detection.box.tolist() for seen in reader.locate(frame, boxes)] == BOXES.tolist()
    assert [one.box.tolist() for one, _ in reader.read_detections(frame, boxes)] == BOXES.tolist()


# --- Sides -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("once")
def test_left_hands_are_seen_mirrored(frame: Frame) -> None:
    asked = Reading(NearestPoint())
    asked.at(frame, BOXES[[0, 0]], ["right", "left"])
    (batch,) = asked.network.batches
    np.testing.assert_array_equal(batch[0, 0], batch[1, 0, :, ::-1])


@pytest.mark.usefixtures("once")
def test_unknown_side_is_the_one_on_which_the_anchors_agree(frame: Frame) -> None:
    asked = Reading(NearestPoint())
    poses = asked.at(frame, BOXES)
    assert asked.looks == [4]
    assert [asked.reader.side(pose.crop) for pose in poses] == ["right", "left"]
    np.testing.assert_allclose(nearest_pixels(poses)[:, :2], TIPS, atol=2.5)


@pytest.mark.usefixtures("once")
def test_weights_that_know_both_hands_see_no_mirror(frame: Frame) -> None:
    asked = Reading(NearestPoint(), replace(HANDS, handedness=None))
    poses = asked.at(frame, BOXES)
    assert asked.looks == [2]
    assert not any(pose.crop.mirrored for pose in poses)


@pytest.mark.usefixtures("once")
def test_side_head_tells_without_trying_both_sides(frame: Frame) -> None:
    asked = Reading(KnowsRightHands())
    assert asked.sides_of(frame, *given_hands(BOXES)) == ["right", "left"]
    assert asked.looks == [2, 1]  # the left one was not seen mirrored at first


@pytest.mark.usefixtures("once")
def test_side_head_outvotes_a_detector_that_is_wrong(frame: Frame) -> None:
    asked = Reading(KnowsRightHands())
    found = [Detection(BOXES[0], 0.9, "left"), Detection(BOXES[1], 0.9, "left")]
    assert asked.sides_of(frame, *found) == ["right", "left"]
    assert asked.looks == [2, 1]


@pytest.mark.usefixtures("once")
def test_a_given_side_stands_against_the_side_head(frame: Frame) -> None:
    asked = Reading(KnowsRightHands())
    assert asked.sides_of(frame, *given_hands(BOXES, ["left", "right"])) == ["left", "right"]
    assert asked.looks == [2]


@pytest.mark.usefixtures("once")
def test_second_look_can_change_the_side_back(frame: Frame) -> None:
    asked = Reading(KnowsRightHands(wrong_looks=1))
    assert asked.sides_of(frame, Detection(BOXES[0], 0.9, "right")) == ["right"]
    assert asked.looks == [1, 1, 1]


class Undecided(NearestPoint):
    """Its side head takes every hand for the other one, but is not sure of it."""

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return (*super().answer(batch), np.full(len(batch), -0.5, np.float32))


@pytest.mark.usefixtures("once")
def test_a_hand_of_either_side_is_not_turned_over_and_over(frame: Frame) -> None:
    asked = Reading(Undecided())
    asked.reader.tells_side = True
    assert asked.sides_of(frame, Detection(BOXES[0], 0.9, None)) == ["left"]
    assert asked.looks == [1, 1]


@pytest.mark.usefixtures("once")
def test_what_will_not_be_confirmed_is_not_looked_at_again(frame: Frame) -> None:
    for least_score, score, looks in ((0.0, 0.1, [1, 1]), (0.3, 0.1, [1]), (0.3, 0.9, [1, 1])):
        asked = Reading(KnowsRightHands(), replace(HANDS, least_score=least_score))
        asked.sides_of(frame, Detection(BOXES[1], score, None))
        assert asked.looks == looks


@pytest.mark.usefixtures("once")
def test_mirrored_camera_swaps_the_sides(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand, "CAMERA_MIRRORED", True)
    assert Reading(KnowsRightHands()).sides_of(frame, *given_hands(BOXES)) == ["left", "right"]
    asked = Reading(NearestPoint())
    assert asked.sides_of(frame, *given_hands(BOXES)) == ["left", "right"]
    poses = asked.at(frame, BOXES, ["left", "right"])
    np.testing.assert_allclose(nearest_pixels(poses)[:, :2], TIPS, atol=2.5)
    assert poses[0].confidence.min() > 0.99


@pytest.mark.parametrize(
    ("least_score", "handedness", "confirms"),
    [(0.3, "right", True), (0.0, "right", False), (0.3, None, False)],
)
def test_one_sided_weights_with_a_least_score_tell_hands(
    least_score: float, handedness: Handedness | None, confirms: bool
) -> None:
    contract = replace(HANDS, least_score=least_score, handedness=handedness)
    assert Reading(KnowsRightHands(), contract).reader.confirms == confirms

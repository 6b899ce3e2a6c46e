from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import hand
from pipeline.detecting import HandDetector, given_hands
from tests.fakes.hand_networks import BOXES, DETECTOR, FakeDetector, two_squares


def test_boxes_are_scaled_clipped_and_sorted() -> None:
    network = FakeDetector((10, 20, 14, 26, 0.5, 0), (-6, -8, 12, 10, 0.9, 1), (50, 50, 70, 80, 0.7, 1))
    found = HandDetector(network, DETECTOR)(two_squares())
    assert [one.score for one in found] == pytest.approx([0.9, 0.7, 0.5])
    assert [one.handedness for one in found] == ["right", "right", "left"]
    expected = [[0, 0, 120, 90], [500, 450, 640, 576], [100, 180, 140, 234]]
    np.testing.assert_allclose([one.box for one in found], expected, atol=0.1)


def test_boxes_beside_the_image_are_left_out() -> None:
    network = FakeDetector((-20, -20, -6, -6, 0.9, 0), (60, 66, 68, 80, 0.8, 0), (20, 16, 28, 26, 0.5, 0))
    assert [one.score for one in HandDetector(network, DETECTOR)(two_squares())] == [0.5]


def test_overlapping_boxes_are_kept_up_to_the_given_iou() -> None:
    peaks = (10, 20, 40, 40, 0.9, 0), (22, 20, 52, 40, 0.5, 0)  # IoU 18 / 42 = 0.43
    found = [len(HandDetector(FakeDetector(*peaks), DETECTOR, limit)(two_squares())) for limit in (0.4, 0.45)]
    assert found == [1, 2]


def test_without_infrared_the_detector_sees_depth_only() -> None:
    network, frame = FakeDetector(), two_squares()
    detect = HandDetector(network, DETECTOR)
    assert detect(replace(frame, ir=None)) == []
    detect(frame)
    without, with_ir = (batch[0] for batch in network.batches)
    np.testing.assert_array_equal(without[0], with_ir[0])
    assert not without[1].any()
    assert with_ir[1].any()


def test_mirrored_camera_swaps_the_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand, "CAMERA_MIRRORED", True)
    detect = HandDetector(FakeDetector((20, 16, 28, 26, 0.5, 0)), DETECTOR)
    assert [one.handedness for one in detect(two_squares())] == ["right"]


def test_given_boxes_have_a_side_or_none() -> None:
    assert [one.handedness for one in given_hands(BOXES)] == [None, None]
    right, left = given_hands(BOXES.tolist(), ["right", "left"])
    assert (right.handedness, left.handedness) == ("right", "left")
    np.testing.assert_array_equal(left.box, BOXES[1])
    assert np.isnan(left.score)
    assert given_hands([]) == given_hands(np.zeros((0, 4))) == []


def test_boxes_of_another_shape_are_refused() -> None:
    for boxes in (BOXES[0], BOXES[:, :3], BOXES[None]):
        with pytest.raises(ValueError, match=r"boxes must have the shape \(N, 4\)"):
            given_hands(boxes)
    for sides in (["right"], ["right", "up"]):
        with pytest.raises(ValueError, match="for each of 2 boxes"):
            given_hands(BOXES, sides)  # type: ignore[arg-type]

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.drawing import (
    FINGER_COLOURS,
    PALM_COLOUR,
    SIDE_COLOURS,
    ViewOptions,
    depth_picture,
    dimmed,
    draw_skeleton,
    hand_label,
    infrared_picture,
    overlay,
)
from pipeline.frame import DepthCamera
from pipeline.hand import HAND_21, Hand
from pipeline.panel import Viewpoint, draw_panel, follow, panel_points
from pipeline.view import FrameRate, compose, seconds_between
from tests.scripted import flat_frame, open_hand
from tests.shared_data import shared_file


@pytest.mark.parametrize("metres", [0.3, 3.0])
def test_a_hand_near_or_far_is_well_exposed(metres: float) -> None:
    """Skin at one metre returns about 1500; brightness falls with the square of the distance."""
    ir = np.full((288, 320), 1500 / (metres + 1.5) ** 2, np.uint16)  # the wall behind
    ir[100:180, 120:180] = min(65535, 1500 / metres**2)
    picture = infrared_picture(ir)
    hand, wall = picture[110:170, 130:170].mean(), picture[20:80, 20:100].mean()
    assert 60 < hand < 250
    assert hand > wall + 20


def test_infrared_of_a_real_frame_uses_the_whole_range() -> None:
    from pipeline.cameras import open_camera

    path = shared_file("azure_kinect/recording.mkv")
    with open_camera(path) as camera:
        ir = next(iter(camera)).ir
    assert ir is not None
    low, high = np.percentile(infrared_picture(ir)[ir > 0], [5, 95])
    assert low < 80
    assert high > 180


def test_depth_colours_run_from_red_near_to_blue_far_and_black_is_unmeasured() -> None:
    near, far, none = depth_picture(np.array([[300, 3900, 0]], np.uint16))[0].astype(int)
    assert near[2] > near[0]
    assert far[0] > far[2]
    assert none.tolist() == [0, 0, 0]


def test_joints_are_drawn_where_they_are_in_their_finger_colour() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    points = np.stack([np.linspace(15, 185, 21), np.full(21, 100.0)], axis=1)
    draw_skeleton(image, points, np.ones(21), HAND_21)
    assert tuple(image[100, 15]) == PALM_COLOUR
    for finger, colour in enumerate(FINGER_COLOURS):
        u, v = points[4 + 4 * finger].round().astype(int)
        assert tuple(image[v, u]) == colour


def test_confidence_dims_a_colour_but_never_to_black() -> None:
    assert dimmed((90, 120, 240), 1.0) == (90, 120, 240)
    assert dimmed((90, 120, 240), 0.0) == (30, 40, 80)
    assert dimmed((90, 120, 240), float("nan")) == (30, 40, 80)
    assert dimmed((90, 120, 240), 7.0) == (90, 120, 240)


def test_box_lies_on_its_pixels_also_where_the_frame_is_enlarged() -> None:
    frame = flat_frame(depth=0, ir=None)  # 320x288: shown twice as large
    hand = replace(open_hand(), box=np.array([40, 60, 200, 220], np.float32))
    image = overlay(frame, [hand], HAND_21, depth=True)
    assert image.shape == (576, 640, 3)
    for row, column in ((300, 80), (300, 400), (120, 300), (440, 300)):
        assert tuple(image[row, column]) == SIDE_COLOURS["right"]
    assert tuple(image[300, 78]) == (0, 0, 0)


def test_without_infrared_the_depth_is_shown() -> None:
    frame = flat_frame(ir=None)
    assert np.array_equal(overlay(frame, [], HAND_21), overlay(frame, [], HAND_21, depth=True))


@pytest.mark.parametrize(
    ("handedness", "number", "label"),
    [("right", 3, "right 3  97%"), ("left", None, "left  97%"), (None, None, "hand  97%")],
)
def test_label_tells_what_is_known(handedness: str | None, number: int | None, label: str) -> None:
    assert hand_label(open_hand(handedness=handedness, number=number)) == label  # type: ignore[arg-type]


def test_second_viewpoint_keeps_proportions() -> None:
    """Around the centre, 100 mm is as long in every direction that is square to the view."""
    view = Viewpoint(centre=(30.0, -20.0, 700.0), radius=200.0, time=3.0)
    right, down, _ = view.rotation
    points = np.array([view.centre + 100 * right, view.centre, view.centre + 100 * down])
    placed = panel_points(points, view, 400, 300)
    across, along = placed[0, :2] - placed[1, :2], placed[2, :2] - placed[1, :2]
    assert np.allclose(placed[1, :2], [199.5, 149.5])
    assert np.allclose(across, [75, 0])  # half of 300 px shows the radius of 200 mm
    assert np.allclose(along, [0, 75])


@settings(max_examples=50)
@given(st.floats(0, 60))
def test_second_viewpoint_is_a_rotation_and_never_that_of_the_camera(time: float) -> None:
    rotation = Viewpoint(time=time).rotation
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.degrees(np.arccos((np.trace(rotation) - 1) / 2)) > 20


def test_viewpoint_goes_to_the_first_hand_at_once_and_follows_it_smoothly() -> None:
    first = follow(None, [open_hand((0, 0, 600))], 1 / 30)
    moved = follow(first, [open_hand((300, 0, 600))], 1 / 30)
    later = first
    for _ in range(90):
        later = follow(later, [open_hand((300, 0, 600))], 1 / 30)
    assert 0 < moved.centre[0] - first.centre[0] < 60
    assert later.centre[0] - first.centre[0] == pytest.approx(300, abs=2)
    assert follow(first, [], 1 / 30).centre == first.centre


def test_all_hands_lie_in_the_panel() -> None:
    hands = [open_hand((-300, -100, 500)), open_hand((350, 120, 900), "left")]
    view = follow(None, hands, 1 / 30)
    for hand in hands:
        placed = panel_points(hand.joints_xyz, view, 400, 560)
        assert (placed[:, :2] > 0).all()
        assert (placed[:, :2] < (400, 560)).all()


def _absurd(value: float) -> Hand:
    hand = open_hand()
    return replace(
        hand,
        box=np.full_like(hand.box, value),
        joints_uvd=np.full_like(hand.joints_uvd, value),
        joints_xyz=np.full_like(hand.joints_xyz, value),
        confidence=np.full_like(hand.confidence, value),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e9, 0.0])
def test_absurd_joints_do_not_stop_the_picture(value: float) -> None:
    hands = [_absurd(value), open_hand()]
    compose(flat_frame(), hands, HAND_21, ViewOptions(help=True), follow(None, hands, 1 / 30), "")


@pytest.mark.parametrize("size", [(320, 288), (640, 576), (512, 512), (161, 121), (1024, 1024)])
def test_picture_has_the_same_even_size_whatever_is_seen(size: tuple[int, int]) -> None:
    camera = DepthCamera(*size, fx=250, fy=250, cx=size[0] / 2, cy=size[1] / 2)
    frame = flat_frame(camera=camera)
    view = Viewpoint()
    empty = compose(frame, [], HAND_21, ViewOptions(), view, "")
    full = compose(frame, [open_hand(camera=camera)], HAND_21, ViewOptions(depth=True, help=True), view, "x")
    assert empty.shape == full.shape
    assert empty.shape[0] % 2 == empty.shape[1] % 2 == 0


def test_drawing_leaves_the_frame_as_it_was() -> None:
    frame = flat_frame()
    assert frame.ir is not None
    depth, ir = frame.depth.copy(), frame.ir.copy()
    hand = open_hand()
    joints = hand.joints_xyz.copy()
    compose(frame, [hand], HAND_21, ViewOptions(help=True), Viewpoint(), "x")
    assert np.array_equal(frame.depth, depth)
    assert np.array_equal(frame.ir, ir)
    assert np.array_equal(hand.joints_xyz, joints)


def test_panel_is_drawn_without_hands() -> None:
    assert draw_panel([], HAND_21, Viewpoint(), 300, 400).shape == (400, 300, 3)


@pytest.mark.parametrize(
    ("last", "now", "seconds"),
    [(None, 5, 1 / 30), (0, 40_000, 0.04), (7, 7, 1 / 30), (9, 3, 1 / 30), (0, 5_000_000, 1 / 30)],
)
def test_timestamps_that_do_not_tell_count_as_thirty_a_second(
    last: int | None, now: int, seconds: float
) -> None:
    assert seconds_between(last, now) == pytest.approx(seconds)


def test_frame_rate_is_unknown_at_the_first_frame() -> None:
    rate = FrameRate()
    assert str(rate) == "-- fps"
    rate.tick()
    assert str(rate) == "-- fps"
    rate.tick()
    assert float(str(rate).split()[0]) > 0

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.drawing import SIDE_COLOURS, overlay
from pipeline.hand import HAND_21, NYU_14
from pipeline.trails import Trails
from tests.scripted import flat_frame, open_hand


def test_trails_follow_the_tips_of_hands_with_an_id() -> None:
    trails = Trails(HAND_21)
    for k in range(40):
        trails.advance([open_hand((10.0 * k, 0.0, 700.0), "left", 3), open_hand(number=None)])
    ((side, way),) = trails
    assert side == "left"
    assert 2 < len(way) < 40
    assert (np.diff(way[:, 0]) > 0).all()
    np.testing.assert_allclose(way[-1], open_hand((390.0, 0.0, 700.0)).joints_uvd[8, :2], atol=1e-3)
    trails.advance([])
    assert not list(trails)


def test_trails_are_drawn_in_the_colour_of_the_side() -> None:
    way = np.array([[50, 100], [150, 100], [250, 100]], np.float32)
    image = overlay(flat_frame(depth=0, ir=None), [], HAND_21, trails=[("right", way)])
    first, last = image[201, 200].astype(int), image[201, 480].astype(int)  # 320x288 is shown twice as large
    np.testing.assert_allclose(last, np.array(SIDE_COLOURS["right"]) * last.max() / 255, atol=2)
    assert 0 < first.max() < last.max()


def test_skeletons_without_a_named_tip_have_no_trail() -> None:
    nameless = replace(NYU_14, joint_names=tuple(f"joint_{k}" for k in range(14)))
    trails = Trails(nameless)
    trails.advance([open_hand()])
    assert not list(trails)

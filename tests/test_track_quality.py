"""Signs that a track has lost its hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.constants import (
    TRACK_JUMP_MM,
    TRACK_LEAST_CONFIDENCE,
    TRACK_LEAST_PRESENCE,
    TRACK_LEAST_SUPPORT,
    TRACK_STRETCH,
    TRACK_SUPPORT_MM,
    TRACK_SURE_PRESENCE,
    TRACK_SURE_SUPPORT,
)
from pipeline.hand import HAND_21
from pipeline.track_quality import Quality, bone_lengths, stretch, support
from tests.acting import hand_at
from tests.scripted import CAMERA


def test_joints_are_supported_by_the_surface_they_are_in_or_behind() -> None:
    uvd = CAMERA.project(hand_at(0, 0, 700))
    flat = np.full((CAMERA.height, CAMERA.width), 690, np.uint16)
    assert support(flat, uvd, CAMERA.fx) == 1
    assert support(flat - 300, uvd, CAMERA.fx) == 1
    assert support(flat + 300, uvd, CAMERA.fx) == 0
    assert support(flat * 0, uvd, CAMERA.fx) == 0
    outside = uvd + np.array([1000, 0, 0])
    assert support(flat, outside, CAMERA.fx) == 0


def test_a_surface_far_behind_a_joint_does_not_hold_it_up() -> None:
    uvd = np.array([[100.0, 100.0, 700.0]])
    for behind, held_up in ((TRACK_SUPPORT_MM - 1, 1), (TRACK_SUPPORT_MM + 1, 0)):
        depth = np.full((CAMERA.height, CAMERA.width), 700 + behind, np.uint16)
        assert support(depth, uvd, CAMERA.fx) == held_up


@pytest.mark.parametrize("way", [(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1) if u or v])
@pytest.mark.parametrize("depth_mm", [350, 700])
def test_joints_may_lie_eight_millimetres_beside_the_outline(way: tuple[int, int], depth_mm: int) -> None:
    reach = round(CAMERA.fx * 8 / depth_mm)
    depth = np.zeros((CAMERA.height, CAMERA.width), np.uint16)
    depth[100 + reach * way[1], 100 + reach * way[0]] = depth_mm
    uvd = np.array([[100.0, 100.0, depth_mm]])
    assert support(depth, uvd, CAMERA.fx) == 1
    assert support(depth, uvd - [2 * way[0], 2 * way[1], 0], CAMERA.fx) == 0


GOOD = Quality(support=1.0, confidence=1.0, stretch=0.0, jump_mm=0.0)


def test_a_hand_without_bad_signs_is_not_doubted() -> None:
    for presence in (None, TRACK_SURE_PRESENCE):
        quality = replace(GOOD, presence=presence)
        assert not quality.doubtful
        assert not quality.empty


@pytest.mark.parametrize(
    "sign",
    [
        {"support": TRACK_SURE_SUPPORT - 0.01},
        {"confidence": TRACK_LEAST_CONFIDENCE - 0.01},
        {"stretch": TRACK_STRETCH + 0.01},
        {"jump_mm": TRACK_JUMP_MM + 1},
        {"presence": TRACK_SURE_PRESENCE - 0.01},
    ],
    ids=lambda sign: next(iter(sign)),
)
def test_each_bad_sign_alone_is_a_doubt(sign: dict[str, float]) -> None:
    quality = replace(GOOD, **sign)
    assert quality.doubtful
    assert not quality.empty


@pytest.mark.parametrize("sign", [{"support": TRACK_LEAST_SUPPORT}, {"presence": TRACK_LEAST_PRESENCE}])
def test_floating_joints_or_no_presence_are_no_hand(sign: dict[str, float]) -> None:
    assert not replace(GOOD, **sign).empty
    assert replace(GOOD, **{name: value - 0.01 for name, value in sign.items()}).empty


def test_stretch_is_a_share_of_the_bones_lengths() -> None:
    usual = bone_lengths(hand_at(0, 0, 700), HAND_21.bones)
    np.testing.assert_allclose(usual, 30, atol=1.0)  # four bones of each finger, as they are drawn
    assert stretch(bone_lengths(1.2 * hand_at(0, 0, 700), HAND_21.bones), usual) == pytest.approx(0.2)
    assert stretch(usual + np.where(np.arange(20) % 2, 6.0, -6.0), usual) == pytest.approx(6 / usual.mean())
    assert stretch(np.zeros(0), np.zeros(0)) == 0

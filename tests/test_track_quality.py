"""Signs that a track has lost its hand."""

from __future__ import annotations

import numpy as np

from pipeline.track_quality import support
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

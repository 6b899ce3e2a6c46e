"""Tracking with the shipped weights on real frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT
from pipeline.hand_pose import HandPosePipeline
from pipeline.training.evaluate_real import SETS, read_frames
from tests.shared_data import shared_file


@pytest.mark.shared
@pytest.mark.parametrize("name", SETS)
def test_real_frames_have_the_same_hands_with_tracking(name: str) -> None:
    """Every fifth frame as a video that stands still."""
    if not (A2J_CHECKPOINT.is_file() and CENTERNET_CHECKPOINT.is_file()):
        pytest.skip("there are no weights")
    folder = shared_file(f"real_hands/{name}")
    plain, tracked = (HandPosePipeline("torch", track=track, device="cpu") for track in (False, True))
    tracked.smooth = False
    frames = list(islice(read_frames(folder), 0, None, 5))
    assert len(frames) == 4
    for real in frames:
        expected = plain(real.frame)
        assert sum(hand.score > 0.8 for hand in expected) == len(expected) == len(real.hands), real.name
        tracked.reset()
        found = [tracked(replace(real.frame, timestamp_us=33_333 * k)) for k in range(10)][-1]
        assert sorted(hand.id or 0 for hand in found) == list(range(1, len(expected) + 1)), real.name
        centres = [np.array([hand.joints_xyz.mean(axis=0) for hand in hands]) for hands in (found, expected)]
        distance = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
        assert (distance.min(axis=0) < 10).all(), real.name
        assert (distance.min(axis=1) < 10).all(), real.name

"""Tracking with the shipped weights on recorded frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from pipeline.hand_pose import HandPosePipeline
from tests.shared_data import shared_file


@pytest.mark.shared
def test_real_frames_have_the_same_hands_with_tracking() -> None:
    """Each frame as a video that stands still."""
    from pipeline.cameras import open_camera
    from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT

    if not (A2J_CHECKPOINT.is_file() and CENTERNET_CHECKPOINT.is_file()):
        pytest.skip("there are no weights")
    source = shared_file("azure_kinect/recording.mkv")
    plain, tracked = (HandPosePipeline("torch", track=track, device="cpu") for track in (False, True))
    tracked.smooth = False
    with open_camera(str(source)) as camera:
        for frame in islice(camera, 3):
            expected = [hand for hand in plain(frame) if hand.score > 0.3]
            tracked.reset()
            found = [tracked(replace(frame, timestamp_us=33_333 * k)) for k in range(10)][-1]
            assert len(found) >= len(expected)
            centres = [
                np.array([hand.joints_xyz.mean(axis=0) for hand in hands]).reshape(-1, 3)
                for hands in (found, expected)
            ]
            distance = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
            assert (distance.min(axis=0, initial=np.inf) < 30).all()

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from pipeline.frame import RENDERED_CAMERA
from pipeline.synthetic.acts import ACTS, FIVE, FLAT, Act, Arm, Key, posture
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.sequences import HandSequence, hand_sequences

LEFT, RIGHT = 0, 1


def joints_of(kind: str, frames: int, every: int = 1) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Owner -> (frame, (21, 3) mm) whenever the hand shows."""
    seen: dict[int, list[tuple[int, np.ndarray]]] = {}
    sequence = HandSequence(kind, 3, frames)
    for index in range(0, frames, every):
        for hand in sequence.frame(index)[1]:
            seen.setdefault(hand.owner, []).append((index, hand.joints_xyz))
    return seen


# --- Acts --------------------------------------------------------------------------------------------------


def test_arms_are_where_the_keys_say() -> None:
    start, end = Arm(0.1, 0.2, 0.5, 30.0, FLAT), Arm(-0.3, 0.0, 0.7, 90.0, FIVE)
    act = Act([Key(1.0, start, end), Key(2.0, end, start)])
    for seconds, left in ((0.0, end), (1.0, start), (3.0, end), (31.0, start)):
        arms = act.arms(seconds)
        np.testing.assert_allclose(arms[LEFT, :3], [left.outwards, left.down, left.forward], atol=1e-5)
        assert float(arms[LEFT, 3]) == pytest.approx(np.radians(left.pronation), abs=1e-5)
    halfway = act.arms(2.0)
    np.testing.assert_allclose(halfway[LEFT], (act.arms(1.0)[LEFT] + act.arms(3.0)[LEFT]) / 2, atol=1e-5)


def test_acts_move_without_jumps() -> None:
    for kind, make in ACTS.items():
        acts = make(Sampler("cpu", 1))
        times = np.arange(0, 8, 1 / 60)
        reach = torch.stack([posture(acts, float(t)).reach for t in times])
        assert reach.shape[1:] == (len(acts), 2, 3)
        assert float(reach.diff(dim=0).norm(dim=-1).max()) < 0.1, kind  # under 4 m/s for half a metre of arm


# --- Videos ------------------------------------------------------------------------------------------------


def test_truth_lies_in_the_image_of_its_hand() -> None:
    sequence = HandSequence("gestures", 0, 30)
    frame, truth = sequence.frame(7)
    assert frame.index == 7
    assert frame.timestamp_us == 7 * 1_000_000 // 30
    assert frame.camera == RENDERED_CAMERA
    assert [(hand.owner, hand.handedness) for hand in truth] == [(LEFT, "left"), (RIGHT, "right")]
    for hand in truth:
        assert 0 < hand.visible <= 1
        u, v, z = RENDERED_CAMERA.project(hand.joints_xyz).T
        inside = (u > hand.box[0] - 8) & (u < hand.box[2] + 8) & (v > hand.box[1] - 8) & (v < hand.box[3] + 8)
        assert inside.all()
        surface = frame.depth[v.round().astype(int), u.round().astype(int)].astype(float)
        measured = surface > 0
        assert np.median(np.abs(surface - z)[measured]) < 25


def test_videos_are_the_same_for_the_same_seed() -> None:
    first, second, other = (HandSequence("crossing", seed, 2) for seed in (1, 1, 2))
    for (frame, truth), (again, _), (different, _) in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(frame.depth, again.depth)
        assert frame.ir is not None
        assert again.ir is not None
        np.testing.assert_array_equal(frame.ir, again.ir)
        assert (frame.depth != different.depth).any()
        assert len(truth) > 0


def test_hands_enter_and_leave() -> None:
    seen = joints_of("entering", 240, every=30)
    for owner in (LEFT, RIGHT):
        frames = {index for index, _ in seen[owner]}
        assert 0 < len(frames) < 8


def test_hands_cross_in_the_image() -> None:
    seen = joints_of("crossing", 90, every=15)
    apart = {
        index: float(left[:, 0].mean() - right[:, 0].mean())
        for (index, left), (_, right) in zip(seen[LEFT], seen[RIGHT], strict=True)
    }
    assert min(apart.values()) < -50 < 50 < max(apart.values())


def test_two_people_have_four_hands() -> None:
    assert set(joints_of("people", 120, every=40)) == {0, 1, 2, 3}


def test_frames_are_shared_among_all_kinds() -> None:
    videos = list(islice(hand_sequences(25, seed=0, length=10), 3))
    assert [len(video) for video in videos] == [10, 10, 5]
    assert [video.kind for video in videos] == list(ACTS)[:3]
    (only,) = hand_sequences(10, seed=0, length=10, kinds=["fast"])
    assert only.kind == "fast"

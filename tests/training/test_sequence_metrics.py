"""Figures of tracking, on videos written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.hand import Hand
from pipeline.synthetic.sequences import TrueHand
from pipeline.training.sequence_metrics import (
    Path,
    Step,
    afterlives,
    false_tracks,
    hand_paths,
    jitter_mm,
    lag_s,
    lost_tracks,
    matched,
    summarize_videos,
)
from tests.scripted import open_hand

Places = Mapping[int, float]  # owner or id -> x, mm


def hand_at(x: float, number: int | None = None, shift: float = 0.0) -> Hand:
    return open_hand((x + shift, 0.0, 700.0), number=number)


def true_at(x: float, owner: int, visible: float = 1.0) -> TrueHand:
    hand = hand_at(x)
    return TrueHand(owner, "right", visible, hand.box, hand.joints_xyz.astype(np.float64))


def video(
    frames: int,
    truth: Callable[[int], Places],
    hands: Callable[[int], Places],
    visible: Callable[[int, int], float] = lambda _, __: 1.0,
) -> list[Step]:
    return [
        Step(
            seconds=k / 30,
            truth=[true_at(x, owner, visible(k, owner)) for owner, x in truth(k).items()],
            hands=[hand_at(x, number) for number, x in hands(k).items()],
            plain=[hand_at(x) for x in hands(k).values()],
            detected=k % 4 == 0,
            ms=10.0,
            plain_ms=20.0,
        )
        for k in range(frames)
    ]


def test_perfect_tracking() -> None:
    pytest.importorskip("motmetrics")
    figures = summarize_videos([video(40, lambda k: {0: k, 1: 300 - k}, lambda k: {5: k, 9: 300 - k})])
    assert figures["mota"] == figures["idf1"] == figures["handedness"] == figures["found"] == 1
    for name in ("id_switches", "lost_tracks", "false_tracks", "longest_afterlife"):
        assert figures[name] == 0
    assert figures["detector_share"] == 0.25
    assert figures["error_mm"] == pytest.approx(0, abs=1e-3)
    assert (figures["ms"], figures["plain_ms"]) == (10, 20)
    assert (figures["frames"], figures["hands"]) == (40, 80)


def test_ids_that_are_swapped_count_as_two_switches() -> None:
    pytest.importorskip("motmetrics")
    swapped = video(
        100, lambda _: {0: 0.0, 1: 300.0}, lambda k: {1: 0.0, 2: 300.0} if k < 50 else {2: 0.0, 1: 300.0}
    )
    figures = summarize_videos([swapped])
    assert figures["id_switches"] == pytest.approx(2 * 1000 / 100)
    assert figures["mota"] == pytest.approx(1 - 2 / 200)
    assert figures["idf1"] == pytest.approx(0.5)
    assert figures["lost_tracks"] == 0


def test_hands_that_hardly_show_cost_nothing() -> None:
    pytest.importorskip("motmetrics")
    found, overlooked = (
        summarize_videos([video(20, lambda _: {0: 0.0, 1: 300.0}, hands, lambda _, owner: (1.0, 0.1)[owner])])
        for hands in (lambda _: {1: 0.0, 2: 300.0}, lambda _: {1: 0.0})
    )
    for figures in (found, overlooked):
        assert figures["mota"] == figures["found"] == 1
        assert figures["false_tracks"] == 0


def test_hands_are_those_within_ten_centimetres() -> None:
    near, far = (matched([true_at(0.0, 0)], [hand_at(x)]) for x in (99.0, 101.0))
    assert (len(near), len(far)) == (1, 0)


def test_a_false_hand_far_away_does_not_take_the_nearer_hand_from_another() -> None:
    """Both distances together would be less the other way round."""
    truth, hands = [true_at(0.0, 0), true_at(90.0, 1)], [hand_at(10.0), hand_at(-1000.0)]
    assert matched(truth, hands) == [(truth[0], hands[0])]


def test_a_hand_that_is_not_followed_any_more_is_lost_once() -> None:
    assert lost_tracks(video(20, lambda _: {0: 0.0}, lambda k: {1: 0.0} if k < 10 else {})) == 1
    assert lost_tracks(video(20, lambda k: {0: 0.0} if k < 10 else {}, lambda _: {1: 0.0})) == 0


def test_a_track_where_no_hand_is_is_false() -> None:
    assert false_tracks(video(20, lambda _: {0: 0.0}, lambda _: {1: 0.0, 2: 400.0})) == 1
    mostly_true = video(20, lambda k: {0: 0.0} if k < 15 else {}, lambda _: {1: 0.0})
    assert false_tracks(mostly_true) == 0


def test_afterlives_count_frames_from_when_the_hand_has_gone() -> None:
    gone = video(30, lambda k: {0: 0.0} if k < 10 else {}, lambda k: {1: 0.0} if k < 14 else {})
    assert list(afterlives(gone)) == [4]
    at_once = video(30, lambda k: {0: 0.0} if k < 10 else {}, lambda k: {1: 0.0} if k < 10 else {})
    assert list(afterlives(at_once)) == [0]
    for_ever = video(30, lambda k: {0: 0.0} if k < 10 else {}, lambda _: {1: 0.0})
    assert list(afterlives(for_ever)) == [20]


def test_a_track_that_goes_on_with_another_hand_has_no_afterlife() -> None:
    truth = {0: 0.0, 1: 300.0}
    steps = video(30, lambda k: truth if k < 10 else {1: 300.0}, lambda k: {1: 0.0} if k < 10 else {1: 300.0})
    assert list(afterlives(steps)) == [0]


def test_paths_are_unbroken_stretches_of_visible_hands() -> None:
    steps = video(
        20,
        lambda _: {0: 0.0, 1: 300.0},
        lambda k: {2: 300.0} if k in (5, 7) else {1: 0.0, 2: 300.0},
        lambda k, owner: 1.0 if owner == 0 else 0.5,
    )
    paths = hand_paths(steps, lambda step: step.hands, 0.8)
    assert [len(path.seconds) for path in paths] == [5, 12]  # one frame alone is no path
    np.testing.assert_allclose(paths[1].seconds, np.arange(8, 20) / 30)
    assert sorted(len(path.seconds) for path in hand_paths(steps, lambda step: step.hands)) == [5, 12, 20]


def moved(steps: list[Step], shift: Callable[[int], NDArray[np.float64]]) -> list[Step]:
    """The tracked hands' joints moved by (21, 3) mm."""
    return [
        replace(
            step,
            hands=[
                replace(hand, joints_xyz=(hand.joints_xyz + shift(k)).astype(np.float32))
                for hand in step.hands
            ],
        )
        for k, step in enumerate(steps)
    ]


def test_jitter_is_the_spread_about_the_mean_of_still_hands() -> None:
    random = np.random.default_rng(0)
    steps = video(200, lambda _: {0: 0.0}, lambda _: {1: 0.0})
    noisy = moved(steps, lambda _: 7 + random.normal(0, 2, (21, 3)))
    paths = hand_paths(noisy, lambda step: step.hands)
    assert jitter_mm(paths) == pytest.approx(2 * np.sqrt(3 * 14 / 15), rel=0.05)
    assert jitter_mm(hand_paths(noisy, lambda step: step.plain)) == pytest.approx(0, abs=1e-3)
    walking = video(200, lambda k: {0: 5.0 * k}, lambda k: {1: 5.0 * k})
    assert np.isnan(jitter_mm(hand_paths(walking, lambda step: step.hands)))


def test_jitter_counts_only_once_the_hand_has_rested() -> None:
    steps = video(60, lambda _: {0: 0.0}, lambda _: {1: 0.0})
    settling = moved(steps, lambda k: np.full((21, 3), 20.0 * (15 - k) * (k < 15)))
    assert jitter_mm(hand_paths(settling, lambda step: step.hands)) == pytest.approx(0, abs=1e-3)


def test_a_hand_of_which_a_finger_moves_is_not_still() -> None:
    truth = np.zeros((60, 21, 3))
    truth[:, 8, 0] = 2.0 * np.arange(60)  # 60 mm/s, 3 mm/s in the mean
    assert np.isnan(jitter_mm([Path(np.arange(60) / 30, truth, truth)]))


def test_lag_is_measured_along_the_way_that_fast_hands_came() -> None:
    random = np.random.default_rng(0)
    step = random.choice([-50.0, 50.0, 5.0], (80, 1)) * np.array([0.6, 0.0, 0.8])  # 1500 and 150 mm/s
    centre = step.cumsum(axis=0)
    fast = np.abs(step).max(axis=1, keepdims=True) > 10
    truth, found = (
        (points[:, None] + np.zeros((1, 21, 3))).astype(float)
        for points in (centre, centre - 0.6 * step * fast)
    )
    assert 30 * lag_s([Path(np.arange(80) / 30, found, truth)]) == pytest.approx(0.6)


def test_figures_tell_tracked_hands_from_those_of_each_frame_for_itself() -> None:
    pytest.importorskip("motmetrics")
    steps = video(60, lambda k: {0: 30.0 * k}, lambda k: {1: 30.0 * k})
    figures = summarize_videos([moved(steps, lambda _: np.full((21, 3), [-15.0, 0.0, 0.0]))])
    assert figures["error_mm"] == pytest.approx(15, abs=1e-3)
    assert figures["plain_error_mm"] == pytest.approx(0, abs=1e-3)
    assert figures["lag_frames"] == pytest.approx(0.5, abs=1e-3)
    assert figures["plain_lag_frames"] == pytest.approx(0, abs=1e-3)


def test_lag_is_the_time_by_which_fast_hands_come_late() -> None:
    def swings(k: float) -> Places:
        return {0: 200 * np.sin(k / 5)}

    late = video(120, swings, lambda k: swings(k - 0.6))
    paths = hand_paths(late, lambda step: step.hands)
    assert 30 * lag_s(paths) == pytest.approx(0.6, abs=0.15)
    assert np.isnan(lag_s(hand_paths(video(9, lambda _: {0: 0.0}, lambda _: {1: 0.0}), lambda s: s.hands)))

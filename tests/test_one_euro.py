from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.constants import SMOOTHING_BETA, SMOOTHING_CENTRE_BETA, SMOOTHING_MIN_CUTOFF_HZ
from pipeline.one_euro import HandFilter, OneEuroFilter

RATE = 30.0


def literal(
    values: NDArray[np.float64], rate: float, min_cutoff: float, beta: float, speed_cutoff: float = 1.0
) -> list[float]:
    """The paper's algorithm for one number at a fixed rate, step by step."""

    def alpha(cutoff: float) -> float:
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau * rate)

    out, speed = [float(values[0])], 0.0
    for last, value in pairwise(values):
        share = alpha(speed_cutoff)
        speed = share * (value - last) * rate + (1 - share) * speed
        share = alpha(min_cutoff + beta * abs(speed))
        out.append(share * value + (1 - share) * out[-1])
    return out


def run(points: NDArray[np.float64], rate: float = RATE, weight: float = 1.0) -> NDArray[np.float64]:
    """(T, N, D) through a filter with the program's settings."""
    smooth = OneEuroFilter(SMOOTHING_MIN_CUTOFF_HZ, SMOOTHING_BETA)
    return np.array([smooth(p, 1 / rate, np.full(len(p), weight)) for p in points])


@settings(max_examples=30)
@given(
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=12),
    st.floats(5, 120),
    st.floats(0.1, 5),
    st.floats(0, 0.1),
)
def test_equals_the_papers_algorithm(
    values: list[float], rate: float, min_cutoff: float, beta: float
) -> None:
    smooth = OneEuroFilter(min_cutoff, beta)
    series = np.array(values)
    found = [smooth(np.array([[value]]), 1 / rate)[0, 0] for value in series]
    np.testing.assert_allclose(found, literal(series, rate, min_cutoff, beta), rtol=1e-9, atol=1e-6)


def test_points_are_filtered_apart_from_each_other() -> None:
    random = np.random.default_rng(0)
    points = random.normal(0, 20, (15, 21, 3)).cumsum(axis=0)
    together = run(points)
    for joint in (0, 7, 20):
        np.testing.assert_allclose(together[:, joint], run(points[:, [joint]])[:, 0])


def trembling(seed: int) -> NDArray[np.float64]:
    """(600, 21, 3) mm of a still hand as the shipped weights read it: RMS distance 1.1 mm."""
    return np.random.default_rng(seed).normal(0, 1.1 / np.sqrt(3), (600, 21, 3))


def test_still_points_tremble_by_less_than_half_a_millimetre() -> None:
    found = run(trembling(1))[60:]
    assert np.sqrt((found**2).sum(axis=2).mean()) < 0.5


def test_a_metre_a_second_lags_less_than_a_frame() -> None:
    for rate in (15.0, 30.0, 60.0):
        time = np.arange(60) / rate
        points = np.zeros((60, 1, 3))
        points[:, 0, 0] = 1000 * time
        for weight in (1.0, 0.7):
            lag_mm = points[-1, 0, 0] - run(points, rate, weight)[-1, 0, 0]
            assert 0 < lag_mm < 1000 / 30


def test_a_longer_pause_counts_more_than_a_short_one() -> None:
    moved = []
    for seconds in (0.01, 0.033, 0.2):
        smooth = OneEuroFilter(1.0, 0.0)
        smooth(np.zeros((1, 3)), 0.0)
        moved.append(smooth(np.ones((1, 3)), seconds)[0, 0])
    assert 0 < moved[0] < moved[1] < moved[2] < 1


def test_unsure_points_move_less() -> None:
    smooth = OneEuroFilter(1.0, 0.0)
    smooth(np.zeros((3, 3)), 1 / RATE)
    none, half, full = smooth(np.ones((3, 3)), 1 / RATE, np.array([0, 0.5, 1]))[:, 0]
    assert none == 0
    assert 0 < half < full < 1


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_nothing_moves_while_no_time_passes(seconds: float) -> None:
    smooth = OneEuroFilter(1.0, 0.1)
    first = smooth(np.zeros((1, 3)), 1 / RATE)
    first += 5  # the caller's own copy
    np.testing.assert_array_equal(smooth(np.ones((1, 3)), seconds), 0)


# --- Hands -------------------------------------------------------------------------------------------------


def filtered(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 21, 3) with the program's settings."""
    smooth = HandFilter(SMOOTHING_MIN_CUTOFF_HZ, SMOOTHING_BETA, SMOOTHING_CENTRE_BETA)
    return np.array([smooth(frame, 1 / RATE, np.full(21, 0.6)) for frame in joints])


def test_still_hands_tremble_by_less_than_half_a_millimetre() -> None:
    found = filtered(trembling(2))[60:]
    assert np.sqrt((found**2).sum(axis=2).mean()) < 0.5


def test_hands_that_start_to_move_hardly_lag() -> None:
    time = np.maximum(np.arange(60) - 20, 0) / RATE
    joints = np.random.default_rng(3).normal(0, 1.0, (60, 21, 3))
    joints[..., 0] += 1000 * time[:, None]
    behind = 1000 * time - filtered(joints)[..., 0].mean(axis=1)
    assert behind[24:].max() < 1000 / RATE  # a frame
    assert behind[40:].max() < 1000 / RATE / 3


def test_a_hand_that_moves_as_a_whole_is_filtered_as_its_centre() -> None:
    """Whose speed is noticed sooner than that of the joints."""
    path = np.random.default_rng(4).normal(0, 20, 40).cumsum()
    joints = np.random.default_rng(5).normal(0, 40, (21, 3)) + np.zeros((40, 21, 3))
    joints[..., 0] += path[:, None]
    moved = filtered(joints)[..., 0].mean(axis=1) - joints[0, :, 0].mean()
    expected = literal(path, RATE, SMOOTHING_MIN_CUTOFF_HZ, SMOOTHING_CENTRE_BETA, 4.0)
    np.testing.assert_allclose(moved, np.array(expected) - path[0], atol=1e-9)


def test_only_the_confidence_beside_the_other_joints_counts() -> None:
    joints = np.random.default_rng(6).normal(0, 20, (10, 21, 3)).cumsum(axis=0)
    confidence = np.linspace(0.2, 1, 21)
    found = []
    for factor in (1.0, 0.5):
        smooth = HandFilter(1.0, 0.01, 0.02)
        found.append([smooth(frame, 1 / RATE, factor * confidence) for frame in joints])
    np.testing.assert_allclose(found[0], found[1])


def test_unsure_joints_are_filtered_more() -> None:
    smooth = HandFilter(1.0, 0.0, 0.0)
    confidence = np.where(np.arange(21) == 8, 0.1, 0.8)
    joints = np.zeros((21, 3))
    smooth(joints, 1 / RATE, confidence)
    joints = joints.copy()
    joints[[4, 8]] += 10.0
    moved = smooth(joints, 1 / RATE, confidence)
    assert 0 < moved[8, 0] < moved[4, 0] < 10

"""What is believed of a hand's side, and which signs count how much."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.constants import SIDE_LIMIT, SIDE_OF_DETECTION, SIDE_OF_HEAD, SIDE_SURE, SIDE_UNCLEAR
from pipeline.hand import Detection, Handedness
from pipeline.side_belief import (
    Readings,
    SideBelief,
    evidence_of_detection,
    evidence_of_mirrors,
    evidence_of_readings,
)
from tests.acting import ScriptedReading, hand_at
from tests.scripted import CAMERA


@settings(max_examples=30)
@given(st.lists(st.floats(-3, 3), max_size=60))
def test_a_side_changes_at_most_once(evidence: list[float]) -> None:
    belief, sides = SideBelief(), []
    for log_odds in evidence:
        belief.add(log_odds)
        sides.append(belief.side)
    known = [side for side in sides if side]
    assert sum(a != b for a, b in pairwise(known)) <= 1
    assert belief.side is not None or not any(evidence)


def believed(*evidence: float) -> SideBelief:
    belief = SideBelief()
    for log_odds in evidence:
        belief.add(log_odds)
    return belief


@pytest.mark.parametrize(("sign", "first", "other"), [(1, "right", "left"), (-1, "left", "right")])
def test_a_side_changes_for_good_when_the_evidence_would_be_enough_to_be_sure(
    sign: int, first: Handedness, other: Handedness
) -> None:
    steps = [1.0, SIDE_SURE - 0.9, -2 * SIDE_SURE, -0.2, SIDE_LIMIT, SIDE_LIMIT]
    beliefs = [believed(*(sign * step for step in steps[: k + 1])) for k in range(len(steps))]
    assert [belief.side for belief in beliefs] == [first, first, first, other, other, other]
    assert [belief.sure for belief in beliefs] == [False, True, False, True, True, True]
    assert beliefs[-1].log_odds == sign * SIDE_LIMIT


def test_only_a_hand_whose_side_is_sure_contradicts_the_other_one() -> None:
    sides: tuple[Handedness | None, ...] = ("left", "right", None)
    assert [believed(SIDE_SURE).contradicts(side) for side in sides] == [True, False, False]
    assert [believed(-SIDE_SURE).contradicts(side) for side in sides] == [False, True, False]
    assert not any(believed(SIDE_SURE - 0.1).contradicts(side) for side in sides)


def test_the_reading_of_the_side_is_taken_or_else_the_surest() -> None:
    doubtful, sure = (ScriptedReading(np.zeros((21, 3)), doubt) for doubt in (9.0, 5.0))
    both: Readings = {"left": doubtful, "right": sure}
    assert believed(-0.1).of(both) is doubtful
    assert believed().of(both) is sure
    assert believed(-0.1).of({"right": sure}) is sure
    assert believed().of({}) is None


def test_a_surer_detection_counts_more() -> None:
    def told(score: float, side: Handedness | None) -> float:
        return evidence_of_detection(Detection(np.zeros(4, np.float32), score, side))

    assert told(0.5, "right") == -told(0.5, "left") == 0.5 * SIDE_OF_DETECTION
    assert told(1.0, "right") == SIDE_OF_DETECTION
    assert told(0.9, None) == 0


def test_what_the_network_tells_counts_more_than_its_doubts() -> None:
    uvd = CAMERA.project(hand_at(0, 0, 700))
    told, surer = (ScriptedReading(uvd, doubt, side_log_odds=-3.0) for doubt in (5.0, 1.0))
    both: Readings = {"left": told, "right": told}
    alone: Readings = {"right": told}
    assert evidence_of_readings(both) == evidence_of_readings(alone) < 0
    assert evidence_of_readings({"left": told, "right": surer}) == evidence_of_readings(both)


def test_a_side_that_is_hardly_told_is_not_told() -> None:
    def told(log_odds: float) -> float:
        return evidence_of_readings({"left": ScriptedReading(np.zeros((21, 3)), 5.0, 0.0, log_odds)})

    assert told(0.7) == told(-1.9) == 0.0
    assert told(SIDE_UNCLEAR + 1) == -told(-SIDE_UNCLEAR - 1) == SIDE_OF_HEAD
    assert told(9.0) == -told(-9.0) == told(99.0) == 1.0  # one frame is not enough to be sure


def test_mirrors_speak_for_the_side_that_is_read_more_surely() -> None:
    sure, unsure = (ScriptedReading(CAMERA.project(hand_at(0, 0, 700)), doubt) for doubt in (5.0, 9.0))
    assert evidence_of_mirrors({"left": unsure, "right": sure}) > 0
    assert evidence_of_mirrors({"left": sure, "right": unsure}) < 0
    surest = ScriptedReading(CAMERA.project(hand_at(0, 0, 700)), 0.0)
    assert evidence_of_mirrors({"left": unsure, "right": surest}) == 0.15
    assert evidence_of_mirrors({"left": surest, "right": unsure}) == -0.15
    assert evidence_of_mirrors({"left": sure}) == evidence_of_mirrors({None: sure}) == 0

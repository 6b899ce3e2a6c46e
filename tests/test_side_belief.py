"""What is believed of a hand's side, and which signs count how much."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.side_belief import Readings, SideBelief, evidence_of_mirrors, evidence_of_readings
from tests.acting import ScriptedReading, hand_at
from tests.scripted import CAMERA


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), max_size=60))
def test_a_side_changes_at_most_once(evidence: list[float]) -> None:
    belief, sides = SideBelief(), []
    for log_odds in evidence:
        belief.add(log_odds)
        sides.append(belief.side)
    known = [side for side in sides if side]
    assert sum(a != b for a, b in pairwise(known)) <= 1
    assert belief.side is not None or not any(evidence)


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
    assert told(9.0) == -told(-9.0) > 0.5


def test_mirrors_speak_for_the_side_that_is_read_more_surely() -> None:
    sure, unsure = (ScriptedReading(CAMERA.project(hand_at(0, 0, 700)), doubt) for doubt in (5.0, 9.0))
    assert evidence_of_mirrors({"left": unsure, "right": sure}) > 0
    assert evidence_of_mirrors({"left": sure, "right": unsure}) < 0
    assert evidence_of_mirrors({"left": sure}) == evidence_of_mirrors({None: sure}) == 0

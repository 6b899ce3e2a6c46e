"""Left or right: evidence gathered over a track."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.constants import (
    SIDE_LIMIT,
    SIDE_OF_DETECTION,
    SIDE_OF_HEAD,
    SIDE_OF_MIRRORS,
    SIDE_SURE,
    SIDE_UNCLEAR,
)
from pipeline.hand import Detection, Handedness
from pipeline.sight import Pose

Readings = Mapping["Handedness | None", Pose]  # of one hand, by the side it was read as

# Log-odds from one frame: those that follow each other are not news.
_MIRRORS_LIMIT, _HEAD_LIMIT = 0.15, 1.0
_SIGN = {"right": 1.0, "left": -1.0, None: 0.0}


class SideBelief:
    """The side of a hand: changes once at most, when the evidence against it would be enough to be sure.

    Attributes:
        side: None until there is evidence.
        log_odds: of right against left, within SIDE_LIMIT.
    """

    def __init__(self) -> None:
        self.side: Handedness | None = None
        self.log_odds = 0.0
        self._changed = False

    @property
    def sure(self) -> bool:
        return self._changed or _SIGN[self.side] * self.log_odds >= SIDE_SURE

    def contradicts(self, side: Handedness | None) -> bool:
        """Whether a hand of that side is surely another hand."""
        return self.sure and side is not None and side != self.side

    def add(self, log_odds: float) -> None:
        """Takes evidence for right (positive) or left (negative)."""
        self.log_odds = min(max(self.log_odds + log_odds, -SIDE_LIMIT), SIDE_LIMIT)
        likely: Handedness | None = "right" if self.log_odds > 0 else "left" if self.log_odds < 0 else None
        if self.side is None:
            self.side = likely
        elif not self._changed and _SIGN[self.side] * self.log_odds <= -SIDE_SURE:
            self.side, self._changed = likely, True

    def of(self, readings: Readings) -> Pose | None:
        """The reading of this side; without one that of any side, the less doubtful."""
        if self.side in readings:
            return readings[self.side]
        return min(readings.values(), key=lambda pose: pose.doubt_mm, default=None)


def evidence_of_detection(detection: Detection) -> float:
    """Log-odds of right against left; 0 from a detector that does not tell."""
    return SIDE_OF_DETECTION * detection.score * _SIGN[detection.handedness]


def evidence_of_readings(readings: Readings) -> float:
    """Log-odds of right against left: what the network's side head says, or else what the mirrors do."""
    told = [pose.side_log_odds for pose in readings.values() if pose.side_log_odds is not None]
    if not told:
        return evidence_of_mirrors(readings)
    log_odds = sum(told) / len(told)
    clear = math.copysign(max(abs(log_odds) - SIDE_UNCLEAR, 0.0), log_odds)
    return min(max(SIDE_OF_HEAD * clear, -_HEAD_LIMIT), _HEAD_LIMIT)


def evidence_of_mirrors(readings: Readings) -> float:
    """Log-odds of right against left from reading a hand as both: the network is surer of the true side."""
    if not ("left" in readings and "right" in readings):
        return 0.0
    left, right = (max(readings[side].doubt_mm, 1e-3) for side in ("left", "right"))
    return min(max(SIDE_OF_MIRRORS * math.log(left / right), -_MIRRORS_LIMIT), _MIRRORS_LIMIT)

"""What becomes of one frame, and the figures of a whole run."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.frame import Frame
from pipeline.hand import Hand


@dataclass(frozen=True)
class Timings:
    """Milliseconds that the stages took for a frame; total_ms is all of them and what lies between."""

    detect_ms: float = 0.0
    pose_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, eq=False)
class Result:
    """A frame, the hands in it, and the time it took to find them."""

    frame: Frame
    hands: Sequence[Hand]
    times: Timings


class RunSummary:
    """Collects the figures of every frame, from its making on.

    Attributes:
        frames, hands: how many there were.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.hands = 0
        self._start = time.perf_counter()
        self._times = {stage: array("f") for stage in ("detect", "pose", "total")}

    def add(self, result: Result) -> None:
        self.frames += 1
        self.hands += len(result.hands)
        for stage, values in self._times.items():
            values.append(getattr(result.times, f"{stage}_ms"))

    def text(self, dropped: int = 0) -> str:
        """A few lines to print.

        Args:
            dropped: frames that came too late.
        """
        seconds = time.perf_counter() - self._start
        rate = self.frames / max(seconds, 1e-6)
        counts = f"{self.frames} frames, {self.hands} hands in {seconds:.1f} s: {rate:.1f} frames/s"
        lines = [f"{counts}, {dropped} dropped" if dropped else counts]
        if self.frames:
            lines.append(f"{'ms per frame':<14}{'median':>9}{'p95':>9}")
            for stage, values in self._times.items():
                median, p95 = np.percentile(values, [50, 95])
                lines.append(f"  {stage:<12}{median:>9.1f}{p95:>9.1f}")
        return "\n".join(lines)

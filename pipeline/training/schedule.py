"""How long a run takes and what its learning rate is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

UNKNOWN = 1 << 40  # steps of a plan whose speed is not measured yet


@dataclass(frozen=True)
class Plan:
    """The run's progress, 0 to 1, as a function of the step: linear, and continuous when it is made anew.

    Args:
        total: step at which the run ends.
        start: step from which this plan counts.
        progress_at_start: progress there.
    """

    total: int
    start: int = 0
    progress_at_start: float = 0.0

    def progress(self, step: int) -> float:
        if step >= self.total:
            return 1.0
        done = (step - self.start) / max(1, self.total - self.start)
        return self.progress_at_start + (1.0 - self.progress_at_start) * done

    def replanned(self, step: int, total: int) -> Plan:
        """The same progress at this step, another end."""
        return Plan(max(total, step + 1), step, self.progress(step))


def learning_rate(plan: Plan, step: int, peak: float, warmup: int = 200, last: float = 0.002) -> float:
    """Linear warm-up (at most a twentieth of the run), then half a cosine down to `last` times the peak."""
    warmup = max(1, min(warmup, plan.total // 20))
    cosine = 0.5 * (1.0 + math.cos(math.pi * plan.progress(step)))
    return peak * min(1.0, (step + 1) / warmup) * (last + (1.0 - last) * cosine)


def stepped_rate(plan: Plan, step: int, first: float, share: float, factor: float = 0.2) -> float:
    """A rate that is multiplied by `factor` each time that `share` of the run is done (A2J's authors')."""
    return first * factor ** int(plan.progress(step) / share + 1e-9)


@dataclass
class Deadline:
    """Turns a time limit into a number of steps, and corrects it while the speed changes.

    Args:
        seconds: the whole run's limit.
        cost: relative time of a step as a function of progress (a run may end on larger images).
        reserve: seconds kept for the last evaluation.
        tolerance: a plan that ends this fraction of the limit late, or twice that early, is left alone.
    """

    seconds: float
    cost: Callable[[float], float]
    reserve: float = 0.0
    tolerance: float = 0.02
    _began: float | None = None
    _work: float = 0.0

    def restart(self, elapsed: float) -> None:
        """Measure the speed from here."""
        self._began, self._work = elapsed, 0.0

    def age(self, elapsed: float) -> None:
        """Let what was measured so far count half: a busy minute shall not turn the plan around."""
        if self._began is not None:
            self._began, self._work = (self._began + elapsed) / 2.0, self._work / 2.0

    def count(self, progress: float) -> None:
        """A step was made at this progress."""
        self._work += self.cost(progress)

    def corrected(self, plan: Plan, step: int, elapsed: float) -> Plan:
        """The plan that meets the limit at the speed since `restart`.

        Args:
            plan: the present plan.
            step: steps done.
            elapsed: seconds of the run so far.
        """
        if self._began is None or not self._work:
            return plan
        progress = plan.progress(step)
        ahead = [self.cost(progress + (1.0 - progress) * (k + 0.5) / 64) for k in range(64)]
        seconds_per_step = (elapsed - self._began) / self._work * sum(ahead) / len(ahead)
        remaining = max(0.0, self.seconds - self.reserve - elapsed)
        late = (plan.total - step) * seconds_per_step - remaining
        if -2.0 * self.tolerance * self.seconds < late < self.tolerance * self.seconds:
            return plan
        return plan.replanned(step, step + math.floor(remaining / seconds_per_step))

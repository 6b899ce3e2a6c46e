"""Plans end when they should, and the learning rate has no jumps."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.schedule import UNKNOWN, Deadline, Plan, learning_rate, stepped_rate


def test_learning_rate_warms_up_and_ends_near_zero() -> None:
    plan = Plan(10_000)
    rates = [learning_rate(plan, step, 1e-3) for step in range(10_000)]
    assert rates[0] == pytest.approx(1e-3 / 200, rel=0.01)
    assert max(rates) == pytest.approx(1e-3, rel=0.01)
    assert rates.index(max(rates)) == 199
    assert rates[-1] == pytest.approx(2e-6, rel=0.01)
    assert all(b <= a for a, b in pairwise(rates[199:]))
    assert learning_rate(Plan(20), 0, 1e-3) > 5e-4  # a short run does not spend itself on the warm-up


@pytest.mark.parametrize(
    ("step", "steps_down"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (60, 6), (99, 9)]
)
def test_a_stepped_rate_falls_to_a_fifth_each_time_its_share_is_done(step: int, steps_down: int) -> None:
    """At 30 too: 0.3 / 0.1 is less than 3."""
    assert stepped_rate(Plan(100), step, 3.5e-4, 0.1) == pytest.approx(3.5e-4 * 0.2**steps_down)


def test_a_stepped_rate_follows_the_plan_and_its_factor() -> None:
    plan = Plan(100).replanned(50, 60)  # the second half of the run takes ten steps
    rates = [stepped_rate(plan, step, 1.0, 0.25, 0.5) for step in (49, 50, 54, 55, 59, 60)]
    assert rates == [0.5**k for k in (1, 2, 2, 3, 3, 4)]


@settings(max_examples=50)
@given(st.integers(10, 5000), st.floats(0.0, 0.99), st.integers(1, 5000))
def test_a_new_plan_continues_the_progress(total: int, part: float, ahead: int) -> None:
    plan, step = Plan(total), int(total * part)
    new = plan.replanned(step, step + ahead)
    assert new.progress(step) == pytest.approx(plan.progress(step))
    assert new.progress(new.total) == 1.0
    assert new.progress(step + ahead // 2) <= 1.0


@pytest.mark.parametrize("slow_from", [50.0, 300.0, 500.0])
def test_a_machine_that_slows_down_does_not_overrun(slow_from: float) -> None:
    """Steps on larger images from half the progress on, and half the speed from some time on."""

    def cost(progress: float) -> float:
        return 1.0 if progress < 0.5 else 3.0

    deadline, plan = Deadline(600.0, cost), Plan(UNKNOWN)
    step, elapsed, planned = 0, 0.0, 0.0
    deadline.restart(elapsed)
    while step < plan.total:
        progress = plan.progress(step)
        elapsed += 0.1 * cost(progress) * (2.0 if elapsed > slow_from else 1.0)
        deadline.count(progress)
        step += 1
        if step == 25 or elapsed - planned > 30.0:
            plan = deadline.corrected(plan, step, elapsed)
            deadline.age(elapsed)
            planned = elapsed
    assert 540.0 < elapsed < 640.0


def test_a_plan_that_fits_is_left_alone() -> None:
    deadline, plan = Deadline(100.0, lambda progress: 1.0), Plan(1000)
    deadline.restart(0.0)
    for step in range(300):
        deadline.count(plan.progress(step))
    assert deadline.corrected(plan, 300, 30.3) is plan
    assert deadline.corrected(plan, 300, 45.0).total < 1000

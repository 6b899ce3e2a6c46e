"""Epochs use every sample once, whatever the processes; batches made ahead are the ones asked for."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.devices import Workers
from pipeline.training.stream import EpochOrder, Prefetched


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 3), st.integers(0, 5))
def test_each_epoch_uses_every_sample_once(length: int, batch: int, processes: int, seed: int) -> None:
    orders = [EpochOrder(length, batch, seed, Workers(rank, processes)) for rank in range(processes)]
    steps = -(-3 * length // (batch * processes))
    taken = [sample for step in range(steps) for order in orders for sample in order.samples(step)]
    numbers = [number for number, _ in taken]
    for epoch in range(3):
        assert Counter(numbers[epoch * length : (epoch + 1) * length]) == Counter(range(length))
    assert len({seed for _, seed in taken}) == len(taken)


def test_several_processes_take_the_samples_of_one() -> None:
    one = EpochOrder(10, 4, 7, Workers())
    two = [EpochOrder(10, 2, 7, Workers(rank, 2)) for rank in (0, 1)]
    for step in range(6):
        assert one.samples(step) == two[0].samples(step) + two[1].samples(step)
    assert one.steps(2) == two[0].steps(2) == 5


def test_batches_come_in_any_order_of_steps() -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return step * step

    batches = Prefetched(make, threads=2)
    assert [batches.batch(step) for step in (0, 1, 2, 50, 51, 3)] == [0, 1, 4, 2500, 2601, 9]
    assert made.count(1) == 1


def test_what_goes_wrong_in_a_thread_is_raised_where_the_batch_is_wanted() -> None:
    def broken(step: int) -> int:
        raise ValueError(f"step {step}")

    with pytest.raises(ValueError, match="step 3"):
        Prefetched(broken, threads=1).batch(3)

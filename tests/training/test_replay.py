"""The ring of rendered blocks is a function of the step, and uses each sample as often as asked."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.rendered import derived_seed
from pipeline.training.replay import ReplayRing


def ring(rendered: list[int], reuse: int = 3, capacity: int = 4) -> ReplayRing[int]:
    def render(number: int) -> int:
        rendered.append(number)
        return number

    return ReplayRing(render, block_size=8, batch_size=4, reuse=reuse, capacity=capacity)


def drawn(source: ReplayRing[int], step: int) -> list[tuple[int, int]]:
    picks = source.draw(step, torch.Generator().manual_seed(derived_seed(step)))
    return [(block, row) for block, rows in picks for row in rows]


def test_a_resumed_ring_draws_the_same() -> None:
    whole = ring([])
    steps = [drawn(whole, step) for step in range(60)]
    rendered: list[int] = []
    resumed = ring(rendered)
    assert [drawn(resumed, step) for step in range(37, 60)] == steps[37:]
    assert min(rendered) > 0  # blocks that are gone are not made again
    assert len(set(rendered)) == len(rendered)


def test_samples_are_used_about_as_often_as_asked() -> None:
    source = ring([])
    uses = Counter(sample for step in range(600) for sample in drawn(source, step))
    settled = [n for (block, _), n in uses.items() if 10 <= block < 80]
    assert sum(settled) / len(settled) == pytest.approx(3, abs=0.3)
    assert max(settled) < 12


def test_without_reuse_every_sample_is_new() -> None:
    source = ring([], reuse=1)
    samples = [sample for step in range(20) for sample in drawn(source, step)]
    assert len(set(samples)) == len(samples) == 80
    assert {block for block, _ in samples} == set(range(10))
    assert drawn(ring([], reuse=1), 13) == samples[13 * 4 : 14 * 4]


def test_a_block_must_fill_batches() -> None:
    with pytest.raises(ValueError, match="block of 4"):
        ReplayRing(lambda number: number, block_size=4, batch_size=8, reuse=3, capacity=1)
    with pytest.raises(ValueError, match="block of 8"):
        ReplayRing(lambda number: number, block_size=8, batch_size=3, reuse=1, capacity=1)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=4), st.integers(0, 3))
def test_seeds_of_neighbours_differ(numbers: list[int], place: int) -> None:
    neighbour = list(numbers)
    neighbour[place % len(numbers)] += 1
    assert derived_seed(*numbers) != derived_seed(*neighbour)
    assert 0 <= derived_seed(*numbers) < 2**63

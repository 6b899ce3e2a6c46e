"""Items are made one ahead, in order, in a thread of their own, and nothing of it stays behind."""

import threading
from collections.abc import Iterator

import pytest

from pipeline.ahead import one_ahead


def test_items_come_in_order() -> None:
    assert list(one_ahead(iter(range(100)))) == list(range(100))
    assert list(one_ahead(iter([]))) == []
    assert list(one_ahead(iter([None, 0]))) == [None, 0]


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for k in range(3):
            made[k].set()
            yield k

    for k in one_ahead(items()):
        if k < 2:
            assert made[k + 1].wait(timeout=5)  # the caller still holds item k
    threads = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith("ahead") for name in threads)


def test_all_items_are_made_in_one_other_thread() -> None:
    def items() -> Iterator[int]:
        for _ in range(20):
            yield threading.get_ident()

    assert len({*one_ahead(items()), threading.get_ident()}) == 2


def test_errors_come_at_their_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the cable")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="the cable"):
        next(ahead)


def test_stopping_early_leaves_no_thread() -> None:
    ahead = one_ahead(iter(range(10)))
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())

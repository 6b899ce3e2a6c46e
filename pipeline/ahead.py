"""Work on the next item in a thread while the last one is being used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items in the same order; while one is in the caller's hands the next one is made.

    The iterator runs in a thread of its own, always the same one; what it raises is raised here. When the
    caller stops early, the item that is being made is finished and dropped.

    Args:
        items: whose `next` does the work, such as grabbing a frame and finding its hands.
    """
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as worker:
        coming = worker.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = worker.submit(next, items, nothing)
            yield item  # type: ignore[misc]

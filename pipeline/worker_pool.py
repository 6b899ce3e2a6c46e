"""Processes that work on many tasks, of which one that ends its process is told from the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_WAKE_S = 0.3


def until_broken(
    work: Callable[[Task], Result],
    waiting: deque[Task],
    workers: int,
    clean_up: Callable[[Task], object],
) -> Generator[Result, None, list[Task]]:
    """Results of tasks, which are taken from those that wait, as they are done, until a process ends.

    Args:
        work: can be pickled, as tasks and results can.
        waiting: is left with the tasks that were not begun.
        workers: processes.
        clean_up: what is called with each task whose process was ended at work, by itself or by a stop here.

    Returns:
        The tasks that were in work when a process ended; none if all are done.
    """
    working: dict[Future[Result], Task] = {}
    done: SimpleQueue[Future[Result]] = SimpleQueue()

    def clean_all_up() -> None:
        for task in working.values():
            clean_up(task)

    with ExitStack() as stack:
        stack.callback(clean_all_up)  # last: when the processes have ended
        pool = stack.enter_context(worker_pool(min(workers, len(waiting))))
        while waiting or working:
            try:
                while waiting and len(working) < workers:
                    future = pool.submit(work, waiting[0])
                    working[future] = waiting.popleft()
                    future.add_done_callback(done.put)
                future = _next(done)
                result = future.result()
            except BrokenProcessPool:
                for other in [other for other in working if other.done() and not other.exception()]:
                    del working[other]
                    yield other.result()
                return list(working.values())
            del working[future]
            yield result
    return []


def _next(done: SimpleQueue[Future[Result]]) -> Future[Result]:
    """The next of them, waited for awake now and then.

    A signal that another thread than the main one happens to receive waits until the main one wakes.
    """
    while True:
        with suppress(Empty):
            return done.get(timeout=_WAKE_S)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that do not outlive the block, even if it is left by Ctrl-C."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_work)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        children = set(multiprocessing.active_children()) - others
        for child in children:
            child.terminate()
        for child in children:
            child.join()
        raise
    finally:
        pool.shutdown()


def _begin_work() -> None:
    """In a new process: ends it with the first one, which alone decides about Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def share_of_cores(workers: int) -> int | None:
    """Threads for each of several processes; None, the engine's choice, for a single one."""
    if workers == 1:
        return None
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, able // workers)

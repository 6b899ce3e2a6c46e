"""What both training commands do around the loop."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from pipeline.constants import ROOT
from pipeline.errors import UsageError, command
from pipeline.training.devices import Workers, choose_device, half_precision, join_workers
from pipeline.training.loop import Task, Training
from pipeline.training.options import LoopOptions, loop_options
from pipeline.training.stream import EpochOrder


@runtime_checkable
class EpochTask(Protocol):
    """A task whose samples are those of a data set."""

    @property
    def order(self) -> EpochOrder: ...


@dataclass(frozen=True)
class Place:
    """Where a run happens."""

    device: torch.device
    workers: Workers


def train(
    arguments: argparse.Namespace,
    presets: Mapping[str, Mapping[str, Any]],
    make_task: Callable[[argparse.Namespace, Place], Task],
    of_task: Sequence[str] = (),
) -> int:
    """Runs a training command.

    Args:
        arguments: parsed, of `options.add_loop_options`.
        presets: for each type of device, what options are that were not given.
        make_task: network on the device, and its data.
        of_task: names of the command's own options that a resumed run must share.

    Returns:
        Exit code; errors of use are told on stderr.
    """
    try:
        return _run(arguments, presets, make_task, of_task)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@command  # inside, so that an error is told before the processes part
def _run(
    arguments: argparse.Namespace,
    presets: Mapping[str, Mapping[str, Any]],
    make_task: Callable[[argparse.Namespace, Place], Task],
    of_task: Sequence[str],
) -> int:
    device = choose_device(arguments.device)
    for name, value in presets[device.type].items():
        if getattr(arguments, name, None) is None:
            setattr(arguments, name, value)
    options = loop_options(arguments, of_task)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    # The fastest kernels are found by trial, and differ in the last bit from run to run.
    torch.backends.cudnn.benchmark = options.steps is None
    torch.manual_seed(options.seed)
    place = Place(device, join_workers(device))
    task = make_task(arguments, place)
    options = _in_steps(options, task)
    return Training(task, options, device, half_precision(device), place.workers, _origin()).run()


def _in_steps(options: LoopOptions, task: Task) -> LoopOptions:
    """Options whose length is counted in steps where it was in epochs.

    Raises:
        UsageError: the task's samples are rendered, without end.
    """
    if options.epochs is None:
        return options
    if not isinstance(task, EpochTask):
        raise UsageError("--epochs counts how often frames are used: give --data, or --steps")
    return replace(options, steps=task.order.steps(options.epochs), epochs=None)


def _origin() -> dict[str, Any]:
    """How weights of this run can be made again."""
    name = sys.modules["__main__"].__spec__
    module = name.name if name else sys.argv[0]
    return {
        "command": shlex.join(["python3", "-m", module, *sys.argv[1:]]),
        "commit": _commit(),
        "torch": torch.__version__,
    }


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

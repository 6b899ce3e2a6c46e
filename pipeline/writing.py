"""Files that are written: whether they can be, told early, and what went wrong, told in a sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.command_line import STDOUT
from pipeline.errors import HandPoseError, UsageError
from pipeline.pyav import av

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, or for this user or file


def check_writable(path: Path, source: str = "") -> None:
    """Finds out early, and without touching anything, whether a file can be written.

    Raises:
        UsageError: its folder is missing or not writable, it is a folder, or it is the source itself.
    """
    if path == STDOUT:
        return
    if os.path.isdir(path):  # pathlib's would raise where a folder above may not be entered
        raise UsageError(f"cannot write {path}: it is a folder, name a file in it")
    if not os.path.isdir(path.parent):
        raise UsageError(
            f"cannot write {path}: there is no folder {path.parent} to write in, make it or choose another"
        )
    there = os.path.exists(path)
    if not os.access(path if there else path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: permission denied, choose a place that you may write to")
    if there and os.path.exists(source) and os.path.samefile(path, source):
        raise UsageError(f"cannot write {path}: it is the source, choose another name")


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turns failures to write into one sentence."""
    name = "standard output" if path == STDOUT else path
    try:
        yield
    except BrokenPipeError:
        raise HandPoseError(f"stopped: nothing reads {name} any more") from None
    except (OSError, av.FFmpegError) as error:
        advice = "free some space" if error.errno in _FULL else "check the place or choose another"
        reason = (error.strerror or str(error)).lower()
        raise HandPoseError(f"cannot write {name}: {reason}, {advice}") from error

"""Errors that are the user's to mend: each message is one sentence that says what to try next."""

import os
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from pipeline.constants import ROOT

Arguments = ParamSpec("Arguments")


class HandPoseError(Exception):
    """The run failed; the program ends with exit code 1."""

    exit_code = 1


class UsageError(HandPoseError):
    """Wrong use, or an engine asked for by name that is not there; exit code 2."""

    exit_code = 2


class SourceError(UsageError):
    """There is nothing to read from: no device, no such file, not a recording; exit code 2."""


def requirements(name: str) -> str:
    """What pip is to install, for a shell in any folder: `-r` and `requirements-NAME.txt`."""
    return f"-r {shlex.quote(str(ROOT / f'requirements-{name}.txt'))}"


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Makes `main`, which returns an exit code, tell these errors on stderr and return theirs.

    After Ctrl-C it returns 130, as shells do.
    """

    @wraps(main)
    def run(*args: Arguments.args, **options: Arguments.kwargs) -> int:
        try:
            return main(*args, **options)
        except HandPoseError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            return 130
        except (
            BrokenPipeError
        ):  # whoever read the output has gone; Python would complain once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1

    return run

"""Errors that are the user's to mend: each message is one sentence that says what to try next."""


class HandPoseError(Exception):
    """The run failed; the program ends with exit code 1."""

    exit_code = 1


class UsageError(HandPoseError):
    """Wrong use, or an engine asked for by name that is not there; exit code 2."""

    exit_code = 2


class SourceError(UsageError):
    """There is nothing to read from: no device, no such file, not a recording; exit code 2."""

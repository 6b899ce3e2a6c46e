"""Real data for development, which is not part of the project: tests that need it are skipped without."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_file(name: str) -> Path:
    """Path of a file of real data; skips the test if it is not there."""
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path

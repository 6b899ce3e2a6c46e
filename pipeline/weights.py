"""Which weights are used where none are named."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.constants import (
    A2J_CHECKPOINT,
    A2J_LIGHT_CHECKPOINT,
    CENTERNET_CHECKPOINT,
    CENTERNET_LIGHT_CHECKPOINT,
    LIGHT_NETWORKS,
    ROOT,
)
from pipeline.errors import UsageError


def centernet_weights(named: str | Path | None = None) -> Path:
    """The checkpoint that is named, else the one of constants.py.

    Raises:
        UsageError: that one is missing.
    """
    shipped = CENTERNET_LIGHT_CHECKPOINT if LIGHT_NETWORKS else CENTERNET_CHECKPOINT
    return Path(named) if named else _there(shipped, "centernet")


def a2j_weights(named: str | Path | None = None) -> Path:
    """As `centernet_weights`, of the joint network."""
    return Path(named) if named else _there(A2J_LIGHT_CHECKPOINT if LIGHT_NETWORKS else A2J_CHECKPOINT, "a2j")


def _there(checkpoint: Path, name: str) -> Path:
    if not os.path.isfile(checkpoint):
        raise UsageError(
            f"the weights {checkpoint} are missing: train them (in {ROOT}: python3 -m "
            f"pipeline.training.train_{name} --minutes 60) or name a checkpoint (--{name} FILE)"
        )
    return checkpoint

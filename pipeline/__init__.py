"""Realtime 3D hand joints from a depth camera's depth and infrared images.

Names are imported when they are first used, so that `import pipeline` costs nothing.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.cameras import open_camera
    from pipeline.frame import DepthCamera, Frame
    from pipeline.hand_pose import HandPosePipeline

__all__ = ["DepthCamera", "Frame", "HandPosePipeline", "open_camera"]

# OpenMP reads this once, when PyTorch is imported. Its threads then sleep between two networks instead of
# spinning, which takes the cores from the camera, the window and other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _end_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's own hook for errors, but for Ctrl-C, which ends the program with 130."""
    if issubclass(kind, KeyboardInterrupt):
        sys.exit(130)
    sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # so Python says while it looks for one of our commands, whose imports are slow
    sys.excepthook = _end_quietly


def __getattr__(name: str) -> object:
    homes = {
        "DepthCamera": "pipeline.frame",
        "Frame": "pipeline.frame",
        "HandPosePipeline": "pipeline.hand_pose",
        "open_camera": "pipeline.cameras",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)

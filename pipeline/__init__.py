"""Realtime 3D hand joints from a depth camera's depth and infrared images.

Names are imported when they are first used, so that `import pipeline` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.cameras import open_camera
    from pipeline.frame import DepthCamera, Frame
    from pipeline.hand_pose import HandPosePipeline

__all__ = ["DepthCamera", "Frame", "HandPosePipeline", "open_camera"]

# OpenMP reads this once, when PyTorch is imported. Its threads then sleep between two networks instead of
# spinning, which takes the cores from the camera, the window and other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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

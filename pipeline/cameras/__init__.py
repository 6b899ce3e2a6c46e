"""Sources of frames: a live Azure Kinect, recordings, folders of images, and a rendered demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.cameras.azure import AzureCamera
from pipeline.cameras.base import Camera
from pipeline.cameras.folder import FolderCamera
from pipeline.errors import SourceError

__all__ = ["Camera", "open_camera"]


def open_camera(source: str | Path, **options: Any) -> Camera:
    """Open a source of frames.

    Args:
        source: "azure" (live camera), "demo" (rendered), an Azure Kinect recording, or a folder of frames.
        options: passed on to the source's class.

    Returns:
        A context manager and iterator of `Frame`.

    Raises:
        SourceError: there is nothing to read from.
    """
    if source == "azure":
        return AzureCamera(**options)
    if source == "demo":
        from pipeline.cameras.demo import DemoCamera

        return DemoCamera(**options)
    if os.path.isdir(source):  # pathlib's would raise where a folder above may not be entered
        return FolderCamera(source, **options)
    if os.path.exists(source):
        from pipeline.cameras.recording import RecordingCamera

        return RecordingCamera(source, **options)
    raise SourceError(
        f"source '{source}' does not exist, or may not be read: give azure, demo, a recording (FILE.mkv) or "
        "a folder of frames"
    )

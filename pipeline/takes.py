"""Recordings that the user starts and stops while the program runs."""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path

from pipeline.constants import AZURE_FPS
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.recording_writer import Recorder, open_recorder


class Takes:
    """Keeps the frames of one take after the other in new recordings in the current folder.

    What goes wrong ends the take and is said on stderr; it never ends the run.
    """

    def __init__(self) -> None:
        self._recorder: Recorder | None = None

    @property
    def recording(self) -> bool:
        return self._recorder is not None

    def toggle(self, camera: DepthCamera) -> None:
        """Starts a take of this camera's frames, or ends the one that is made."""
        if self._recorder is not None:
            self.close()
            return
        try:
            self._recorder = _new_recorder(camera)
        except HandPoseError as error:
            print(error, file=sys.stderr)
        else:
            print(f"recording: {self._recorder.path.absolute()}", file=sys.stderr)

    def add(self, frame: Frame) -> None:
        """Keeps a frame if a take is made."""
        if self._recorder is None:
            return
        try:
            self._recorder.add_frame(frame)
        except HandPoseError as error:
            print(error, file=sys.stderr)
            self.close()

    def close(self) -> None:
        """Ends the take and says where it is."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        try:
            recorder.close()
        except HandPoseError as error:
            print(error, file=sys.stderr)
        else:
            print(f"recorded {recorder.frames} frames: {recorder.path.absolute()}", file=sys.stderr)


def _new_recorder(camera: DepthCamera) -> Recorder:
    """An Azure Kinect recording, or a folder for images that fit none."""
    path = _free_path(f"recording_{time.strftime('%Y%m%d_%H%M%S')}")
    try:
        return open_recorder(path.with_suffix(".mkv"), camera, AZURE_FPS)
    except UsageError:
        return open_recorder(path, camera)


def _free_path(stem: str) -> Path:
    """The first of `stem`, `stem_2`, ... that is no file, recording or folder yet."""
    names = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
    return next(path for path in map(Path, names) if not (path.exists() or path.with_suffix(".mkv").exists()))

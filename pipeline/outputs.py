"""Results as files: JSON Lines and video."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.command_line import STDOUT
from pipeline.drawing import ViewOptions
from pipeline.frame import DepthCamera
from pipeline.hand import Hand, Skeleton
from pipeline.pyav import av
from pipeline.result import Result
from pipeline.view import View
from pipeline.writing import write_errors

SCHEMA = 1


class JsonLines:
    """One line for the run, then one line for each frame, complete on disk as soon as it is written.

    Args:
        path: file to write (an existing one is replaced), or `STDOUT`.
        skeleton, camera, engine: for the first line.
        origin: more for the first line: where the hands come from.

    Raises:
        HandPoseError: the file cannot be written; `write` and `close` raise it too.
    """

    def __init__(
        self,
        path: Path,
        skeleton: Skeleton,
        camera: DepthCamera,
        engine: str,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.closed = False
        with write_errors(path):
            # A copy of stdout's descriptor: closing it leaves nothing for the interpreter to flush at exit.
            target = os.dup(sys.stdout.fileno()) if path == STDOUT else path
            self._file = open(target, "w", encoding="utf-8")  # noqa: SIM115
        head = {
            "schema": SCHEMA,
            "joint_names": skeleton.joint_names,
            "bones": skeleton.bones,
            "camera": _camera_record(camera),
            "engine": engine,
        }
        self._write_line({**(origin or {}), **head})

    def write(self, result: Result) -> None:
        """Adds a frame. A hand with a number that is not finite is left out."""
        times = result.times
        self._write_line(
            {
                "frame": result.frame.index,
                "timestamp_us": int(result.frame.timestamp_us),
                "hands": [_hand_record(hand) for hand in result.hands if _is_finite(hand)],
                "ms": {
                    "detect": round(float(times.detect_ms), 3),
                    "pose": round(float(times.pose_ms), 3),
                    "total": round(float(times.total_ms), 3),
                },
            }
        )

    def close(self) -> None:
        with write_errors(self.path):
            self._file.close()

    def _write_line(self, record: dict[str, Any]) -> None:
        with write_errors(self.path):
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self._file.flush()


def _camera_record(camera: DepthCamera) -> dict[str, Any]:
    return {
        "width": camera.width,
        "height": camera.height,
        "fx": float(camera.fx),
        "fy": float(camera.fy),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "distortion": None if camera.distortion is None else [float(k) for k in camera.distortion],
    }


def _hand_record(hand: Hand) -> dict[str, Any]:
    return {
        "id": None if hand.id is None else int(hand.id),
        "handedness": hand.handedness,
        "score": round(float(hand.score), 4),
        "box": _rounded(hand.box, 2),
        "joints_uvd": _rounded(hand.joints_uvd, 3),
        "joints_xyz": _rounded(hand.joints_xyz, 3),
        "confidence": _rounded(hand.confidence, 4),
    }


def _rounded(values: NDArray[np.floating], digits: int) -> list[Any]:
    return np.round(np.asarray(values, np.float64), digits).tolist()


def _is_finite(hand: Hand) -> bool:
    arrays = (hand.score, hand.box, hand.joints_uvd, hand.joints_xyz, hand.confidence)
    return all(np.isfinite(array).all() for array in arrays)


class VideoFile:
    """An MP4 written in fragments of a second, so that what a killed run leaves plays up to there.

    The file is made when the first picture comes.

    Args:
        path: file to write; an existing one is replaced.
        view: makes the pictures; its `advance` is the caller's to call.

    Raises:
        HandPoseError: by `write` and `close`, if the file cannot be written.
    """

    _TIME_BASE = Fraction(1, 90000)

    def __init__(self, path: Path, view: View) -> None:
        self.path = path
        self.closed = False
        self._view = view
        self._container: Any = None
        self._stream: Any = None
        self._ticks = 0

    def write(self, result: Result) -> None:
        """Adds the picture of a result, shown for as long as the camera took to the next."""
        picture = self._view.picture(result, ViewOptions())
        with write_errors(self.path):
            if self._container is None:
                self._open(picture.shape[1], picture.shape[0])
            else:
                self._ticks += max(1, round(self._view.seconds / self._TIME_BASE))
            image = av.VideoFrame.from_ndarray(picture, format="bgr24")
            image.pts, image.time_base = self._ticks, self._TIME_BASE
            self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        if self._container is None:
            return
        with write_errors(self.path):
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()

    def _open(self, width: int, height: int) -> None:
        fragments = {
            "movflags": "frag_keyframe+empty_moov+default_base_moof",
            "frag_duration": "1000000",  # microseconds
            "flush_packets": "1",
        }
        h264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "21", "g": "30"}
        codec, options = ("libx264", h264) if "libx264" in av.codecs_available else ("mpeg4", {"q": "4"})
        self._container = av.open(str(self.path), "w", format="mp4", options=fragments)
        self._stream = self._container.add_stream(codec, rate=30, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = self._TIME_BASE

"""Frames to disk: as an Azure Kinect recording (Matroska), or as a folder of images."""

from __future__ import annotations

import io
import json
import os
import struct
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.calibration import DEPTH_MODES, format_calibration
from pipeline.cameras.folder import TIMESTAMPS, read_camera, read_stamps, whole_lines
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.pyav import av
from pipeline.writing import check_writable, write_errors

_FOLDERS = ("annotation", "casted_ir_image", "depth_image", "ir_image", "rgb_image")
_MILLISECOND = Fraction(1, 1000)
_FRAME_RATES = (5, 15, 30)  # Hz, those that Microsoft's reader knows
_GAP_US = 33_333  # between the frames of a folder that were recorded one day and another
_FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class Recorder(ABC):
    """Keeps frames; a context manager.

    Attributes:
        path: what is written.
        frames: number of frames kept so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = 0

    @abstractmethod
    def add_frame(self, frame: Frame) -> None:
        """Keep a frame.

        Raises:
            HandPoseError: it cannot be written, or does not belong to this recording.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what is written; calling it again does nothing."""

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_recorder(path: str | Path, camera: DepthCamera, fps: int = 30) -> Recorder:
    """Start a recording: an Azure Kinect recording if the path ends in .mkv, else a folder of images.

    Args:
        fps: 5, 15 or 30 Hz; a remark for readers, the frames keep their own times.

    Raises:
        UsageError: it cannot be written there, exists already, or such a camera has no recordings.
    """
    path = Path(path)
    return (
        MatroskaRecorder(path, camera, fps) if path.suffix.lower() == ".mkv" else FolderRecorder(path, camera)
    )


class MatroskaRecorder(Recorder):
    """An Azure Kinect recording that Microsoft's reader plays: tracks DEPTH and IR, and the calibration.

    Every frame is a cluster of its own that is written when the next one comes, so the file of a run that is
    killed opens and lacks a frame or two at most. Times are rounded to milliseconds after the first frame's.

    Args:
        path: the file, which must not exist.
        camera: has the size of one of the Azure Kinect's depth modes.
        fps: 5, 15 or 30 Hz.

    Raises:
        UsageError: as said.
    """

    def __init__(self, path: Path, camera: DepthCamera, fps: int = 30) -> None:
        super().__init__(path)
        modes = {(mode.width, mode.height): name for name, mode in DEPTH_MODES.items()}
        if (camera.width, camera.height) not in modes:
            raise UsageError(
                f"images of {camera.width}x{camera.height} px fit no Azure Kinect recording: record to a "
                "folder"
            )
        if fps not in _FRAME_RATES:
            raise UsageError(f"an Azure Kinect recording has 5, 15 or 30 frames a second, not {fps}")
        if os.path.exists(path):  # pathlib's would raise below a locked folder
            raise UsageError(f"{path} exists already: give the name of a new recording")
        check_writable(path)
        self._camera, self._fps = camera, fps
        self._mode = modes[camera.width, camera.height]
        self._container: Any = None
        self._tracks: dict[str, av.video.stream.VideoStream] = {}
        self._start_us = 0
        self._last_ms = -1

    def add_frame(self, frame: Frame) -> None:
        """Keep a frame. The first decides whether the recording has infrared; later ones may lack it.

        Raises:
            HandPoseError: another camera's frame, the first infrared after the first frame, or the file
                cannot be written.
        """
        if frame.camera != self._camera:
            raise HandPoseError(f"{self.path} holds frames of one camera: start another recording")
        if frame.ir is not None and self._tracks and "IR" not in self._tracks:
            raise HandPoseError(f"{self.path} began without infrared: start another recording")
        try:
            with write_errors(self.path):
                self._write(frame)
        except HandPoseError:
            with suppress(HandPoseError):
                self.close()
            raise
        self.frames += 1

    def close(self) -> None:
        container, self._container = self._container, None
        if container is None:
            return
        with write_errors(self.path):
            try:
                container.close()
            finally:
                self._file.close()

    def _write(self, frame: Frame) -> None:
        if self._container is None:
            self._open(frame)
        time_ms = max(round((frame.timestamp_us - self._start_us) / 1000), self._last_ms + 1)
        self._last_ms = time_ms
        for name, image in (("DEPTH", frame.depth), ("IR", frame.ir)):
            if image is not None:
                self._container.mux(self._packet(self._tracks[name], image, time_ms))

    def _open(self, first: Frame) -> None:
        self._start_us = first.timestamp_us
        options = {
            "allow_raw_vfw": "1",
            "write_crc32": "0",  # they would not fit what _TaggedFile writes
            "cluster_time_limit": "1",  # ms: or FFmpeg keeps seconds of frames in memory
            "flush_packets": "1",
        }
        self._file = _TaggedFile(self.path, self._camera.width, self._camera.height)
        self._container = av.open(self._file, "w", format="matroska", options=options, buffer_size=1 << 20)
        self._container.metadata.update(
            {
                "title": "Azure Kinect",
                "K4A_START_OFFSET_NS": str(
                    first.timestamp_us * 1000
                ),  # Microsoft's reader sees the first only
            }
        )
        calibration = format_calibration(self._camera, DEPTH_MODES[self._mode])
        self._container.add_attachment("calibration.json", "application/octet-stream", calibration)
        self._tracks["DEPTH"] = self._add_track("DEPTH", {"K4A_DEPTH_MODE": self._mode})
        if first.ir is not None:
            self._tracks["IR"] = self._add_track("IR", {"K4A_IR_MODE": "ACTIVE"})

    def _add_track(self, name: str, tags: dict[str, str]) -> av.video.stream.VideoStream:
        stream: av.video.stream.VideoStream = self._container.add_stream("rawvideo", rate=self._fps)
        stream.width, stream.height = self._camera.width, self._camera.height
        stream.pix_fmt = "gray16be"
        stream.time_base = _MILLISECOND
        stream.metadata.update({"title": name, **tags})
        return stream

    @staticmethod
    def _packet(stream: av.video.stream.VideoStream, image: NDArray[np.uint16], time_ms: int) -> av.Packet:
        packet = av.Packet(image.astype(">u2").tobytes())
        packet.stream = stream
        packet.time_base = _MILLISECOND
        packet.pts = packet.dts = time_ms
        packet.is_keyframe = True
        return packet


class _TaggedFile(io.FileIO):
    """A new file whose tracks are called b16g: FFmpeg stores 16-bit images without their name.

    Their BITMAPINFOHEADER (Windows GDI: size, width, height, planes, bits, compression, ...) has neither the
    code of the pixels' format nor, for want of it, the sign of the height that Microsoft's reader asks for.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        super().__init__(path, "xb")
        self._nameless = struct.pack("<IiiHHI", 40, width, -height, 1, 16, 0)
        self._named = struct.pack("<IiiHH4s", 40, width, height, 1, 16, b"b16g")

    def write(self, data: Any) -> int:
        tagged = memoryview(bytes(data).replace(self._nameless, self._named))
        written = 0
        while written < len(tagged):
            written += super().write(tagged[written:])
        return written


class FolderRecorder(Recorder):
    """The folders of centernet_kinect: numbered 16-bit images, and `camera.json`.

    Frames are added behind those that are there. `casted_ir_image` is for looking at and labelling: the
    brightness as 8 bits, on a scale that shows hands and not, as in the original, modulo 256. `annotation`
    and `rgb_image` are made and left empty.

    Args:
        path: the folder; made if it is not there.
        camera: its geometry, which must be that of the frames in the folder.

    Raises:
        UsageError: it cannot be written, its camera.json is broken, or it holds frames of another camera.
    """

    def __init__(self, path: Path, camera: DepthCamera) -> None:
        super().__init__(path)
        try:
            for name in _FOLDERS:
                (path / name).mkdir(parents=True, exist_ok=True)
            self._keep_camera(camera)
            _end_last_line(path / TIMESTAMPS)
            numbers = [
                int(f.stem) for name in _FOLDERS for f in (path / name).iterdir() if f.stem.isdecimal()
            ]
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
            raise UsageError(f"cannot record to {path} ({reason}): give another folder") from None
        self._next = max(numbers, default=-1) + 1
        self._camera = camera
        self._first_us, self._later_us = self._end_of_times(), 0

    def add_frame(self, frame: Frame) -> None:
        """Keep a frame. The depth image is written last: a frame that has one is whole.

        Raises:
            HandPoseError: another camera's frame, or an image cannot be written.
        """
        if frame.camera != self._camera:
            raise HandPoseError(f"{self.path} holds frames of one camera: give another folder")
        name = f"{self._next:07d}.png"
        self._note_time(frame.timestamp_us)
        if frame.ir is not None:
            self._write("ir_image", name, frame.ir)
            self._write("casted_ir_image", name, _visible(frame.ir))
        self._write("depth_image", name, frame.depth)
        self._next += 1
        self.frames += 1

    def close(self) -> None:
        """Nothing is left to do: every frame is finished when it is added."""

    def _note_time(self, timestamp_us: int) -> None:
        path = self.path / TIMESTAMPS
        if not self.frames:  # the camera's clock may have begun anew
            self._later_us = max(0, self._first_us - timestamp_us)
        with write_errors(path), path.open("a", encoding="ascii") as stamps:
            stamps.write(f"{self._next:07d},{timestamp_us + self._later_us}\n")

    def _end_of_times(self) -> int:
        """Microseconds at which frames that are added may begin."""
        stamps = read_stamps(self.path)
        return max(stamps.values()) + _GAP_US if stamps else self._next * _GAP_US

    def _write(self, folder: str, name: str, image: NDArray[Any]) -> None:
        path = self.path / folder / name
        data = cv2.imencode(".png", image, _FAST_PNG)[1]
        unfinished = path.with_suffix(".part")
        with write_errors(path):
            unfinished.write_bytes(data.tobytes())
            unfinished.replace(path)

    def _keep_camera(self, camera: DepthCamera) -> None:
        fields: dict[str, Any] = {
            "width": camera.width,
            "height": camera.height,
            "fx": camera.fx,
            "fy": camera.fy,
            "cx": camera.cx,
            "cy": camera.cy,
            "distortion": None if camera.distortion is None else list(camera.distortion),
            "depth_unit_mm": 1.0,
        }
        if camera.metric_radius is not None:
            fields["metric_radius"] = camera.metric_radius
        path = self.path / "camera.json"
        if not path.exists():
            path.write_text(json.dumps(fields, indent=2) + "\n")
            return
        known, unit = read_camera(path)
        alike = (camera, replace(camera, metric_radius=None))  # it may have been written without the radius
        if known not in alike or unit != 1:
            raise UsageError(f"{self.path} holds frames of another camera: give another folder")


def _end_last_line(path: Path) -> None:
    """Takes away what was being written when a disk was full: the next line must not continue it."""
    text = path.read_text(encoding="ascii", errors="replace") if os.path.exists(path) else ""
    if text and not text.endswith("\n"):
        whole = whole_lines(text)
        path.write_text(whole if whole.endswith("\n") or not whole else whole + "\n", encoding="ascii")


def _visible(ir: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """8 bits that rise with the logarithm of the brightness from 2^5 to 2^16: hands near and far are grey."""
    return ((np.log2(np.maximum(ir, 1), dtype=np.float32) - 5) * (255 / 11)).clip(0, 255).astype(np.uint8)

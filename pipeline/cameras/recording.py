"""Azure Kinect recordings (Matroska), read through FFmpeg without the camera's SDK."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cameras.base import Camera
from pipeline.cameras.calibration import DEPTH_MODES, LensMask, parse_calibration
from pipeline.cameras.matroska import declared_size, index_position
from pipeline.cameras.pairing import TimedImage, pair_by_time
from pipeline.errors import HandPoseError, SourceError
from pipeline.frame import DepthCamera, Frame
from pipeline.pyav import av

# The SDK writes 16-bit big-endian images; its first versions wrote little-endian ones and called them YUY2.
_PIXEL_TYPES = {"gray16be": ">u2", "gray16le": "<u2", "yuyv422": "<u2"}
_LARGEST_TAIL = 4096  # bytes behind the last image of a recording that was never finished
# Before PyAV 19, tags that are not UTF-8 are an error unless it is told otherwise.
_TOLERANT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class RecordingCamera(Camera):
    """Every frame of a recording, in order.

    Depth images are never left out: where the infrared image is missing, `Frame.ir` is None. A recording
    that is cut off or damaged gives all frames before the fault, then a `HandPoseError`.

    Args:
        path: Matroska file of k4arecorder, pyk4a or of our own recorder.

    Raises:
        SourceError: no depth frame can be read from it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._container: av.container.InputContainer | None = None
        self._fault = ""
        self._declared_size = self._check_file()
        try:
            self._container = av.open(f"file:{self.path.resolve()}", format="matroska", **_TOLERANT)
            self._find_tracks(self._container)
            self.camera = self._read_calibration(self._container)
            self._measured = LensMask(self.camera)
            frames = self._read(self._container)
            self._frames = itertools.chain([self._first(frames)], frames)
        except av.FFmpegError as error:
            self.close()
            raise self._unusable(f"cannot be opened ({error.strerror})") from None
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Frame:
        if self._container is None:
            raise StopIteration
        return next(self._frames)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _unusable(self, reason: str) -> SourceError:
        return SourceError(f"{self.path} {reason}: give an Azure Kinect recording with a depth track")

    def _check_file(self) -> int | None:
        """Size that the file should have, or None if it does not say."""
        if not os.path.isfile(self.path):
            raise self._unusable("is not a file")
        try:
            return declared_size(self.path)
        except OSError as error:
            raise self._unusable(f"cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise self._unusable(f"is {error}") from None

    def _find_tracks(self, container: av.container.InputContainer) -> None:
        """Set the depth mode, the index of the depth stream, and numpy's type of each stream's pixels."""
        tracks = {stream.metadata.get("title"): stream for stream in container.streams.video}
        depth, ir = tracks.get("DEPTH"), tracks.get("IR")
        if depth is None:
            raise self._unusable("has no depth track")
        name = depth.metadata.get("K4A_DEPTH_MODE", container.metadata.get("K4A_DEPTH_MODE", "none"))
        if name not in DEPTH_MODES:
            raise self._unusable(f"has the unknown depth mode '{name}'")
        self._mode = DEPTH_MODES[name]
        self._depth_stream = depth.index
        self._pixel_types = {
            stream.index: self._pixel_type(stream, name) for stream in (depth, ir) if stream is not None
        }

    def _pixel_type(self, stream: av.video.stream.VideoStream, mode_name: str) -> str:
        title, codec = stream.metadata["title"], stream.codec_context
        if codec is None:
            raise self._unusable(f"stores its {title} track in an unknown way")
        if (codec.width, codec.height) != (self._mode.width, self._mode.height):
            raise self._unusable(
                f"has a {title} track of {codec.width}x{codec.height} px, but its depth mode {mode_name} "
                f"means {self._mode.width}x{self._mode.height}"
            )
        if codec.name != "rawvideo" or codec.pix_fmt not in _PIXEL_TYPES:
            raise self._unusable(
                f"stores its {title} track as {codec.name} {codec.pix_fmt}, not as 16-bit images"
            )
        return _PIXEL_TYPES[codec.pix_fmt]

    def _read_calibration(self, container: av.container.InputContainer) -> DepthCamera:
        for stream in container.streams.attachments:
            if stream.name == "calibration.json" or "K4A_CALIBRATION_FILE" in stream.metadata:
                try:
                    return parse_calibration(stream.data, self._mode)
                except ValueError as error:
                    raise self._unusable(f"has a calibration that cannot be used ({error})") from None
        raise self._unusable("has no calibration attached")

    def _first(self, frames: Iterator[Frame]) -> Frame:
        """The first frame: a recording without one is no source at all."""
        try:
            return next(frames)
        except StopIteration:
            raise self._unusable("contains no depth frames") from None
        except HandPoseError as error:
            raise SourceError(str(error)) from None

    def _read(self, container: av.container.InputContainer) -> Iterator[Frame]:
        count = 0
        for depth, ir in pair_by_time(self._images(container)):
            yield Frame(self._measured(depth.image), ir, self.camera, depth.timestamp_us, count)
            count += 1
        if self._fault:
            raise HandPoseError(
                f"{self.path} {self._fault} (frames read before: {count}): copy or record it again for "
                "the rest"
            )

    def _images(self, container: av.container.InputContainer) -> Iterator[TimedImage]:
        """Images in the order of the file, up to its end or the first fault, which goes to `_fault`."""
        offset_us = _start_offset_us(container)
        frame_bytes = 2 * self._mode.width * self._mode.height
        end = 0  # of the last packet, bytes
        try:
            for packet in container.demux():
                if not packet.size or packet.pos is None:
                    continue
                # FFmpeg skips what it cannot parse without a word.
                if end and packet.pos - end >= frame_bytes:
                    self._fault = f"is damaged at byte {end}"
                    return
                end = packet.pos + packet.size
                if packet.stream_index not in self._pixel_types:
                    continue
                if packet.size != frame_bytes or packet.pts is None:
                    self._fault = f"has an image of {packet.size} instead of {frame_bytes} bytes"
                    return
                yield self._decode(packet, offset_us)
        except av.FFmpegError as error:
            self._fault = f"is damaged ({error.strerror})"
            return
        self._fault = self._fault_behind(end, frame_bytes)

    def _fault_behind(self, end: int, frame_bytes: int) -> str:
        """What is wrong with the file behind its last packet: "" if it ends as it should."""
        if self._declared_size is not None and self.path.stat().st_size < self._declared_size:
            return "is cut off"
        unread = index_position(self.path, end) - end
        if self._declared_size is None and unread > _LARGEST_TAIL:
            return "is cut off"
        return f"is damaged at byte {end}" if end and unread >= frame_bytes else ""

    def _decode(self, packet: av.Packet, offset_us: int) -> TimedImage:
        pixels = np.frombuffer(memoryview(packet), dtype=self._pixel_types[packet.stream_index])
        image = pixels.reshape(self._mode.height, self._mode.width).astype(np.uint16)
        assert packet.pts is not None
        time_us = round(packet.pts * packet.time_base * 1_000_000) + offset_us
        return TimedImage(packet.stream_index == self._depth_stream, time_us, image)


def _start_offset_us(container: av.container.InputContainer) -> int:
    """Device time of the recording's time zero."""
    try:
        return int(container.metadata.get("K4A_START_OFFSET_NS", "0")) // 1000
    except ValueError:
        return 0

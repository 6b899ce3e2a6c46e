"""A folder of frames as 16-bit PNG images, with the camera's geometry beside them."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.base import Camera
from pipeline.cameras.calibration import LensMask
from pipeline.errors import HandPoseError, SourceError
from pipeline.frame import DepthCamera, Frame, as_float

TIMESTAMPS = "timestamps.csv"
_FPS = 30  # where nothing tells the time
_LATEST_US = 10**16  # three centuries
_LARGEST_PX = 16384
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 26  # bytes up to and including the colour type


class FolderCamera(Camera):
    """Every frame of a folder, in the order of the numbers that name its images.

    The folder holds `depth_image/NNNNNNN.png`, `ir_image/NNNNNNN.png` (may lack all images or some) and
    `camera.json` with the keys width, height, fx, fy, cx, cy (px), distortion (OpenCV's order, or null) and
    depth_unit_mm (what one step of the depth images means), and metric_radius if it is known how far the
    lens model holds (see `DepthCamera`). Depths beyond 65535 mm are clipped to that. `timestamps.csv` may
    tell the device time of each image, "NNNNNNN,microseconds" in a line; without it there are 30 frames a
    second.

    Args:
        path: the folder.

    Raises:
        SourceError: it holds no frame that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._depth_paths = self._numbered_images()
        self.camera, depth_unit_mm = read_camera(self.path / "camera.json")
        self._measured = LensMask(self.camera)
        self._to_mm = None if depth_unit_mm == 1 else _millimetre_table(depth_unit_mm)
        self._stamps = _times(self._depth_paths, read_stamps(self.path))
        self._index = 0
        try:
            self._next: Frame | None = self.read(0)
        except HandPoseError as error:
            raise SourceError(str(error)) from None

    def __next__(self) -> Frame:
        if self._index >= len(self._depth_paths):
            raise StopIteration
        frame = self._next or self.read(self._index)
        self._next = None
        self._index += 1
        return frame

    def __length_hint__(self) -> int:
        """Frames that are left."""
        return len(self._depth_paths) - self._index

    def close(self) -> None:
        self._index = len(self._depth_paths)
        self._next = None

    @property
    def names(self) -> list[str]:
        """File names of the images, in the order of the frames."""
        return [path.name for path in self._depth_paths]

    def _numbered_images(self) -> list[Path]:
        folder = self.path / "depth_image"
        try:
            names = [entry for entry in folder.iterdir() if entry.suffix.lower() == ".png"]
        except OSError as error:
            raise SourceError(
                f"{self.path} has no readable depth_image folder ({error.strerror}): give a folder with "
                "depth_image/0000000.png ... and camera.json, or a recording"
            ) from None
        images = [entry for entry in names if entry.stem.isascii() and entry.stem.isdigit()]
        if not images:
            raise SourceError(f"{folder} holds no images named like 0000000.png: nothing to read")
        return sorted(images, key=lambda entry: (int(entry.stem), entry.name))

    def read(self, index: int) -> Frame:
        """The frame of that number, whichever comes next.

        Raises:
            HandPoseError: it cannot be read; the source then ends.
        """
        depth_path = self._depth_paths[index]
        ir_path = self.path / "ir_image" / depth_path.name
        try:
            depth = _read_png(depth_path, self.camera)
            ir = _read_png(ir_path, self.camera) if ir_path.exists() else None
        except ValueError as error:
            # The next call would only repeat this one: the source ends here.
            self.close()
            raise HandPoseError(
                f"{error} (frames read before: {index}): write 16-bit gray PNGs of the size in camera.json"
            ) from None
        if self._to_mm is not None:
            depth = self._to_mm[depth]
        return Frame(self._measured(depth), ir, self.camera, self._stamps[index], index)


def _millimetre_table(depth_unit_mm: float) -> NDArray[np.uint16]:
    """(65536,) millimetres of each stored value, clipped instead of wrapped around."""
    return np.minimum(np.rint(np.arange(65536) * depth_unit_mm), 65535).astype(np.uint16)


def read_camera(path: Path) -> tuple[DepthCamera, float]:
    """Geometry and depth unit (mm) from camera.json.

    Raises:
        SourceError: it cannot be used.
    """
    try:
        fields = json.loads(path.read_bytes())
        if not isinstance(fields, dict):
            raise ValueError("it is not an object with keys")
        unit = _number(fields, "depth_unit_mm")
        if unit <= 0:
            raise ValueError(f"depth_unit_mm must be positive, found {unit}")
        width, height = _number(fields, "width"), _number(fields, "height")
        if not (width.is_integer() and height.is_integer()):
            raise ValueError(f"width and height must be whole, found {width} and {height}")
        if max(width, height) > _LARGEST_PX:
            raise ValueError(f"width and height are {_LARGEST_PX} px at most, found {width} and {height}")
        intrinsics = {name: _number(fields, name) for name in ("fx", "fy", "cx", "cy")}
        distortion = _distortion(fields.get("distortion"))
        radius = None if fields.get("metric_radius") is None else _number(fields, "metric_radius")
        return DepthCamera(
            int(width), int(height), **intrinsics, distortion=distortion, metric_radius=radius
        ), unit
    except OSError as error:
        reason = error.strerror
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise SourceError(
        f"{path} cannot be used ({reason}): it needs width, height, fx, fy, cx, cy, distortion, depth_unit_mm"
    )


def _times(images: list[Path], stamps: dict[int, int]) -> list[int]:
    """Microseconds of each image: those that are told, else 1/30 s after the one before."""
    times: list[int] = []
    for index, image in enumerate(images):
        usual = times[-1] + 1_000_000 // _FPS if stamps and times else index * 1_000_000 // _FPS
        times.append(stamps.get(int(image.stem), usual))
    return times


def read_stamps(folder: Path) -> dict[int, int]:
    """Microseconds by the number of the image; empty without the file.

    Raises:
        SourceError: it cannot be read.
    """
    path = folder / TIMESTAMPS
    try:
        lines = whole_lines(path.read_text(encoding="ascii")).splitlines()
        pairs = [line.split(",") for line in lines if line.strip()]
        stamps = {int(number): int(stamp) for number, stamp in pairs}
        if any(not 0 <= stamp < _LATEST_US for stamp in stamps.values()):
            raise ValueError("a time is negative or beyond three centuries")
        return stamps
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be used ({error}): write 0000000,33333 in a line, or remove it"
        ) from None


def whole_lines(stamps: str) -> str:
    """Without a last line that was cut off, as by a full disk."""
    last = stamps.rpartition("\n")[2]
    return stamps if not last or re.fullmatch(r"\d+,\d+", last) else stamps[: -len(last)]


def _number(fields: dict[str, Any], name: str) -> float:
    if name not in fields:
        raise ValueError(f"it lacks {name}")
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, found {str(value)[:40]!r}")
    number = as_float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite")
    return number


def _distortion(values: object) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list):
        raise ValueError("distortion must be null or a list of 4, 5 or 8 numbers")
    named = {f"distortion[{k}]": value for k, value in enumerate(values)}
    return tuple(_number(named, name) for name in named)


def _read_png(path: Path, camera: DepthCamera) -> NDArray[np.uint16]:
    """One 16-bit image of the camera's size.

    Raises:
        ValueError: anything else; the text names the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if not data.startswith(_PNG_SIGNATURE) or len(data) < _IHDR_END:
        raise ValueError(f"{path} is not a PNG image")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if (bits, colour) != (16, 0):
        raise ValueError(f"{path} is not a 16-bit gray image ({bits} bits, PNG colour type {colour})")
    if (width, height) != (camera.width, camera.height):
        raise ValueError(
            f"{path} has {width}x{height} px, but camera.json says {camera.width}x{camera.height}"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint16 or image.shape != (height, width):
        raise ValueError(f"{path} is broken")
    return image.astype(np.uint16, copy=False)

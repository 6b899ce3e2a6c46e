"""Azure Kinect recordings for tests, written by FFmpeg's muxer."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

# cx, cy, fx, fy, k1..k6, codx, cody, p2, p1 of a lens like the real one
LENS = [0.51, 0.52, 0.49, 0.49, 0.55, -0.02, -0.003, 0.89, 0.09, -0.01, 0, 0, -7e-5, 2e-5]


def calibration_json(lens: Sequence[float] = LENS, radius: float = 1.74) -> dict[str, Any]:
    """What the camera stores: a colour camera that must not be taken, and the depth camera."""
    colour = {"Location": "CALIBRATION_CameraLocationPV0", "Intrinsics": {"ModelParameters": [0.5] * 14}}
    depth = {
        "Location": "CALIBRATION_CameraLocationD0",
        "Intrinsics": {"ModelParameters": list(lens)},
        "MetricRadius": radius,
    }
    return {"CalibrationInformation": {"Cameras": [colour, depth]}}


@dataclass
class Recording:
    """A recording to be written: images are (timestamp in us, (H, W) uint16)."""

    depth: list[tuple[int, NDArray[np.uint16]]]
    ir: list[tuple[int, NDArray[np.uint16]]] | None = None
    mode: str = "NFOV_2X2BINNED"
    size: tuple[int, int] = (320, 288)
    calibration: bytes | None = field(default_factory=lambda: json.dumps(calibration_json()).encode())
    start_offset_ns: str = "0"
    fourcc: bytes = b"b16g"
    titles: tuple[str, str] = ("DEPTH", "IR")

    def write(self, path: Path) -> Path:
        with av.open(str(path), "w", format="matroska", options={"allow_raw_vfw": "1"}) as container:
            container.metadata["K4A_START_OFFSET_NS"] = self.start_offset_ns
            streams = [self._add_track(container, self.titles[0], {"K4A_DEPTH_MODE": self.mode})]
            if self.ir is not None:
                streams.append(self._add_track(container, self.titles[1], {"K4A_IR_MODE": "ACTIVE"}))
            if self.calibration is not None:
                container.add_attachment("calibration.json", "application/octet-stream", self.calibration)
            images = [(time, 0, image) for time, image in self.depth]
            images += [(time, 1, image) for time, image in self.ir or []]
            container.start_encoding()
            for time, number, image in sorted(images, key=lambda item: item[:2]):
                packet = av.Packet(image.astype(">u2").tobytes())
                packet.stream = streams[number]
                packet.time_base = Fraction(1, 1_000_000)
                packet.pts = packet.dts = time
                packet.is_keyframe = True
                container.mux(packet)
        path.write_bytes(self._with_fourcc(path.read_bytes()))
        return path

    def _with_fourcc(self, data: bytes) -> bytes:
        """The muxer leaves the pixel format out of the tracks' BITMAPINFOHEADER: put it in."""
        width, height = self.size
        written = struct.pack("<IiiHH4x", 40, width, -height, 1, 16)
        wanted = struct.pack("<IiiHH4s", 40, width, height, 1, 16, self.fourcc)
        return data.replace(written, wanted)

    def _add_track(self, container: Any, title: str, metadata: dict[str, str]) -> Any:
        stream = container.add_stream("rawvideo", rate=30)
        stream.width, stream.height = self.size
        stream.pix_fmt = "gray16be"
        stream.metadata.update(title=title, **metadata)
        return stream


def numbered_images(count: int, size: tuple[int, int] = (320, 288), offset: int = 0) -> list[Any]:
    """`count` images at 30 Hz, each recognisable by its first pixel."""
    generator = np.random.default_rng(offset)
    images = []
    for k in range(count):
        image = generator.integers(0, 65536, (size[1], size[0])).astype(np.uint16)
        image[0, 0] = offset + k
        images.append((k * 33_333, image))
    return images

"""Networks whose answers are known, and a frame to show them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.frame import DepthCamera, Frame
from pipeline.networks.a2j import anchor_grid
from pipeline.networks.contracts import DetectorInput, HandInput
from tests.strategies import KINECT_LENS

CAMERA = DepthCamera(640, 576, 504.6, 504.7, 332.8, 348.8, KINECT_LENS)
DETECTOR = DetectorInput(
    size=64,
    depth_max_mm=4000.0,
    ir_max=3000.0,
    ir_sqrt=True,
    offset_scale=2.0,
    classes=("left", "right"),
)
SIZE = 64
HANDS = HandInput(
    size=SIZE,
    crop_mm=260.0,
    depth_range_mm=150.0,
    outside="far",
    std=150.0,
    depth_unit_mm=260 / SIZE,
    handedness="right",
)
BOXES = np.array([[200, 150, 280, 230], [400, 300, 460, 360]], np.float32)
TIPS = np.array([[250, 180], [425, 320]])  # px: the nearest points; right and left of the middle


class FakeEngine:
    """A network whose answer a test chooses, and which remembers what it was asked."""

    def __init__(self) -> None:
        self.name = "fake"
        self.batches: list[NDArray[np.float32]] = []

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        self.batches.append(batch)
        return self.answer(batch)

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        raise NotImplementedError


class FakeDetector(FakeEngine):
    """Sees boxes (x0, y0, x1, y1 px of its input, score, class)."""

    def __init__(self, *boxes: tuple[float, float, float, float, float, int]) -> None:
        super().__init__()
        self.boxes = boxes

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        out = np.zeros((1, 6, SIZE // 2, SIZE // 2), np.float32)
        for x0, y0, x1, y1, score, kind in self.boxes:
            u, v = (x0 + x1) / 2, (y0 + y1) / 2
            row, column = np.clip([int(v) // 2, int(u) // 2], 0, SIZE // 2 - 1)
            out[0, kind, row, column] = score
            out[0, 2:, row, column] = y1 - y0, x1 - x0, v / 2 - row, u / 2 - column
        return (out,)


class NearestPoint(FakeEngine):
    """Puts all joints on the crop's nearest pixel, joint k 10 + k px lower; sure of right hands only.

    A hand is a right one if its nearest pixel lies right of the crop's middle.
    """

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        anchors = anchor_grid(SIZE).numpy()
        votes, offsets, depths = [], [], []
        for image in batch[:, 0]:
            row, column = np.unravel_index(np.argmin(image), image.shape)
            target = np.array([row, column]) + np.stack([10 + np.arange(21), np.zeros(21)], 1)  # (21, 2)
            if column < SIZE / 2:
                target = target[None] + np.where(np.arange(len(anchors)) % 2, 9, -9)[:, None, None]
            votes.append(np.zeros((len(anchors), 21)))
            offsets.append(target - anchors[:, None])
            depths.append(np.full((len(anchors), 21), image.min() * 150 / (260 / SIZE)))
        return tuple(np.stack(x).astype(np.float32) for x in (votes, offsets, depths))


def two_squares() -> Frame:
    """Two squares before a wall, at BOXES, each with a nearest pixel, at TIPS."""
    depth = np.full((576, 640), 2500, np.uint16)
    for (x0, y0, x1, y1), (u, v), z in zip(BOXES.astype(int), TIPS, (700, 1400), strict=True):
        depth[y0:y1, x0:x1] = z
        depth[v - 1 : v + 2, u - 1 : u + 2] = z - 50
    return Frame(depth, depth // 2, CAMERA, timestamp_us=7, index=3)

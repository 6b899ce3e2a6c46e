"""Hands and a pipeline that finds them everywhere, for tests of what comes after the networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.frame import DepthCamera, Frame
from pipeline.hand import HAND_21, Hand, Handedness
from pipeline.result import Timings

CAMERA = DepthCamera(width=320, height=288, fx=252.0, fy=252.0, cx=160.0, cy=144.0)


def flat_frame(index: int = 0, camera: DepthCamera = CAMERA, depth: int = 900, ir: int | None = 800) -> Frame:
    """A wall without anything before it."""
    shape = (camera.height, camera.width)
    brightness = None if ir is None else np.full(shape, ir, np.uint16)
    return Frame(
        np.full(shape, depth, np.uint16), brightness, camera, timestamp_us=33_333 * index, index=index
    )


def open_hand(
    centre: tuple[float, float, float] = (0.0, 0.0, 600.0),
    handedness: Handedness | None = "right",
    number: int | None = 7,
    camera: DepthCamera = CAMERA,
) -> Hand:
    """Five straight fingers that spread from a wrist 60 mm below `centre` (mm in the camera's frame)."""
    joints = [(0.0, 0.0, 0.0)]
    for finger in range(5):
        angle = np.radians(25.0 * (finger - 2))
        joints += [(60 * k / 2 * np.sin(angle), -60 * k / 2 * np.cos(angle), 4.0 * k) for k in range(1, 5)]
    xyz = np.array(joints) + centre + np.array([0, 60.0, 0])
    uvd = camera.project(xyz)
    box = np.concatenate([uvd[:, :2].min(axis=0) - 5, uvd[:, :2].max(axis=0) + 5])
    return Hand(
        id=number,
        box=box.astype(np.float32),
        score=0.96875,
        handedness=handedness,
        joints_uvd=uvd.astype(np.float32),
        joints_xyz=xyz.astype(np.float32),
        confidence=np.linspace(1, 0, 21).astype(np.float32),
        joint_names=HAND_21.joint_names,
    )


class ScriptedPose:
    """Stands in for HandPosePipeline: the same hands in every frame, at once."""

    skeleton = HAND_21
    engine_name = "scripted"
    timings = Timings(detect_ms=2.0, pose_ms=1.0, total_ms=3.5)
    track = smooth = True

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __call__(self, frame: Frame) -> list[Hand]:
        return [open_hand(camera=frame.camera)]

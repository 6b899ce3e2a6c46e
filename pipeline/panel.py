"""The hands in 3D from a second viewpoint, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.drawing import (
    BACKGROUND,
    Colour,
    Image,
    dimmed,
    draw_disc,
    draw_line,
    draw_text,
    finger_colour,
    fixed_point,
)
from pipeline.hand import Hand, Skeleton

GRID_MM = 100.0
GRID_COLOUR: Colour = (72, 66, 60)
SHADOW_COLOUR: Colour = (12, 10, 9)
SCALE_COLOUR: Colour = (170, 165, 160)

_SMALLEST_RADIUS_MM = 130.0  # a single hand fills the panel, a fist does not fill it more
_FOLLOW_S = 0.4  # time constant with which the viewpoint follows the hands
_SWING_DEG, _SWING_S = 35.0, 12.0  # the viewpoint swings this far to both sides of straight behind the camera
_LOOK_DOWN_DEG = 22.0
_ROOM_MM = 10_000.0  # no joint is further away
_DISTANCE = 4.0  # of the eye from the centre, in radii


@dataclass(frozen=True)
class Viewpoint:
    """An eye that looks at the hands.

    Args:
        centre: the point it looks at, mm in the depth camera's frame.
        radius: of the sphere around it that fills the panel, mm.
        time: of its slow swing, seconds.
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 600.0)
    radius: float = 250.0
    time: float = 0.0

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) from the camera's frame to the eye's, both x right, y down, z forward."""
        yaw = math.radians(_SWING_DEG * math.sin(2 * math.pi * self.time / _SWING_S + math.pi / 4))
        pitch = math.radians(_LOOK_DOWN_DEG)
        turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
        tilt = np.array(
            [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
        )
        return tilt @ turn

    @property
    def floor(self) -> float:
        """Height (y, mm) of the ground below the hands."""
        return self.centre[1] + 0.8 * self.radius


def follow(view: Viewpoint | None, hands: Sequence[Hand], seconds: float) -> Viewpoint:
    """The viewpoint for the next frame: eased towards the hands, at once where there was none.

    Args:
        view: that of the last frame, or None.
        hands: in the next frame; with none of them the viewpoint stays.
        seconds: between the two frames.
    """
    moved = replace(view or Viewpoint(), time=(view.time if view else 0.0) + seconds)
    if not hands:
        return moved if view else Viewpoint()
    points = _bounded(np.concatenate([hand.joints_xyz for hand in hands]))
    low, high = points.min(axis=0), points.max(axis=0)
    radius = max(0.6 * float(np.linalg.norm(high - low)), _SMALLEST_RADIUS_MM)
    weight = 1.0 if view is None else 1 - math.exp(-seconds / _FOLLOW_S)
    x, y, z = (1 - weight) * np.asarray(moved.centre) + weight * (low + high) / 2
    return replace(
        moved,
        centre=(float(x), float(y), float(z)),
        radius=(1 - weight) * moved.radius + weight * radius,
    )


def panel_points(xyz: NDArray[np.floating], view: Viewpoint, width: int, height: int) -> NDArray[np.float64]:
    """Where points in space lie in the panel.

    Args:
        xyz: (..., 3) mm in the depth camera's frame.
        view: the eye.
        width, height: of the panel, px.

    Returns:
        (..., 3) column px, row px, px for one mm at that depth.
    """
    eye = (_bounded(xyz) - view.centre) @ view.rotation.T
    distance = np.maximum(eye[..., 2] + _DISTANCE * view.radius, 0.1 * view.radius)
    focal = 0.5 * min(width, height) * _DISTANCE
    scale = focal / distance
    uv = eye[..., :2] * scale[..., None] + ((width - 1) / 2, (height - 1) / 2)
    return np.concatenate([uv, scale[..., None]], axis=-1)


def _bounded(xyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points within the room: nothing beyond it, not even NaN, may upset a picture."""
    return np.clip(np.nan_to_num(np.asarray(xyz, np.float64)), -_ROOM_MM, _ROOM_MM)


def draw_panel(hands: Sequence[Hand], skeleton: Skeleton, view: Viewpoint, width: int, height: int) -> Image:
    """The joints in 3D with true proportions above a ground grid.

    Returns:
        (height, width, 3).
    """
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    _draw_grid(image, view)
    for hand in hands:
        _draw_shadow(image, hand, skeleton, view)
    for hand in sorted(hands, key=lambda hand: -float(hand.joints_xyz[:, 2].mean())):  # far ones first
        _draw_hand(image, hand, skeleton, view)
    _draw_scale(image, view)
    if not hands:
        draw_text(image, "no hands", width // 2 - 40, height // 2)
    return image


def _draw_hand(image: Image, hand: Hand, skeleton: Skeleton, view: Viewpoint) -> None:
    """Bones and the joints at their ends, far ones first, thicker where they are near."""
    points = panel_points(hand.joints_xyz, view, image.shape[1], image.shape[0])
    fixed, scale, sure = fixed_point(points[:, :2]).tolist(), points[:, 2].tolist(), hand.confidence.tolist()
    for parent, child in sorted(skeleton.bones, key=lambda bone: scale[bone[1]]):
        colour = dimmed(finger_colour(skeleton, child), min(sure[parent], sure[child]))
        draw_line(image, fixed[parent], fixed[child], colour, min(max(round(6 * scale[child]), 2), 7))
        for joint in (parent, child):
            colour = dimmed(finger_colour(skeleton, joint), sure[joint])
            draw_disc(image, fixed[joint], min(max(4.5 * scale[joint], 2.5), 7), colour)


def _draw_shadow(image: Image, hand: Hand, skeleton: Skeleton, view: Viewpoint) -> None:
    ground = hand.joints_xyz.astype(np.float64)
    ground[:, 1] = view.floor
    fixed = fixed_point(panel_points(ground, view, image.shape[1], image.shape[0])[:, :2]).tolist()
    for parent, child in skeleton.bones:
        draw_line(image, fixed[parent], fixed[child], SHADOW_COLOUR, 3)


def _draw_grid(image: Image, view: Viewpoint) -> None:
    """Lines of the ground every 100 mm, fixed in space, so that the hands are seen to move over them."""
    low, high = (
        [GRID_MM * math.floor((middle + side * view.radius) / GRID_MM + 0.5) for middle in view.centre]
        for side in (-1.4, 1.4)
    )
    across = [[(x, view.floor, low[2]), (x, view.floor, high[2])] for x in _steps(low[0], high[0])]
    along = [[(low[0], view.floor, z), (high[0], view.floor, z)] for z in _steps(low[2], high[2])]
    points = panel_points(np.array(across + along), view, image.shape[1], image.shape[0])  # (lines, 2, 3)
    for start, end in fixed_point(points[..., :2]).tolist():
        draw_line(image, start, end, GRID_COLOUR, 1)


def _steps(low: float, high: float) -> list[float]:
    return np.arange(low, high + 1, GRID_MM).tolist()


def _draw_scale(image: Image, view: Viewpoint) -> None:
    """A bar as long as 100 mm at the hands' distance."""
    height, width = image.shape[:2]
    length = round(GRID_MM * 0.5 * min(width, height) / view.radius)
    left, bottom = 14, height - 16
    cv2.line(image, (left, bottom), (left + length, bottom), SCALE_COLOUR, 2)
    draw_text(image, f"{GRID_MM:.0f} mm", left, bottom - 8, 0.45)

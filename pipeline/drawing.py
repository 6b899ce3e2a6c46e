"""What the pipeline saw, as pictures: pure functions from frames and hands to BGR images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.frame import Frame
from pipeline.hand import Hand, Handedness, Skeleton
from pipeline.trails import Trail

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

PALM_COLOUR: Colour = (225, 225, 225)
FINGER_COLOURS: tuple[Colour, ...] = (  # BGR, thumb to pinky
    (60, 76, 255),
    (40, 190, 255),
    (90, 220, 80),
    (250, 180, 60),
    (255, 90, 220),
)
SIDE_COLOURS: dict[Handedness | None, Colour] = {
    "left": (255, 200, 90),
    "right": (90, 180, 255),
    None: (255, 255, 255),
}
TEXT_COLOUR: Colour = (235, 235, 235)
BACKGROUND: Colour = (28, 24, 22)
OUTLINE: Colour = (20, 20, 20)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # bits of sub-pixel position in OpenCV's drawing functions
_FARTHEST_PX = 30000.0  # coordinates beyond are clipped, OpenCV's fixed-point numbers overflow later
_LINE_HEIGHT = 26  # px of a line of text

HELP = (
    "q, Esc   quit",
    "space    pause",
    "d        depth / infrared",
    "3        3D panel",
    "s        screenshot",
    "t        tracking",
    "f        filter",
    "r        record / stop",
    "h        this help",
)


@dataclass(frozen=True)
class ViewOptions:
    """What a picture shows: depth instead of infrared, the 3D panel, the list of keys, a recording's sign."""

    depth: bool = False
    panel: bool = True
    help: bool = False
    recording: bool = False


@cache
def _ir_curve() -> Image:
    """(65536,) grey for each brightness: logarithmic, for a hand ten times nearer is 100 times brighter."""
    brightness = np.arange(65536)
    return np.round(255 * np.log1p(brightness / 16) / np.log1p(65535 / 16)).astype(np.uint8)


@cache
def _depth_colours() -> Image:
    """(65536, 3) colour for each depth in mm: warm near, cold far, steps of equal ratio, black for none."""
    nearest, farthest = 250.0, 4000.0
    depth = np.arange(65536).clip(nearest, farthest)
    grey = np.round(255 * np.log(farthest / depth) / np.log(farthest / nearest)).astype(np.uint8)
    colours = cv2.applyColorMap(grey[:, None], cv2.COLORMAP_TURBO)[:, 0]
    colours[0] = 0
    return colours


def infrared_picture(ir: NDArray[np.uint16]) -> Image:
    """(H, W) brightness to an (H, W, 3) picture in which near and far surfaces are both well exposed.

    A logarithmic curve, then contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems
    IV, 1994). It needs no memory of earlier frames.
    """
    grey = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(_ir_curve()[ir])
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def depth_picture(depth: NDArray[np.uint16]) -> Image:
    """(H, W) depth in mm to an (H, W, 3) picture: red is near, blue is far, black is not measured."""
    return _depth_colours()[depth]


def finger_colour(skeleton: Skeleton, joint: int) -> Colour:
    finger = skeleton.fingers[joint]
    return PALM_COLOUR if finger < 0 else FINGER_COLOURS[finger % len(FINGER_COLOURS)]


def dimmed(colour: Colour, confidence: float) -> Colour:
    """The colour, darker the less sure the joint is; 0 leaves a third of it."""
    weight = 1 / 3 + 2 / 3 * min(max(0.0, confidence), 1.0)  # this order makes 0 of NaN
    blue, green, red = (round(weight * channel) for channel in colour)
    return blue, green, red


def fixed_point(points: NDArray[np.floating]) -> NDArray[np.int32]:
    """Positions in px to OpenCV's fixed-point coordinates with `_SHIFT` fractional bits."""
    clipped = np.clip(np.nan_to_num(points), -_FARTHEST_PX, _FARTHEST_PX)
    return np.round(clipped * (1 << _SHIFT)).astype(np.int32)


def draw_line(image: Image, start: Sequence[int], end: Sequence[int], colour: Colour, thickness: int) -> None:
    """Draws between two fixed-point positions, smoothly."""
    cv2.line(image, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)


def draw_disc(image: Image, centre: Sequence[int], radius: float, colour: Colour) -> None:
    """Draws a filled disc at a fixed-point position; radius in px."""
    cv2.circle(image, centre, round(radius * (1 << _SHIFT)), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_text(
    image: Image, text: str, left: int, bottom: int, scale: float = 0.5, colour: Colour = TEXT_COLOUR
) -> None:
    """Draws a line of text; (left, bottom) px is where its base line begins."""
    cv2.putText(image, text, (left, bottom), _FONT, scale, colour, 1, cv2.LINE_AA)


def draw_label(image: Image, text: str, left: int, bottom: int, colour: Colour = TEXT_COLOUR) -> None:
    """Draws a line of text on a dark ground, moved as far as it must be to lie inside the image."""
    (width, height), below = cv2.getTextSize(text, _FONT, 0.5, 1)
    left = max(min(left, image.shape[1] - width - 4), 4)
    bottom = max(min(bottom, image.shape[0] - below - 4), height + 4)
    ground = (left - 4, bottom - height - 4), (left + width + 4, bottom + below)
    cv2.rectangle(image, *ground, OUTLINE, cv2.FILLED)
    draw_text(image, text, left, bottom, colour=colour)


def hand_label(hand: Hand) -> str:
    """For example "right 3  97%"."""
    names = [hand.handedness or "hand", *([] if hand.id is None else [str(hand.id)])]
    return f"{' '.join(names)}  {hand.score:.0%}"


def draw_skeleton(
    image: Image,
    points: NDArray[np.floating],
    confidence: NDArray[np.floating],
    skeleton: Skeleton,
    thickness: int = 2,
) -> None:
    """Draws bones and joints onto the image, each finger in its colour, dimmed by confidence.

    Args:
        image: (H, W, 3), drawn on.
        points: (J, 2) px.
        confidence: (J,) 0..1.
        skeleton: J joints.
        thickness: of the bones, px.
    """
    fixed = fixed_point(points).tolist()
    sure = confidence.tolist()
    for parent, child in skeleton.bones:
        draw_line(image, fixed[parent], fixed[child], OUTLINE, thickness + 2)
    for parent, child in skeleton.bones:
        colour = dimmed(finger_colour(skeleton, child), min(sure[parent], sure[child]))
        draw_line(image, fixed[parent], fixed[child], colour, thickness)
    for joint, centre in enumerate(fixed):
        draw_disc(image, centre, thickness + 2, OUTLINE)
        draw_disc(image, centre, thickness + 1, dimmed(finger_colour(skeleton, joint), sure[joint]))


def draw_hand(image: Image, hand: Hand, skeleton: Skeleton, scale: int = 1) -> None:
    """Draws a hand's box, label and skeleton onto an image that shows the frame `scale` times enlarged."""
    left, top, right, bottom = (fixed_point(hand.box * scale) >> _SHIFT).tolist()
    cv2.rectangle(image, (left, top), (right, bottom), SIDE_COLOURS[hand.handedness])
    points = (hand.joints_uvd[:, :2] + 0.5) * scale - 0.5
    draw_skeleton(image, points, hand.confidence, skeleton, thickness=2 if bottom - top > 60 else 1)
    draw_label(image, hand_label(hand), left + 4, top - 7, SIDE_COLOURS[hand.handedness])


def draw_trail(image: Image, trail: Trail, scale: int = 1) -> None:
    """Draws the way of a finger, brighter the later, onto an image that shows the frame enlarged."""
    side, way = trail
    fixed = fixed_point((way + 0.5) * scale - 0.5).tolist()
    for number, (start, end) in enumerate(pairwise(fixed), 1):
        draw_line(image, start, end, dimmed(SIDE_COLOURS[side], number / len(fixed)), 2)


def enlargement(frame: Frame) -> int:
    """How many times a frame is enlarged to be seen well: small depth modes are doubled or more."""
    return max(1, round(576 / frame.camera.height))


def overlay(
    frame: Frame,
    hands: Sequence[Hand],
    skeleton: Skeleton,
    depth: bool = False,
    trails: Iterable[Trail] = (),
) -> Image:
    """The frame's infrared (or depth) image with all hands and trails drawn on it.

    Returns:
        (s H, s W, 3), s = `enlargement(frame)`.
    """
    image = depth_picture(frame.depth) if depth or frame.ir is None else infrared_picture(frame.ir)
    scale = enlargement(frame)
    if scale > 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale), np.uint8)
    for trail in trails:
        draw_trail(image, trail, scale)
    for hand in hands:
        draw_hand(image, hand, skeleton, scale)
    return image


def draw_help(image: Image) -> None:
    """Draws the list of keys onto the image."""
    left, top, width = 16, 16, 250
    shade = image[top : top + _LINE_HEIGHT * len(HELP) + 14, left : left + width]
    shade[:] = shade // 4
    for number, line in enumerate(HELP):
        key, meaning = line.split("  ", 1)
        draw_text(image, key, left + 12, top + _LINE_HEIGHT * (number + 1))
        draw_text(image, meaning.strip(), left + 90, top + _LINE_HEIGHT * (number + 1))


def draw_recording(image: Image) -> None:
    """Draws the sign of a running recording into the upper right corner."""
    cv2.circle(image, (image.shape[1] - 22, 22), 9, (0, 0, 230), cv2.FILLED, cv2.LINE_AA)


def status_bar(width: int, text: str) -> Image:
    """(28, width, 3) strip with a line of text."""
    bar = np.full((_LINE_HEIGHT + 2, width, 3), BACKGROUND, np.uint8)
    draw_text(bar, text, 10, _LINE_HEIGHT - 7, 0.45)
    return bar

"""Many small pictures on one sheet: what a network sees and what it answers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.hand import Handedness, Skeleton

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
FINGER_COLOURS: tuple[Colour, ...] = (  # BGR, thumb to little finger
    (60, 60, 255),
    (0, 165, 255),
    (60, 220, 60),
    (255, 200, 0),
    (255, 80, 200),
)
PALM: Colour = (200, 200, 200)
TRUTH: Colour = (255, 255, 255)
SIDE_COLOURS: dict[Handedness | None, Colour] = {"left": (255, 160, 0), "right": (0, 140, 255), None: PALM}


def grey(values: NDArray[np.floating], low: float, high: float, side: int) -> Image:
    """(S, S) values as a (side, side, 3) picture, `low` bright and `high` dark."""
    level = np.clip((high - values) / (high - low) * 235 + 20, 20, 255).astype(np.uint8)
    resized = cv2.resize(level, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(cv2.cvtColor(resized, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def draw_skeleton(
    image: Image,
    uv: NDArray[np.floating],
    skeleton: Skeleton,
    colour: Colour | None = None,
    thickness: int = 1,
) -> None:
    """Draws (J, 2) column, row px in one colour, or each finger in its own."""
    points = np.rint(np.nan_to_num(uv) * 8).astype(int)
    for parent, child in skeleton.bones:
        finger = skeleton.fingers[child]
        shade = colour or (FINGER_COLOURS[finger] if finger >= 0 else PALM)
        cv2.line(image, points[parent].tolist(), points[child].tolist(), shade, thickness, cv2.LINE_AA, 3)


def draw_box(
    image: Image, box: NDArray[np.floating], colour: Colour, text: str = "", thickness: int = 1
) -> None:
    """Draws x0 y0 x1 y1 px with a short text above."""
    x0, y0, x1, y1 = (int(v) for v in np.rint(np.clip(np.nan_to_num(box), -9999, 9999)))
    cv2.rectangle(image, (x0, y0), (x1, y1), colour, thickness)
    if text:
        cv2.putText(image, text, (x0, max(10, y0 - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


def sheet(pictures: Sequence[Image], columns: int) -> Image:
    """Pictures of one size in rows; the last row is filled up with black."""
    blank = np.zeros_like(pictures[0])
    rows = -(-len(pictures) // columns)
    filled = list(pictures) + [blank] * (rows * columns - len(pictures))
    return np.vstack([np.hstack(filled[r * columns : (r + 1) * columns]) for r in range(rows)])

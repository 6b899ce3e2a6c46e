"""Many small pictures on one sheet: what a network sees and what it answers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.drawing import Colour, Image, draw_line, finger_colour, fixed_point
from pipeline.hand import Handedness, Skeleton

TRUTH: Colour = (255, 255, 255)
SIDE_COLOURS: dict[Handedness | None, Colour] = {
    "left": (255, 160, 0),
    "right": (0, 140, 255),
    None: (200, 200, 200),
}


def grey(values: NDArray[np.floating], low: float, high: float, side: int) -> Image:
    """(S, S) values as a (side, side, 3) picture, `low` bright and `high` dark."""
    level = np.clip((high - values) / (high - low) * 235 + 20, 20, 255).astype(np.uint8)
    resized = cv2.resize(level, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(cv2.cvtColor(resized, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def draw_bones(
    image: Image, points: NDArray[np.floating], skeleton: Skeleton, colour: Colour | None = None
) -> None:
    """Draws thin lines between (J, 2) column, row px, in one colour or each finger in its own."""
    places = fixed_point(points).tolist()
    for parent, child in skeleton.bones:
        draw_line(image, places[parent], places[child], colour or finger_colour(skeleton, child), 1)


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

"""Depth and infrared images that belong together, by their timestamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint16]

_TOLERANCE_US = 16_000  # half a frame period at the highest rate
_LONGEST_WAIT = 30  # frames that a depth image waits for an infrared image that lags behind


@dataclass(frozen=True, eq=False)
class TimedImage:
    """One image of one track.

    Args:
        is_depth: depth, or infrared.
        timestamp_us: device time, microseconds.
        image: (H, W) uint16.
    """

    is_depth: bool
    timestamp_us: int
    image: Image


def pair_by_time(images: Iterable[TimedImage]) -> Iterator[tuple[TimedImage, Image | None]]:
    """Every depth image in order, each with the infrared image of its time, or None if there is none.

    Args:
        images: in order of time within each of the two kinds, interleaved in any way.
    """
    depths: deque[TimedImage] = deque()
    irs: deque[TimedImage] = deque(maxlen=2 * _LONGEST_WAIT)
    for image in images:
        (depths if image.is_depth else irs).append(image)
        yield from _ready(depths, irs, _LONGEST_WAIT)
    yield from _ready(depths, irs, 0)


def _ready(
    depths: deque[TimedImage], irs: deque[TimedImage], longest_wait: int
) -> Iterator[tuple[TimedImage, Image | None]]:
    """Take out the depth images whose partner is known; the others stay, `longest_wait` at most."""
    while depths:
        time = depths[0].timestamp_us
        while irs and irs[0].timestamp_us < time - _TOLERANCE_US:
            irs.popleft()
        if irs and irs[0].timestamp_us <= time + _TOLERANCE_US:
            yield depths.popleft(), irs.popleft().image
        elif irs or len(depths) > longest_wait:
            yield depths.popleft(), None
        else:
            return

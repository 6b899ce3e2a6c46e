"""One picture of a result: the overlay, the 3D panel beside it, a line of figures below."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from pipeline.drawing import Image, ViewOptions, draw_help, draw_recording, overlay, status_bar
from pipeline.frame import Frame
from pipeline.hand import Hand, Skeleton
from pipeline.panel import Viewpoint, draw_panel, follow
from pipeline.result import Result
from pipeline.trails import Trail, Trails

_PANEL_SHARE = 0.72  # width of the panel, of the image's height
_FRAME_S = 1 / 30  # between frames whose timestamps do not tell


class FrameRate:
    """Frames a second over the last second or so."""

    def __init__(self, frames: int = 30) -> None:
        self._moments: deque[float] = deque(maxlen=frames + 1)

    def tick(self) -> None:
        self._moments.append(time.perf_counter())

    def __str__(self) -> str:
        if len(self._moments) < 2:
            return "-- fps"
        seconds = self._moments[-1] - self._moments[0]
        return f"{(len(self._moments) - 1) / max(seconds, 1e-6):.1f} fps"


def seconds_between(last_us: int | None, timestamp_us: int) -> float:
    """Seconds by the camera's clock; 1/30 at the first frame, and where timestamps stand still or jump."""
    seconds = 0.0 if last_us is None else (timestamp_us - last_us) / 1e6
    return seconds if 0 < seconds <= 1 else _FRAME_S


def compose(
    frame: Frame,
    hands: Sequence[Hand],
    skeleton: Skeleton,
    options: ViewOptions,
    viewpoint: Viewpoint,
    status: str | None = None,
    trails: Iterable[Trail] = (),
) -> Image:
    """The whole picture, with a line of figures below it if there is a status.

    Returns:
        (h, w, 3): its size does not depend on the hands or their joints; both sides are even.
    """
    image = overlay(frame, hands, skeleton, options.depth, trails)
    if options.help:
        draw_help(image)
    if options.recording:
        draw_recording(image)
    if options.panel:
        height = image.shape[0]
        panel = draw_panel(hands, skeleton, viewpoint, round(_PANEL_SHARE * height), height)
        image = np.concatenate([image, panel], axis=1)
    if status is not None:
        image = np.concatenate([image, status_bar(image.shape[1], status)])
    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    if odd_rows or odd_columns:  # video encoders want even sizes
        image = np.pad(image, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
    return image


class Switches(Protocol):
    """Whether hands are tracked from frame to frame, and whether their joints are filtered then."""

    track: bool
    smooth: bool


class View:
    """Makes pictures of successive results: remembers where the 3D panel looks from, and the frame rate.

    Args:
        skeleton: of the hands.
        engine: its name stands in the line of figures.
        switches: of what makes the results; how they are set stands there as well.

    Attributes:
        seconds: between the last two frames, by the camera's clock.
    """

    def __init__(self, skeleton: Skeleton, engine: str, switches: Switches) -> None:
        self.seconds = _FRAME_S
        self._skeleton = skeleton
        self._engine = engine
        self._switches = switches
        self._rate = FrameRate()
        self._last_us: int | None = None
        self._viewpoint: Viewpoint | None = None
        self._trails = Trails(skeleton)
        self._drawn: tuple[tuple[Result, ViewOptions, str], Image] | None = None

    def advance(self, result: Result) -> None:
        """To be called once for each result, before its pictures are made."""
        timestamp_us = result.frame.timestamp_us
        self.seconds = seconds_between(self._last_us, timestamp_us)
        self._last_us = timestamp_us
        self._rate.tick()
        self._viewpoint = follow(self._viewpoint, result.hands, self.seconds)
        self._trails.advance(result.hands)

    def picture(self, result: Result, options: ViewOptions) -> Image:
        """The result that was last advanced to; drawn once for all who ask alike: they leave it as it is.

        Returns:
            (h, w, 3): see `compose`.
        """
        asked = result, options, self._mode()
        if self._drawn is None or self._drawn[0] != asked:
            self._drawn = asked, self._draw(*asked)
        return self._drawn[1]

    def _mode(self) -> str:
        switches = self._switches
        return "tracking" + ", filter" * switches.smooth if switches.track else "each frame for itself"

    def _draw(self, result: Result, options: ViewOptions, mode: str) -> Image:
        times = result.times
        status = (
            f"{self._rate}   detect {times.detect_ms:.1f}  pose {times.pose_ms:.1f}  "
            f"total {times.total_ms:.1f} ms   {self._engine}   "
            f"{'depth' if options.depth else 'infrared'}   {mode}"
        )
        return compose(
            result.frame,
            result.hands,
            self._skeleton,
            options,
            self._viewpoint or Viewpoint(),
            status,
            self._trails,
        )

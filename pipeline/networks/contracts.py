"""What a set of weights expects at its input: stored with our checkpoints, assumed for the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.constants import CENTERNET_PEAK_WINDOW, CENTERNET_SCORE_THRESHOLD
from pipeline.hand import HAND_21, Handedness, Skeleton

DETECTOR_STEP_PX = 32  # sides of CenterNet's input are multiples of it


@dataclass(frozen=True)
class DetectorInput:
    """How a frame becomes CenterNet's input, and what its output channels mean.

    Args:
        size: side of the square input, px.
        channels: "fused" (depth, IR, their mean) or "depth" (depth three times).
        depth_max_mm: depths are clipped here before they are normalised; None leaves them.
        ir_max: brightnesses are clipped here; None leaves them.
        ir_sqrt: whether the square root of the IR image is taken, after clipping.
        size_scale: input pixels for one unit of the two size channels.
        offset_scale: input pixels for one unit of the two offset channels.
        classes: handedness of each heat map; (None,) for a detector that does not tell.
        score_threshold: cells below are no hands.
        peak_window: cells along a side of the square in which a peak is the largest score; odd.
    """

    size: int = 320
    channels: Literal["fused", "depth"] = "fused"
    depth_max_mm: float | None = None
    ir_max: float | None = None
    ir_sqrt: bool = False
    size_scale: float = 1.0
    offset_scale: float = 1.0
    classes: tuple[Handedness | None, ...] = (None,)
    score_threshold: float = CENTERNET_SCORE_THRESHOLD
    peak_window: int = CENTERNET_PEAK_WINDOW

    @property
    def measured(self) -> int:
        """How many of the three channels are measured: the first, or the first two; the rest follows."""
        return 2 if self.channels == "fused" else 1


@dataclass(frozen=True)
class HandInput:
    """How a hand becomes A2J's input, and what its output means.

    The crop is a square window around the hand's centre. Its side in the image is either that of a square
    of `crop_mm` facing the camera at the hand's depth, or, for weights trained on a fixed window,
    `window_px` pixels of a camera with focal length `window_fx`.

    Args:
        size: side of the square input, px.
        crop_mm: metric side of the crop, or None.
        window_px, window_fx: side of the fixed window in px and the focal length it belongs to, or None.
        depth_range_mm: depths further than this from the centre's count as outside.
        outside: what stands for them and for missing depth: "far" (+depth_range_mm, nearer ones clipped to
            -depth_range_mm), or "centre" (0).
        mean, std: the network sees (depth - centre depth - mean) / std, mm.
        depth_unit_mm: millimetres for one unit of the network's depth output.
        handedness: the only hand the network knows (the other is mirrored on its way in and back), or None.
        upright: whether the network reads a hand best when its palm points up in the crop: a first look at
            the hand as it is tells how far to turn the crop for the second.
        least_score: the network can tell hands from other things, and a hand below this score is none (see
            `pipeline.confirmation`); 0 leaves it to the detector.
        skeleton: the joints it predicts.
    """

    size: int = 176
    crop_mm: float | None = None
    window_px: float | None = None
    window_fx: float | None = None
    depth_range_mm: float = 180.0
    outside: Literal["far", "centre"] = "centre"
    mean: float = 0.0
    std: float = 1.0
    depth_unit_mm: float = 1.0
    handedness: Handedness | None = None
    upright: bool = False
    least_score: float = 0.0
    skeleton: Skeleton = HAND_21

"""Whether joints still lie on a hand: signs that a track has lost it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.constants import (
    TRACK_JUMP_MM,
    TRACK_LEAST_CONFIDENCE,
    TRACK_LEAST_PRESENCE,
    TRACK_LEAST_SUPPORT,
    TRACK_STRETCH,
    TRACK_SUPPORT_MM,
    TRACK_SURE_PRESENCE,
    TRACK_SURE_SUPPORT,
)

_AROUND_PX_MM = 8.0  # joints may lie this far beside the hand's outline
_OFFSETS = np.array([(u, v) for v in (-1, 0, 1) for u in (-1, 0, 1)], dtype=np.float64)


@dataclass(frozen=True)
class Quality:
    """How much one reading of a hand looks like the track's hand.

    Args:
        support: share of the joints on or behind a measured surface.
        confidence: mean of the joints', relative to the track's usual one.
        stretch: mean change of the bones' lengths against the track's usual ones, as a share.
        jump_mm: from where the hand should be.
        presence: log-odds that a hand is there, as the joint network says; None if it does not.
    """

    support: float
    confidence: float
    stretch: float
    jump_mm: float
    presence: float | None = None

    @property
    def empty(self) -> bool:
        """There is no hand at all."""
        return self.support < TRACK_LEAST_SUPPORT or self._present < TRACK_LEAST_PRESENCE

    @property
    def doubtful(self) -> bool:
        return (
            self.support < TRACK_SURE_SUPPORT
            or self.confidence < TRACK_LEAST_CONFIDENCE
            or self.stretch > TRACK_STRETCH
            or self.jump_mm > TRACK_JUMP_MM
            or self._present < TRACK_SURE_PRESENCE
        )

    @property
    def _present(self) -> float:
        return np.inf if self.presence is None else self.presence


def support(depth: NDArray[np.uint16], uvd: NDArray[np.floating], focal_px: float) -> float:
    """Share of the joints that do not float in the air.

    A joint is held up by a surface at its depth, or hidden by one before it. Joints outside the image or
    where nothing was measured are not.

    Args:
        depth: (H, W) mm, 0 = no measurement.
        uvd: (J, 3) px, px, mm.
        focal_px: of the depth image.
    """
    z = uvd[:, 2].clip(min=1.0)
    reach = (focal_px * _AROUND_PX_MM / z)[:, None, None]
    around = np.floor(uvd[:, None, :2] + reach * _OFFSETS + 0.5)  # (J, 9, 2)
    inside = np.all((around >= 0) & (around < depth.shape[::-1]), axis=2)
    column, row = np.where(inside[..., None], around, 0).astype(np.intp).transpose(2, 0, 1)
    surface = depth[row, column].astype(np.float64)
    surface[~inside | (surface == 0)] = np.inf
    return float((surface.min(axis=1) < uvd[:, 2] + TRACK_SUPPORT_MM).mean())


def bone_lengths(joints: NDArray[np.floating], bones: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """(B,) mm of joints (J, 3) mm."""
    ends = np.asarray(bones, dtype=np.intp).reshape(-1, 2)
    return np.linalg.norm(joints[ends[:, 1]] - joints[ends[:, 0]], axis=1)


def stretch(lengths: NDArray[np.floating], usual: NDArray[np.floating]) -> float:
    """Mean change of the lengths as a share of their mean; 0 for skeletons without bones."""
    if not lengths.size:
        return 0.0
    return float(np.abs(lengths - usual).mean() / max(float(usual.mean()), 1.0))

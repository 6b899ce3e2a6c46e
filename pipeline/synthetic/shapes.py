"""Sizes of hands, from a child of about eight years to a large man."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.synthetic.hand_rig import FOREARM, LEVELS, NUM_BONES, PALM
from pipeline.synthetic.sampling import Sampler


@dataclass(frozen=True, eq=False)
class HandShape:
    """Sizes of the bones relative to the mesh, a median adult (wrist to middle finger tip 190 mm).

    Args:
        length: (B, 22) along each bone.
        thickness: (B, 22) across it.
    """

    length: Tensor
    thickness: Tensor

    @classmethod
    def median(cls, count: int, device: torch.device | str = "cpu") -> HandShape:
        """`count` hands of the mesh's own size."""
        ones = torch.ones(count, NUM_BONES, device=device)
        return cls(ones, ones)


def sample_shapes(count: int, sampler: Sampler) -> HandShape:
    """Random hands: overall size, then palm, fingers, each finger and each bone of its own."""

    def factor(std: float, low: float, high: float, *shape: int) -> Tensor:
        return (1 + sampler.normal(count, *shape, std=std)).clamp(low, high)

    size = factor(0.085, 0.76, 1.22, 1)
    length = size * factor(0.015, 0.95, 1.05, NUM_BONES)
    thickness = size * factor(0.025, 0.94, 1.06, NUM_BONES)

    digits = torch.arange(1, FOREARM, device=sampler.device).view(5, LEVELS)
    phalanges = digits[:, 1:].reshape(-1)
    own_length, own_thickness = factor(0.03, 0.92, 1.08, 5, 1), factor(0.03, 0.92, 1.08, 5, 1)
    length[:, phalanges] *= factor(0.05, 0.88, 1.12, 1) * own_length.expand(-1, 5, LEVELS - 1).flatten(1)
    thickness[:, phalanges] *= factor(0.09, 0.8, 1.25, 1) * own_thickness.expand(-1, 5, LEVELS - 1).flatten(1)

    palm = torch.cat([digits.new_tensor([PALM]), digits[:, 0]])
    palm_length, palm_thickness = size * factor(0.04, 0.9, 1.1, 1), size * factor(0.06, 0.86, 1.16, 1)
    length[:, palm], thickness[:, palm] = palm_length, palm_thickness
    length[:, FOREARM:] = palm_length
    thickness[:, FOREARM:] = palm_thickness * factor(0.12, 0.85, 1.3, 1)
    return HandShape(length, thickness)

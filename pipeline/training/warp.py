"""Turning rendered crops about their middle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.hand import Skeleton


def palm_roll(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """By how far the palm is turned clockwise from pointing up in the image, rad.

    Args:
        joints: (N, J, 2 or more) column, row, ...
    """
    knuckles = joints[:, list(skeleton.knuckles), :2].mean(dim=1)
    right, down = (knuckles - joints[:, skeleton.root, :2]).unbind(-1)
    return torch.atan2(right, -down)


def rotation(angle: Tensor) -> Tensor:
    """(N,) rad to (N, 2, 2): turns (column, row) clockwise, as the image is seen."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).view(-1, 2, 2)


def sample_nearest(images: Tensor, linear: Tensor, shift: Tensor, size: int) -> Tensor:
    """Nearest-neighbour warp: output = linear (input - its middle) + shift, relative to the middle."""
    inverse = torch.linalg.inv(linear)
    unit = 2.0 / (images.shape[-1] - 1)  # of grid_sample's coordinates, for one px of the input
    translation = -(inverse @ shift[..., None]) * unit  # (N, 2, 1)
    theta = torch.cat([inverse * ((size - 1) / 2 * unit), translation], dim=-1)
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=True)
    # Outside the images lies zero: subtract what it stands for.
    return F.grid_sample(images - 1.0, grid, mode="nearest", align_corners=True) + 1.0

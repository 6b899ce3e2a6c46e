"""Exact augmentation of rendered hand crops: the labels follow the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class HandAugmentation:
    """How far crops are varied; all ranges are symmetric and uniform.

    Args:
        depth_range_mm: depth of one unit of the image.
        mm_per_px: of the given crops.
        roll: largest rotation in the image plane, rad.
        scale: largest relative change of the hand's size, in all three dimensions.
        shift_px: largest shift within the crop, px of the given crops.
        depth_mm: largest shift along the optical axis.
        noise_mm: largest standard deviation of the noise added to a crop.
        erase: share of the crops in which a rectangle is missing or covered.
    """

    depth_range_mm: float
    mm_per_px: float
    roll: float = math.pi
    scale: float = 0.1
    shift_px: float = 4.0
    depth_mm: float = 12.0
    noise_mm: float = 2.5
    erase: float = 0.3

    def __call__(
        self,
        images: Tensor,
        joints: Tensor,
        size: int,
        generator: torch.Generator,
        resolution: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Varies a batch; the middle of the crops stays in the middle, up to the shift.

        Args:
            images: (N, 1, R, R) in the "far" form of HandInput: 1 = missing or far.
            joints: (N, J, 3) column px, row px, depth relative to the centre in px.
            size: side of the result, px; what lies outside the given crop becomes far.
            generator: on the images' device.
            resolution: px of the result for one px of the given crops.

        Returns:
            (N, 1, size, size) and (N, J, 3), as given.
        """
        count, given = len(images), images.shape[-1]

        def uniform(limit: float, *shape: int) -> Tensor:
            return (torch.rand(count, *shape, generator=generator, device=images.device) * 2 - 1) * limit

        angle, scale, shift = (
            uniform(self.roll),
            1 + uniform(self.scale),
            uniform(self.shift_px * resolution, 2),
        )
        depth_shift, noise = uniform(self.depth_mm), uniform(self.noise_mm).abs()
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
        linear = rotation * (resolution * scale)[:, None, None]  # (N, 2, 2)

        moved = _sampled(images, linear, shift, size)
        speckle = torch.randn(moved.shape, generator=generator, device=images.device)
        depth = moved * _per_image(scale) + _per_image(depth_shift / self.depth_range_mm)
        depth = (depth + speckle * _per_image(noise / self.depth_range_mm)).clamp(-1.0, 1.0)
        varied = torch.where(moved < 1.0, depth, 1.0)
        varied = self._erased(varied, generator)

        uv = (joints[..., :2] - (given - 1) / 2) @ linear.transpose(1, 2) + shift[:, None] + (size - 1) / 2
        z = (
            joints[..., 2:] * scale[:, None, None] + depth_shift[:, None, None] / self.mm_per_px
        ) * resolution
        return varied, torch.cat([uv, z], dim=-1)

    def _erased(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Rectangles of a tenth to a third of the side, half of them missing, half covered by a plane."""
        count, side = len(images), images.shape[-1]
        draw = torch.rand(count, 7, generator=generator, device=images.device)
        chosen, missing = draw[:, 0] < self.erase, draw[:, 1] < 0.5
        extent = (0.1 + 0.23 * draw[:, 2:4]) * side
        first = draw[:, 4:6] * (side - extent)
        pixels = torch.arange(side, device=images.device)
        rows, columns = (
            (pixels >= first[:, k, None]) & (pixels < (first + extent)[:, k, None]) for k in (0, 1)
        )
        hit = (rows[:, :, None] & columns[:, None, :] & chosen[:, None, None])[:, None]  # (N, 1, S, S)
        return torch.where(hit, _per_image(torch.where(missing, 1.0, draw[:, 6] - 0.8)), images)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _sampled(images: Tensor, linear: Tensor, shift: Tensor, size: int) -> Tensor:
    """Nearest-neighbour warp: output = linear (input - its middle) + shift, relative to the middle."""
    inverse = torch.linalg.inv(linear)
    unit = 2.0 / (images.shape[-1] - 1)  # of grid_sample's coordinates, for one px of the input
    translation = -(inverse @ shift[..., None]) * unit  # (N, 2, 1)
    theta = torch.cat([inverse * ((size - 1) / 2 * unit), translation], dim=-1)
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=True)
    # Outside the images lies zero: subtract what it stands for.
    return F.grid_sample(images - 1.0, grid, mode="nearest", align_corners=True) + 1.0

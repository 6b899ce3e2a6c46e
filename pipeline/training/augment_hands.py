"""Exact augmentation of rendered hand crops: the labels follow the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.hand import HAND_21, Skeleton
from pipeline.training.tearing import lost_places, steepness
from pipeline.training.warp import palm_roll, rotation, sample_nearest

_STEEP_MM = 30.0  # of depth from a pixel to the next but one: such places are lost first
_COARSE, _FINE_PX = 5, 4  # cells of the noise along a crop, and px of the finer one's


@dataclass(frozen=True)
class HandAugmentation:
    """How far crops are varied; all ranges are symmetric and uniform.

    Args:
        depth_range_mm: depth of one unit of the image.
        mm_per_px: of the given crops.
        upright: share of the crops that are turned until the palm points up, as in a second look at a hand;
            the others are turned by up to `roll`.
        upright_std: by how far that second look's angle is off, rad.
        roll: rad.
        scale: largest relative change of the hand's size, in all three dimensions.
        shift_px: largest shift within the crop, px of the given crops.
        depth_mm: largest shift along the optical axis.
        noise_mm: largest standard deviation of the noise added to a crop.
        erase: share of the crops in which a rectangle is missing or covered.
        torn: share of the crops of which ragged parts are missing, as where structured light finds no match.
        skeleton: of the joints.
    """

    depth_range_mm: float
    mm_per_px: float
    upright: float = 0.0
    upright_std: float = 0.3
    roll: float = math.pi
    scale: float = 0.1
    shift_px: float = 4.0
    depth_mm: float = 12.0
    noise_mm: float = 2.5
    erase: float = 0.3
    torn: float = 0.2
    skeleton: Skeleton = HAND_21

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

        scale, shift = 1 + uniform(self.scale), uniform(self.shift_px * resolution, 2)
        off = torch.randn(count, generator=generator, device=images.device) * self.upright_std
        angle = torch.where(
            torch.rand(count, generator=generator, device=images.device) < self.upright,
            off - palm_roll(joints, self.skeleton),
            uniform(self.roll),
        )
        depth_shift, noise = uniform(self.depth_mm), uniform(self.noise_mm).abs()
        linear = rotation(angle) * (resolution * scale)[:, None, None]  # (N, 2, 2)

        moved = sample_nearest(images, linear, shift, size)
        speckle = torch.randn(moved.shape, generator=generator, device=images.device)
        depth = moved * _per_image(scale) + _per_image(depth_shift / self.depth_range_mm)
        depth = (depth + speckle * _per_image(noise / self.depth_range_mm)).clamp(-1.0, 1.0)
        varied = torch.where(moved < 1.0, depth, 1.0)
        varied = self._torn(self._erased(varied, generator), generator)

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

    def _torn(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loses ragged parts of some crops."""
        side = images.shape[-1]
        draw = torch.rand(len(images), generator=generator, device=images.device)
        chosen = (draw < self.torn).nonzero().squeeze(1)
        if not len(chosen):
            return images
        whole = images[chosen, 0]
        steep = steepness(whole, _STEEP_MM / self.depth_range_mm)
        lost = lost_places(steep, _COARSE, side // _FINE_PX, generator)
        return images.index_copy(0, chosen, torch.where(lost, 1.0, whole)[:, None])


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]

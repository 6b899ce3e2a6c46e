"""Depth of simple shapes along the rays of a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NEAR = 0.1  # metres: nothing nearer is seen


@dataclass(frozen=True, eq=False)
class Rays:
    """The rays of a grid of pixels: pixel (row, column) looks along (x[column], y[row], 1).

    Args:
        x: (B, W) horizontal slopes.
        y: (B, H) vertical slopes.
    """

    x: Tensor
    y: Tensor

    def __getitem__(self, images: Tensor) -> Rays:
        """The rays of some of the images."""
        return Rays(self.x[images], self.y[images])

    @property
    def across(self) -> Tensor:
        """(B, 1, W)."""
        return self.x[:, None]

    @property
    def down(self) -> Tensor:
        """(B, H, 1)."""
        return self.y[:, :, None]

    def dot(self, vector: Tensor) -> Tensor:
        """(B, H, W) products with the images' vectors (B, 3)."""
        x, y, z = vector[:, :, None, None].unbind(1)
        return x * self.across + (y * self.down + z)


def plane_depth(rays: Rays, normal: Tensor, point: Tensor) -> Tensor:
    """(B, H, W) z of planes with normal (B, 3) through a point (B, 3) m; infinite where they are not seen."""
    slope = rays.dot(normal)
    z = (normal * point).sum(1)[:, None, None] / torch.where(slope.abs() < 1e-6, 1e-6, slope)
    return torch.where(z > _NEAR, z, torch.inf)


def ellipsoid_depth(rays: Rays, centre: Tensor, rotation: Tensor, radii: Tensor) -> Tensor:
    """(B, H, W) z of the near side of ellipsoids, infinite beside them.

    Args:
        rays: the camera's.
        centre: (B, 3) metres.
        rotation: (B, 3, 3); its columns are the ellipsoid's axes.
        radii: (B, 3) metres along them.
    """
    to_sphere = rotation.transpose(1, 2) / radii[:, :, None]  # (B, 3, 3)
    form = to_sphere.transpose(1, 2) @ to_sphere
    towards = (form @ centre[:, :, None])[:, :, 0]
    a = rays.across * rays.dot(form[:, 0]) + rays.down * rays.dot(form[:, 1]) + rays.dot(form[:, 2])
    b = rays.dot(towards)
    c = (centre * towards).sum(1)[:, None, None] - 1
    under_root = b * b - a * c
    z = (b - under_root.clamp(min=0).sqrt()) / a
    return torch.where((under_root > 0) & (z > _NEAR), z, torch.inf)


def box_depth(rays: Rays, centre: Tensor, rotation: Tensor, radii: Tensor) -> Tensor:
    """(B, H, W) z of the near side of boxes with half sides `radii`; arguments as `ellipsoid_depth`'s."""
    origin = -(rotation.transpose(1, 2) @ centre[:, :, None])[:, :, 0]  # (B, 3) camera in the box's frame
    enter = torch.full((1, 1, 1), -torch.inf, device=centre.device)
    leave = -enter
    for axis in range(3):
        slope = rays.dot(rotation[:, :, axis])
        per_slope = 1 / torch.where(slope.abs() < 1e-6, 1e-6, slope)
        start, reach = origin[:, axis, None, None], radii[:, axis, None, None]
        one, other = (-reach - start) * per_slope, (reach - start) * per_slope
        enter = torch.maximum(enter, torch.minimum(one, other))
        leave = torch.minimum(leave, torch.maximum(one, other))
    return torch.where((enter <= leave) & (enter > _NEAR), enter, torch.inf)

"""What CenterNet should answer: heat maps with Gaussians, sizes and offsets (Zhou et al. 2019, section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.networks.contracts import DetectorInput


@dataclass(frozen=True)
class BoxBatch:
    """Labels of a batch of images, padded to K boxes each.

    Args:
        boxes: (N, K, 4) px of the network's input, x0 y0 x1 y1.
        classes: (N, K) int64.
        state: (N, K) int64: 1 = to be found, 0 = nothing there (padding), -1 = to be ignored.
    """

    boxes: Tensor
    classes: Tensor
    state: Tensor


@dataclass(frozen=True)
class DetectorTargets:
    """What the output is compared with.

    Args:
        heat: (N, C, h, w), 1 at the centres.
        heat_weight: (N, 1, h, w), 0 inside ignored boxes, else 1.
        boxes: (N, 4, h, w): height, width, row offset, column offset in the contract's units.
        box_weight: (N, 1, h, w): how much a cell has to know about the box around it; 1 at the centres.
    """

    heat: Tensor
    heat_weight: Tensor
    boxes: Tensor
    box_weight: Tensor

    @property
    def num_boxes(self) -> Tensor:
        return (self.heat == 1.0).sum()


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float = 0.7) -> Tensor:
    """How far both corners of a box may move, in each coordinate, for the IoU to stay at `min_overlap`.

    The smallest of three radii: both corners moved the same way, both outwards, both inwards (Law and
    Deng, CornerNet 2018, section 3.2, with the roots of the quadratic equations as they should be).

    Args:
        height, width: of the boxes, any shape, any unit.

    Returns:
        Radii in that unit, of the same shape.
    """
    area, half = height * width, height + width
    shifted = (half - (half**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap)).sqrt()) / 2
    shrunk = (half - (half**2 - 4 * area * (1 - min_overlap)).sqrt()) / 4
    grown = ((half**2 + 4 * area * (1 - min_overlap) / min_overlap).sqrt() - half) / 4
    return torch.minimum(torch.minimum(shifted, shrunk), grown)


def detector_targets(
    labels: BoxBatch, contract: DetectorInput, size: int, stride: int = 2, min_overlap: float = 0.3
) -> DetectorTargets:
    """Draws the labels on the output's grid.

    A cell near a centre is asked for that box too, with the weight of a Gaussian, so that a peak one cell
    off still gives the right box (as in TTFNet, Liu et al. 2020, section 3).

    Args:
        labels: boxes in px.
        contract: units of the size and offset channels, number of classes.
        size: side of the input, px (windows of an image may be smaller than the contract's).
        stride: input px for one cell.
        min_overlap: of `gaussian_radius`.
    """
    device, count = labels.boxes.device, labels.boxes.shape[1]
    cells = size // stride
    grid = torch.arange(cells, device=device, dtype=torch.float32)
    wanted, ignored = labels.state == 1, labels.state == -1
    x0, y0, x1, y1 = labels.boxes.unbind(-1)  # (N, K)
    width, height = (x1 - x0).clamp(min=1.0), (y1 - y0).clamp(min=1.0)
    centre_x, centre_y = (x0 + x1) / (2 * stride), (y0 + y1) / (2 * stride)
    cell_x = centre_x.floor().clamp(0, cells - 1)
    cell_y = centre_y.floor().clamp(0, cells - 1)
    sigma = (2 * gaussian_radius(height / stride, width / stride, min_overlap) + 1) / 6  # 3 sigma = radius
    across = torch.exp(-((grid - cell_x[..., None]) ** 2) / (2 * sigma[..., None] ** 2))  # (N, K, w)
    down = torch.exp(-((grid - cell_y[..., None]) ** 2) / (2 * sigma[..., None] ** 2))
    bumps = down[..., :, None] * across[..., None, :] * wanted[..., None, None]  # (N, K, h, w)

    shape = (labels.boxes.shape[0], count, cells, cells)
    heat = torch.stack(
        [
            (bumps * (labels.classes == c)[..., None, None]).amax(1)
            if count
            else bumps.new_zeros(shape[0], cells, cells)
            for c in range(len(contract.classes))
        ],
        dim=1,
    )
    if not count:
        blank = heat.new_zeros(shape[0], 4, cells, cells)
        return DetectorTargets(heat, torch.ones_like(blank[:, :1]), blank, blank[:, :1])
    strongest, owner = bumps.max(1, keepdim=True)  # (N, 1, h, w)

    def of_owner(value: Tensor) -> Tensor:
        return value[..., None, None].expand(shape).gather(1, owner)

    boxes = torch.cat(
        [
            of_owner(height) / contract.size_scale,
            of_owner(width) / contract.size_scale,
            (of_owner(centre_y) - grid[:, None]) * stride / contract.offset_scale,
            (of_owner(centre_x) - grid[None, :]) * stride / contract.offset_scale,
        ],
        dim=1,
    )
    inside_x = (grid >= (x0[..., None] / stride).floor()) & (grid <= x1[..., None] / stride)
    inside_y = (grid >= (y0[..., None] / stride).floor()) & (grid <= y1[..., None] / stride)
    covered = (inside_y[..., :, None] & inside_x[..., None, :] & ignored[..., None, None]).any(
        1, keepdim=True
    )
    heat_weight = torch.where(covered & (strongest < 1.0), 0.0, 1.0)
    return DetectorTargets(heat, heat_weight, boxes, torch.where(strongest > math.exp(-4.5), strongest, 0.0))

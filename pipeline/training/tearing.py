"""Islands and shreds: what structured light leaves of hair, sleeves and edges where it finds no match."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FRAYED = 0.6  # most of the fine noise, beside the coarse
_LOST_ABOVE = (0.3, 2.3)  # the noise that is lost, from half of an image to next to nothing


def lost_places(steep: Tensor, coarse: int, fine: int, generator: torch.Generator) -> Tensor:
    """Which pixels are lost: noise of two scales decides, steep places go first.

    Args:
        steep: (N, S, S), 0 flat to 1 as steep as matters.
        coarse, fine: cells of the noise along a side.
        generator: on their device.

    Returns:
        (N, S, S) bool.
    """
    count, side, device = len(steep), steep.shape[-1], steep.device
    draw = torch.rand(count, 2, 1, 1, generator=generator, device=device)
    weak = steep
    for cells, strength in ((coarse, torch.ones_like(draw[:, 0])), (fine, _FRAYED * draw[:, 0])):
        noise = torch.randn(count, 1, cells, cells, generator=generator, device=device)
        smooth = F.interpolate(noise, (side, side), mode="bilinear", align_corners=True)
        weak = weak + strength * smooth[:, 0]
    low, high = _LOST_ABOVE
    return weak > low + (high - low) * draw[:, 1]


def steepness(depth: Tensor, limit: float) -> Tensor:
    """(N, S, S) how much depth differs between the neighbours of each pixel, 1 from `limit` on."""
    whole = depth[:, None]
    steep = F.max_pool2d(whole, 3, 1, 1) + F.max_pool2d(-whole, 3, 1, 1)
    return (steep[:, 0] / limit).clamp(max=1.0)

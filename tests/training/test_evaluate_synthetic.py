"""Figures on rendered hands: points in millimetres, and the network's input at any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J, anchor_grid
from pipeline.synthetic.crops import CropBatch
from pipeline.training.evaluate_synthetic import crop_points, evaluate_hands, hand_figures, predict_hands
from pipeline.training.hand_task import hand_contract


class FindsTheNearestPixel(nn.Module):
    """Says of all joints that they are where the crop is nearest, at that depth."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = replace(hand_contract(64), upright=False)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = images.shape[-1]
        anchors = anchor_grid(size)
        place = images.flatten(1).argmin(1)
        target = torch.stack([place // size, place % size], dim=1).float()  # row, column
        offsets = (target[:, None] - anchors[None])[:, :, None].expand(-1, -1, 21, -1)
        depth = images.flatten(1).amin(1) * 150.0 / 260.0 * size
        flat = torch.zeros(len(images), len(anchors), 21)
        return flat, offsets, depth[:, None, None].expand_as(flat)


def rendered() -> CropBatch:
    """Hands as one near pixel each, all joints there, 96 px for 390 mm."""
    generator = torch.Generator().manual_seed(0)
    images = torch.ones(6, 1, 96, 96)
    place = (35 + 26 * torch.rand(6, 2, generator=generator)).round()  # column, row
    depth = torch.rand(6, generator=generator) - 0.8
    for n in range(6):
        column, row = place[n].long().tolist()
        images[n, 0, row - 1 : row + 2, column - 1 : column + 2] = depth[n] + 0.01
        images[n, 0, row, column] = depth[n]
    joints = torch.cat([place, depth[:, None] * 150.0 * 64 / 260.0], dim=1)[:, None].expand(-1, 21, -1)
    window = torch.tensor([[-40.0, 25.0, 190.0]]).expand(6, -1)
    centre = torch.full((6,), 700.0)
    u, v = (window[0, k] + (place[:, k] + 0.5) * 190.0 / 96 - 0.5 for k in (0, 1))
    z = centre + depth * 150.0
    points = torch.stack([u * z / 500.0, v * z / 500.0, z], dim=1)[:, None].expand(-1, 21, -1)
    return CropBatch(images, joints, torch.ones(6, 21).bool(), window, centre, 500.0, points)


def test_joints_become_points_in_millimetres() -> None:
    batch = rendered()
    points = crop_points(batch.joints, batch, 260.0 / 64)
    np.testing.assert_allclose(points, batch.joints_mm.double().numpy(), atol=1e-3)


@pytest.mark.parametrize(("size", "off_px"), [(None, 0.01), (64, 0.01), (32, 1.5)])
def test_the_network_may_see_smaller_crops(size: int | None, off_px: float) -> None:
    batch, model = rendered(), FindsTheNearestPixel()
    found = predict_hands(model, batch.images, size)  # type: ignore[arg-type]
    assert float((found - batch.joints)[..., :2].abs().max()) <= off_px
    assert float((found - batch.joints)[..., 2].abs().max()) <= off_px
    figures = hand_figures(model, [batch], size)  # type: ignore[arg-type]
    assert figures["mean_mm"] == pytest.approx(0.0, abs=8.0 * off_px)
    assert figures["within_20mm"] == 1.0


def test_networks_of_other_crops_are_told_apart() -> None:
    with pytest.raises(UsageError, match="metric crops"):
        evaluate_hands(A2J(num_joints=14, width=0.125, head_width=8))

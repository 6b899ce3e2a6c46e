"""What training makes small: A2J's losses and CenterNet's."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from pipeline.networks.a2j import AggregatedJoints
from pipeline.networks.contracts import DetectorInput
from pipeline.training.detector_targets import DetectorTargets


class A2JOutput(NamedTuple):
    """The network's answer: (N, A, J), (N, A, J, 2) row and column px, (N, A, J) depth units."""

    classification: Tensor
    offsets: Tensor
    depths: Tensor


def joint_loss(joints: AggregatedJoints, target: Tensor, anchor_weight: float = 0.3) -> Tensor:
    """A2J's own loss: smooth L1 of joints, depths and the anchors around them (Xiong et al. 2019, 3.4).

    Args:
        joints: the aggregated answer.
        target: (N, J, 3) row px, column px, depth in the network's unit.
        anchor_weight: of the anchor-surrounding term.
    """
    position = F.smooth_l1_loss(joints.positions[..., :2], target[..., :2])
    depth = F.smooth_l1_loss(joints.positions[..., 2], target[..., 2])
    surrounding = F.smooth_l1_loss(joints.anchors_only, target[..., :2])
    return position + depth + anchor_weight * surrounding


def dense_anchor_loss(output: A2JOutput, anchors: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Asks every anchor near a joint for that joint by itself.

    Cross-entropy of the anchors' softmax against a Gaussian around the joint, twice, plus smooth L1 of
    the near anchors' own offsets and depths, weighted by that Gaussian.

    Args:
        output: the network's answer.
        anchors: (A, 2) row, column px.
        target: (N, J, 3) row px, column px, depth in the network's unit.
        sigma: of the Gaussian, px.
    """
    wanted = target[:, None, :, :2] - anchors[None, :, None, :]  # (N, A, J, 2)
    near = (wanted.square().sum(-1) / (-2.0 * sigma**2)).softmax(dim=1)  # (N, A, J)
    cross_entropy = -(near * output.classification.float().log_softmax(dim=1)).sum(1).mean()
    offset = F.smooth_l1_loss(output.offsets.float(), wanted, reduction="none").mean(-1)
    depth = F.smooth_l1_loss(
        output.depths.float(), target[:, None, :, 2].expand_as(output.depths), reduction="none"
    )
    return 2.0 * cross_entropy + (near * (offset + depth)).sum(1).mean()


def focal_loss(heat: Tensor, targets: DetectorTargets, num_boxes: Tensor) -> Tensor:
    """Penalty-reduced focal loss with alpha 2 and beta 4 (Zhou et al. 2019, equation 1).

    Args:
        heat: (N, C, h, w) scores.
        targets: heat maps and the cells that count.
        num_boxes: what the sum is divided by.
    """
    score = heat.float().clamp(1e-4, 1.0 - 1e-4)
    found = (1.0 - score).square() * score.log()
    empty = (1.0 - targets.heat) ** 4 * score.square() * (1.0 - score).log()
    cells = torch.where(targets.heat == 1.0, found, empty)
    return -(cells * targets.heat_weight).sum() / num_boxes


def box_losses(
    output: Tensor, targets: DetectorTargets, contract: DetectorInput, total_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Sizes and offsets at the centres and next to them.

    Args:
        output: (N, 4, h, w) height, width, row offset, column offset.
        targets: what they should be, and their weights.
        contract: units of the channels.
        total_weight: what the sums are divided by.

    Returns:
        Weighted mean L1 of the four channels (half weight for sizes), and of 1 - generalised IoU.
    """
    weight = targets.box_weight
    answer = output.float()
    errors = (answer - targets.boxes).abs() * weight
    l1 = (0.5 * errors[:, :2].sum() + errors[:, 2:].sum()) / total_weight
    near = (weight > 0).expand_as(answer)[:, 0]
    giou = generalized_box_iou_loss(_corners(answer, near, contract), _corners(targets.boxes, near, contract))
    return l1, (giou * weight[:, 0][near]).sum() / total_weight


def _corners(channels: Tensor, cells: Tensor, contract: DetectorInput) -> Tensor:
    """(N, 4, h, w) at the chosen cells as (M, 4) x0 y0 x1 y1 px around each cell."""
    height, width, row, column = channels.permute(1, 0, 2, 3)[:, cells]
    half_height, half_width = (side.clamp(min=0.05) * (contract.size_scale / 2) for side in (height, width))
    y, x = row * contract.offset_scale, column * contract.offset_scale
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)

"""Losses agree with literal versions of their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.networks.a2j import aggregate, anchor_grid
from pipeline.networks.contracts import DetectorInput
from pipeline.training.detector_targets import BoxBatch, DetectorTargets, detector_targets
from pipeline.training.losses import A2JOutput, box_losses, dense_anchor_loss, focal_loss, joint_loss

OURS = DetectorInput(size_scale=10.0, offset_scale=2.0, classes=("left", "right"))


def smooth(error: float) -> float:
    return 0.5 * error * error if abs(error) < 1 else abs(error) - 0.5


def a2j_case() -> tuple[A2JOutput, Tensor, Tensor]:
    torch.manual_seed(0)
    anchors = anchor_grid(32)
    count = len(anchors)
    output = A2JOutput(torch.randn(2, count, 3), 5 * torch.randn(2, count, 3, 2), torch.randn(2, count, 3))
    return output, anchors, torch.rand(2, 3, 3) * 32


def test_joint_loss_is_the_papers_sum() -> None:
    output, anchors, target = a2j_case()
    joints = aggregate(*output, anchors)
    place = np.mean([smooth(float(e)) for e in (joints.positions - target)[..., :2].flatten()])
    depth = np.mean([smooth(float(e)) for e in (joints.positions - target)[..., 2].flatten()])
    around = np.mean([smooth(float(e)) for e in (joints.anchors_only - target[..., :2]).flatten()])
    assert float(joint_loss(joints, target)) == pytest.approx(place + depth + 0.3 * around, rel=1e-5)


def test_dense_loss_asks_each_near_anchor_for_the_joint() -> None:
    output, anchors, target = a2j_case()
    sigma, total = 4.0, 0.0
    for n in range(2):
        for j in range(3):
            to_joint = [target[n, j, :2] - anchor for anchor in anchors]
            weight = np.array([math.exp(-float(d @ d) / (2 * sigma**2)) for d in to_joint])
            weight /= weight.sum()
            logits = output.classification[n, :, j].double().numpy()
            log_softmax = logits - np.log(np.exp(logits).sum())
            cross_entropy = -(weight * log_softmax).sum()
            regression = 0.0
            for a, distance in enumerate(to_joint):
                offset = np.mean([smooth(float(output.offsets[n, a, j, k] - distance[k])) for k in (0, 1)])
                depth = smooth(float(output.depths[n, a, j] - target[n, j, 2]))
                regression += weight[a] * (offset + depth)
            total += 2 * cross_entropy + regression
    assert float(dense_anchor_loss(output, anchors, target, sigma)) == pytest.approx(total / 6, rel=1e-4)


def detector_case() -> tuple[Tensor, DetectorTargets]:
    torch.manual_seed(1)
    boxes = torch.tensor([[[4.0, 6.0, 21.0, 19.0], [20.0, 14.0, 31.0, 30.0], [0.0, 20.0, 9.0, 31.0]]])
    labels = BoxBatch(boxes, torch.tensor([[0, 1, 1]]), torch.tensor([[1, 1, -1]]))
    output = 0.1 + 0.8 * torch.rand(1, 6, 16, 16)
    return output, detector_targets(labels, OURS, 32)


def test_focal_loss_is_equation_one() -> None:
    output, targets = detector_case()
    total = 0.0
    for c in range(2):
        for y in range(16):
            for x in range(16):
                p, t = float(output[0, c, y, x]), float(targets.heat[0, c, y, x])
                weight = float(targets.heat_weight[0, 0, y, x])
                if t == 1:
                    total -= weight * (1 - p) ** 2 * math.log(p)
                else:
                    total -= weight * (1 - t) ** 4 * p**2 * math.log(1 - p)
    found = focal_loss(output[:, :2], targets, targets.num_boxes)
    assert float(found) == pytest.approx(total / 2, rel=1e-4)
    assert int(targets.num_boxes) == 2


def test_box_losses_compare_the_boxes_that_cells_stand_for() -> None:
    output, targets = detector_case()
    l1 = giou = total = 0.0
    for y, x in targets.box_weight[0, 0].nonzero().tolist():
        weight = float(targets.box_weight[0, 0, y, x])
        total += weight
        sides = [channels[0, -4:, y, x].double().numpy() for channels in (output, targets.boxes)]
        error = abs(sides[0] - sides[1])
        l1 += weight * (0.5 * error[:2].sum() + error[2:].sum())
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = (
            (2 * dx - 5 * w, 2 * dy - 5 * h, 2 * dx + 5 * w, 2 * dy + 5 * h) for h, w, dy, dx in sides
        )
        inter = max(0, min(ax1, bx1) - max(ax0, bx0)) * max(0, min(ay1, by1) - max(ay0, by0))
        union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - inter
        hull = (max(ax1, bx1) - min(ax0, bx0)) * (max(ay1, by1) - min(ay0, by0))
        giou += weight * (1 - inter / union + (hull - union) / hull)
    found = box_losses(output[:, 2:], targets, OURS, targets.box_weight.sum())
    assert float(found[0]) == pytest.approx(l1 / total, rel=1e-4)
    assert float(found[1]) == pytest.approx(giou / total, rel=1e-4)
    exact = box_losses(targets.boxes, targets, OURS, targets.box_weight.sum())
    assert float(exact[0]) == 0
    assert float(exact[1]) == pytest.approx(0, abs=1e-5)

"""The losses that the original systems train with: A2J's, and centernet_kinect's."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.constants import CENTERNET_STRIDE
from pipeline.networks.a2j import AggregatedJoints
from pipeline.networks.contracts import DetectorInput
from pipeline.training.detector_targets import DetectorTargets
from pipeline.training.losses import focal_loss

HeatLoss = Literal["Logistic", "MSE"]

_POSITION_WEIGHT, _JOINT_WEIGHT = 0.5, 3.0
_DEPTH_BETA = 3.0
_HEAT_WEIGHT, _SIZE_WEIGHT, _OFFSET_WEIGHT = 10.0, 0.1, 1.0


def a2j_loss(joints: AggregatedJoints, target: Tensor) -> dict[str, Tensor]:
    """A2J's objective (Xiong et al. 2019, section 3.4, equations 4 to 6, with its authors' weights).

    Args:
        joints: the aggregated answer.
        target: (N, J, 3) row px, column px, depth in the network's unit (there: mm).

    Returns:
        `total` = 3 `joints` + `anchors`; `joints` is half the positions' smooth L1 plus the depths' one,
        whose quadratic part reaches to 3; `anchors` holds the weighted mean of the anchors to the joints.
    """
    position = F.smooth_l1_loss(joints.positions[..., :2], target[..., :2])
    depth = F.smooth_l1_loss(joints.positions[..., 2], target[..., 2], beta=_DEPTH_BETA)
    anchors = F.smooth_l1_loss(joints.anchors_only, target[..., :2])
    main = _POSITION_WEIGHT * position + depth
    return {"total": _JOINT_WEIGHT * main + anchors, "joints": main, "anchors": anchors}


def centernet_loss(
    output: Tensor, targets: DetectorTargets, contract: DetectorInput, kind: HeatLoss, num_boxes: Tensor
) -> dict[str, Tensor]:
    """centernet_kinect's objective, with its weights.

    All three terms are sums that are divided by the number of hands, as in Zhou et al. 2019 (section 3); the
    squared error, which would vanish as a mean over all cells, too.

    Args:
        output: (N, C + 4, h, w) of the network.
        targets: what it should be.
        contract: units of its channels.
        kind: of the heat maps' term: penalty-reduced logistic regression, or squared error.
        num_boxes: hands in the batch.

    Returns:
        `total` = 10 `heat` + 0.1 `size` (px of the input) + `offset` (cells).
    """
    classes = len(contract.classes)
    heat = output[:, :classes]
    if kind == "Logistic":
        heat_term = focal_loss(heat, targets, num_boxes)
    else:
        squares = (heat.float() - targets.heat).square() * targets.heat_weight
        heat_term = squares.sum() / num_boxes
    centres = (targets.heat.amax(1, keepdim=True) == 1.0).float()  # (N, 1, h, w)
    errors = (output[:, classes:].float() - targets.boxes).abs() * centres
    size = errors[:, :2].sum() * (contract.size_scale / num_boxes)
    offset = errors[:, 2:].sum() * (contract.offset_scale / CENTERNET_STRIDE / num_boxes)
    total = _HEAT_WEIGHT * heat_term + _SIZE_WEIGHT * size + _OFFSET_WEIGHT * offset
    return {"total": total, "heat": heat_term, "size": size, "offset": offset}


def file_stem(kind: HeatLoss, contract: DetectorInput) -> str:
    """How centernet_kinect names its checkpoints."""
    return f"{kind}_ResnetCenterNet_{contract.channels}"


def transfer(model: torch.nn.Module, weights: dict[str, Tensor]) -> set[str]:
    """Takes over the weights whose names and shapes fit; returns their names."""
    own = model.state_dict()
    fitting = {
        name: value for name, value in weights.items() if name in own and own[name].shape == value.shape
    }
    model.load_state_dict(fitting, strict=False)
    return set(fitting)

"""Weights that do not describe themselves: what names and shapes tell of them, and the input they expect.

The inputs are those of the repositories NVIDIA-AI-IOT/realtime_handpose_3d and zhangboshen/A2J.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pipeline.constants import (
    A2J_HANDS2017_MEAN,
    A2J_HANDS2017_STD,
    A2J_ICVL_MEAN,
    A2J_ICVL_STD,
    A2J_INPUT_SIZE,
    A2J_NYU_MEAN,
    A2J_NYU_STD,
    CENTERNET_INPUT_SIZE,
)
from pipeline.hand import HANDS2017_21, ICVL_16, NYU_14, Skeleton
from pipeline.networks.a2j import A2J, ANCHORS_PER_CELL, nyu_input
from pipeline.networks.centernet import CenterNet, default_classes
from pipeline.networks.contracts import DetectorInput, HandInput
from pipeline.networks.resnet import RESNETS

Weights = dict[str, Tensor]

_MOST_OUTPUTS = 256  # classes or joints: files are not to be trusted
_AUTHORS_MODULES = {
    "Backbone": "back_bone",
    "classificationModel": "joint_classification",
    "regressionModel": "offset_regression",
    "DepthRegressionModel": "depth_regression",
}


def centernet_for(file: dict[Any, Any], weights: Weights) -> CenterNet:
    """The network of NVIDIA's CenterNet files; raises ValueError if these are other weights."""
    num_classes = _outputs(weights, "up_sample4.layers.0.bias", per_output=1, besides=4)
    channels = file.get("input_format", "fused")
    if channels not in ("fused", "depth"):
        raise ValueError(f"its input format is {channels!r:.60}")
    classes = default_classes(num_classes)
    return CenterNet(
        num_classes, contract=DetectorInput(size=CENTERNET_INPUT_SIZE, channels=channels, classes=classes)
    )


def a2j_for(weights: Weights) -> A2J:
    """The network of NVIDIA's A2J files, trained on NYU; raises ValueError if these are other weights."""
    num_joints = _outputs(weights, "depth_regression.output.bias", per_output=ANCHORS_PER_CELL)
    return A2J(_backbone(weights), num_joints, contract=nyu_input(num_joints))


def authors_a2j_for(weights: Weights) -> A2J:
    """The network of the A2J authors' files (renamed); raises ValueError if these are other weights.

    The number of joints tells the data set, and so the window, the statistics and the skeleton.
    """
    num_joints = _outputs(weights, "depth_regression.output.bias", per_output=ANCHORS_PER_CELL)
    inputs = {
        14: _authors_input(220.0, A2J_NYU_MEAN, A2J_NYU_STD, NYU_14),
        16: _authors_input(190.0, A2J_ICVL_MEAN, A2J_ICVL_STD, ICVL_16),
        21: _authors_input(200.0, A2J_HANDS2017_MEAN, A2J_HANDS2017_STD, HANDS2017_21),
    }
    if num_joints not in inputs:
        raise ValueError(f"the authors' hands have 14, 16 or 21 joints, these weights {num_joints}")
    return A2J(_backbone(weights), num_joints, contract=inputs[num_joints], negative_slope=0.0)


def is_authors(state: dict[Any, Any]) -> bool:
    """Whether a file is a bare state dict with the A2J authors' names."""
    return any(isinstance(name, str) and name.startswith("Backbone.") for name in state)


def renamed(weights: Weights) -> Weights:
    """The A2J authors' weights under NVIDIA's names.

    Raises:
        ValueError: a two-dimensional model, or unknown names.
    """
    parts = {name: name.split(".", 1) for name in weights}
    modules = {part[0] for part in parts.values()}
    if "DepthRegressionModel" not in modules:
        raise ValueError("it is a two-dimensional A2J model, without a depth head")
    if modules - _AUTHORS_MODULES.keys():
        raise ValueError(f"{min(modules - _AUTHORS_MODULES.keys())} is unknown")
    return {".".join([_AUTHORS_MODULES[part[0]], *part[1:]]): weights[name] for name, part in parts.items()}


def _authors_input(crop_mm: float, mean: float, std: float, skeleton: Skeleton) -> HandInput:
    return HandInput(
        size=A2J_INPUT_SIZE, crop_mm=crop_mm, depth_range_mm=150.0, mean=mean, std=std, skeleton=skeleton
    )


def _backbone(weights: Weights) -> str:
    """Which backbone these weights belong to, by the number of blocks in each stage."""
    if "back_bone.conv1_1.weight" in weights:
        return "mobilenet"
    prefix = "back_bone.model.layer"
    blocks = {tuple(name.removeprefix(prefix).split(".")[:2]) for name in weights if name.startswith(prefix)}
    counts = tuple(sum(block[0] == stage for block in blocks) for stage in "1234")
    expansion = 4 if f"{prefix}1.0.conv3.weight" in weights else 1
    for name, (kind, expected) in RESNETS.items():
        if counts == expected and kind.expansion == expansion:
            return name
    raise ValueError("its backbone is unknown")


def _outputs(weights: Weights, name: str, per_output: int, besides: int = 0) -> int:
    """The number of classes or joints that a last layer's bias tells."""
    if name not in weights:
        raise ValueError(f"{name} is missing")
    found, rest = divmod(weights[name].numel() - besides, per_output)
    if rest or not 0 < found <= _MOST_OUTPUTS:
        raise ValueError(f"{name} has the shape {tuple(weights[name].shape)}")
    return found

"""A2J: joints by the votes of anchors (Xiong et al., "A2J: Anchor-to-Joint Regression", 2019)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.constants import (
    A2J_INPUT_SIZE,
    A2J_NYU_DEPTH_RANGE_MM,
    A2J_NYU_MEAN,
    A2J_NYU_STD,
    A2J_NYU_WINDOW_FX,
    A2J_NYU_WINDOW_PX,
    A2J_STRIDE,
)
from pipeline.hand import skeleton_for
from pipeline.networks.contracts import HandInput
from pipeline.networks.mobilenet import MobileNet
from pipeline.networks.resnet import RESNETS, ResNet, activation

FloatArray = NDArray[np.float32]

BACKBONES = (*RESNETS, "mobilenet")
ANCHORS_PER_CELL = 16
_SIDE_WIDTH = 64  # channels of the side head


class DepthResNet(nn.Module):
    """Dilated ResNet on one depth channel; features of its last two stages, both at stride 16."""

    def __init__(self, name: str, width: float, negative_slope: float) -> None:
        super().__init__()
        self.model = ResNet(name, width, dilated=True, negative_slope=negative_slope)
        self.channels = self.model.channels[2:]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, S, S) -> (N, C3, S / 16, S / 16), (N, C4, S / 16, S / 16)."""
        _, _, x3, x4 = self.model(x.expand(-1, 3, -1, -1) if self.model.conv1.in_channels == 3 else x)
        return x3, x4


class A2J(nn.Module):
    """What each anchor says about each joint: how much to trust it, where the joint is, how deep.

    Args:
        backbone: one of `BACKBONES`.
        num_joints: J.
        width: factor on the channels of a ResNet backbone.
        head_width: channels of the three heads.
        contract: input and units; by default those of NVIDIA's weights.
        negative_slope: of all activations; 0 (the A2J authors' own weights) makes them ReLU.
        side_head: whether it also tells which hand it sees: see `read`.
        presence: whether that head tells, too, if there is a hand at all.

    Raises:
        ValueError: an unknown backbone, a contract with another number of joints, or a side head without a
            contract that names the hand the network knows.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        num_joints: int = 21,
        width: float = 1.0,
        head_width: int = 256,
        contract: HandInput | None = None,
        *,
        negative_slope: float = 0.01,
        side_head: bool = False,
        presence: bool = False,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, found {backbone!r}")
        self.contract = contract or nyu_input(num_joints)
        if self.contract.skeleton.num_joints != num_joints:
            raise ValueError(
                f"{num_joints} joints do not fit a skeleton of {self.contract.skeleton.num_joints}"
            )
        self.backbone, self.num_joints, self.width = backbone, num_joints, width
        self.head_width, self.negative_slope = head_width, negative_slope
        self.back_bone = (
            MobileNet() if backbone == "mobilenet" else DepthResNet(backbone, width, negative_slope)
        )
        common, last = self.back_bone.channels
        per_anchor = ANCHORS_PER_CELL * num_joints
        self.joint_classification = _head(common, head_width, per_anchor, negative_slope)
        self.offset_regression = _head(last, head_width, per_anchor * 2, negative_slope)
        self.depth_regression = _head(last, head_width, per_anchor, negative_slope)
        self.side_head: nn.Sequential | None = None
        self.presence = presence and side_head
        if side_head:
            self.add_side_head(presence)

    def add_side_head(self, presence: bool = True) -> None:
        """Gives the network a fresh side head; everything else stays as it is.

        Raises:
            ValueError: the contract names no hand that the network knows.
        """
        if self.contract.handedness is None:
            raise ValueError("a side head needs a contract with the handedness that the network knows")
        self.presence = presence
        self.side_head = _side_head(self.back_bone.channels[1], 1 + presence, self.negative_slope)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 1, S, S), S divisible by 16, to what A = 16 (S / 16)^2 anchors say, in `anchor_grid`'s order.

        Returns:
            classification (N, A, J); offsets (N, A, J, 2) row px, column px; depths (N, A, J).
        """
        return self._votes(*self.back_bone(x))

    def read(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `forward` returns, and what the side head says.

        Returns:
            besides: (N,) logits, positive where a crop shows the hand the network knows; with `presence`
            (N,) more, positive where a hand, whichever it is, is in the middle.
        """
        if self.side_head is None:
            raise ValueError("this network has no side head")
        x3, x4 = self.back_bone(x)
        logits = self.side_head(x4)
        # Not unbound: engines trace the network, and nothing that is traced tells how long it is.
        return (*self._votes(x3, x4), *(logits[:, k] for k in range(1 + self.presence)))

    def _votes(self, x3: Tensor, x4: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self._by_anchor(self.joint_classification(x3), (self.num_joints,)),
            self._by_anchor(self.offset_regression(x4), (self.num_joints, 2)),
            self._by_anchor(self.depth_regression(x4), (self.num_joints,)),
        )

    @staticmethod
    def _by_anchor(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(N, 16 J [2], H, W) -> (N, W H 16, J [, 2]): the columns of cells one after the other."""
        return maps.permute(0, 3, 2, 1).reshape(maps.shape[0], -1, *shape)


def nyu_input(num_joints: int) -> HandInput:
    """The input of NVIDIA's weights, trained on the NYU hand pose data set."""
    return HandInput(
        size=A2J_INPUT_SIZE,
        window_px=A2J_NYU_WINDOW_PX,
        window_fx=A2J_NYU_WINDOW_FX,
        depth_range_mm=A2J_NYU_DEPTH_RANGE_MM,
        mean=A2J_NYU_MEAN,
        std=A2J_NYU_STD,
        skeleton=skeleton_for(num_joints),
    )


@dataclass(frozen=True, eq=False)
class AggregatedJoints:
    """The anchors' weighted votes.

    Args:
        positions: (N, J, 3) row px, column px in the network's input, depth in the network's unit.
        anchors_only: (N, J, 2) weighted mean of the anchors themselves, row px, column px.
        spread: (N, J) px, weighted standard deviation of the anchors' votes about the joint.
    """

    positions: Tensor
    anchors_only: Tensor
    spread: Tensor


def anchor_grid(size: int, stride: int = A2J_STRIDE) -> Tensor:
    """(A, 2) row, column of the anchors of a `size` x `size` input, px.

    Each cell of `stride` px has 4 x 4 of them, in row-major order; the cells follow each other down the
    columns.

    Raises:
        ValueError: the size is not a positive multiple of the stride.
    """
    if size <= 0 or size % stride:
        raise ValueError(f"input size must be a positive multiple of {stride} px, found {size}")
    inside = (torch.arange(4) + 0.5) * (stride / 4)
    cells = torch.arange(size // stride) * float(stride)
    column, row, in_row, in_column = torch.meshgrid(cells, cells, inside, inside, indexing="ij")
    return torch.stack([row + in_row, column + in_column], dim=-1).reshape(-1, 2)


def aggregate(classification: Tensor, offsets: Tensor, depths: Tensor, anchors: Tensor) -> AggregatedJoints:
    """Joints from the output of `A2J.forward` (section 3.2 of the paper), in float32 and differentiable.

    Args:
        classification: (N, A, J).
        offsets: (N, A, J, 2) row px, column px.
        depths: (N, A, J).
        anchors: (A, 2) of `anchor_grid` for the same input size.
    """
    # Products are summed, not matrix-multiplied: autocast would take the latter out of float32.
    weights = classification.float().softmax(dim=1)  # (N, A, J)
    votes = anchors[:, None] + offsets.float()  # (N, A, J, 2)
    place = (weights[..., None] * votes).sum(dim=1)  # (N, J, 2)
    depth = (weights * depths.float()).sum(dim=1)  # (N, J)
    variance = (weights * (votes - place[:, None]).square().sum(dim=-1)).sum(dim=1)
    return AggregatedJoints(
        positions=torch.cat([place, depth[..., None]], dim=-1),
        anchors_only=(weights[..., None] * anchors[:, None]).sum(dim=1),
        spread=variance.clamp_min(1e-12).sqrt(),  # the root has no gradient at 0
    )


def tally(
    classification: FloatArray, offsets: FloatArray, depths: FloatArray, anchors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """What `aggregate` finds, for a few hands at run time: in NumPy, which is twice as fast there.

    Args:
        classification: (N, A, J).
        offsets: (N, A, J, 2) row px, column px.
        depths: (N, A, J).
        anchors: (A, 2) of `anchor_grid` for the same input size.

    Returns:
        (N, J, 3) row px, column px, depth in the network's unit; (N, J) px, spread of the votes.
    """
    count, num_anchors, joints = classification.shape
    weights = np.exp(classification - classification.max(axis=1, keepdims=True))  # (N, A, J)
    weights /= weights.sum(axis=1, keepdims=True)
    depth = (weights * depths).sum(axis=1)
    flat_weights = np.repeat(weights, 2, axis=2)  # (N, A, 2 J): long rows are what NumPy is fast on
    votes = offsets.reshape(count, num_anchors, 2 * joints) + np.tile(anchors, joints)
    place = (flat_weights * votes).sum(axis=1)  # (N, 2 J)
    votes -= place[:, None]
    votes *= votes
    votes *= flat_weights
    variance = votes.sum(axis=1).reshape(count, joints, 2).sum(axis=2)
    positions = np.concatenate([place.reshape(count, joints, 2), depth[..., None]], axis=2)
    return positions, np.sqrt(np.maximum(variance, np.float32(1e-12)))


def _head(inputs: int, width: int, outputs: int, negative_slope: float) -> nn.Sequential:
    """Five 3x3 convolutions, the first four with BatchNorm and activation."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for k in range(1, 5):
        conv = nn.Conv2d(inputs if k == 1 else width, width, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers[f"conv{k}"], layers[f"bn{k}"] = conv, nn.BatchNorm2d(width)
        layers[f"relu{k}"] = activation(negative_slope)
    output = nn.Conv2d(width, outputs, 3, padding=1)
    nn.init.normal_(output.weight, std=0.005)
    nn.init.zeros_(output.bias)  # type: ignore[arg-type]
    layers["output"] = output
    return nn.Sequential(layers)


def _side_head(inputs: int, outputs: int, negative_slope: float) -> nn.Sequential:
    """A 3x3 convolution with BatchNorm and activation, its mean over the crop, a few numbers of it."""
    conv = nn.Conv2d(inputs, _SIDE_WIDTH, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(
        OrderedDict(
            conv=conv,
            bn=nn.BatchNorm2d(_SIDE_WIDTH),
            relu=activation(negative_slope),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            output=nn.Linear(_SIDE_WIDTH, outputs),
        )
    )

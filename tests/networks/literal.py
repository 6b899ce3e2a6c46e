"""The published networks written out as plain functions of a state dict, to check the modules against."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
DEPTHWISE = {f"{g}_{i}" for g, numbers in {1: (2, 4), 2: (2, 4), 3: (2, 4, 6, 8)}.items() for i in numbers}
DEPTHWISE |= {f"4_{i}" for i in (2, 4, 6, 8, 10)}


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode with statistics and scales as no fresh one has them."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, mean, std in (
                (layer.weight.data, 0.7, 0.2),
                (layer.bias.data, 0.0, 0.2),
                (layer.running_mean, 0.0, 0.2),
            ):
                assert tensor is not None
                tensor.copy_(mean + std * torch.randn(tensor.shape, generator=generator))
            assert layer.running_var is not None
            layer.running_var.copy_(1 + torch.rand(layer.running_var.shape, generator=generator))
    return module.eval()


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    scale = w[f"{name}.weight"] / (w[f"{name}.running_var"] + 1e-5).sqrt()
    shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def leaky(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def resnet(
    w: dict[str, Tensor], prefix: str, x: Tensor, name: str, *, slope: float, dilated: bool
) -> list[Tensor]:
    """Features of the four stages."""
    x = norm(w, f"{prefix}bn1", F.conv2d(x, w[f"{prefix}conv1.weight"], stride=2, padding=3))
    x = F.max_pool2d(leaky(x, slope), 3, 2, 1)
    features = []
    for stage, count in enumerate(BLOCKS[name], start=1):
        for block in range(count):
            last = dilated and stage == 4
            stride = 2 if block == 0 and stage > 1 and not last else 1
            dilation = 2 if last and block > 0 else 1
            x = residual(w, f"{prefix}layer{stage}.{block}.", x, slope, (stride, dilation))
        features.append(x)
    return features


def residual(w: dict[str, Tensor], p: str, x: Tensor, slope: float, step: tuple[int, int]) -> Tensor:
    stride, dilation = step
    if f"{p}conv3.weight" in w:  # 1x1, strided and dilated 3x3, 1x1
        y = leaky(norm(w, f"{p}bn1", F.conv2d(x, w[f"{p}conv1.weight"])), slope)
        y = F.conv2d(y, w[f"{p}conv2.weight"], stride=stride, padding=dilation, dilation=dilation)
        y = F.conv2d(leaky(norm(w, f"{p}bn2", y), slope), w[f"{p}conv3.weight"])
        y = norm(w, f"{p}bn3", y)
    else:  # strided 3x3, dilated 3x3
        y = leaky(norm(w, f"{p}bn1", F.conv2d(x, w[f"{p}conv1.weight"], stride=stride, padding=1)), slope)
        y = F.conv2d(y, w[f"{p}conv2.weight"], padding=dilation, dilation=dilation)
        y = norm(w, f"{p}bn2", y)
    if f"{p}downsample.0.weight" in w:
        x = norm(w, f"{p}downsample.1", F.conv2d(x, w[f"{p}downsample.0.weight"], stride=stride))
    return leaky(x + y, slope)


def mobilenet(w: dict[str, Tensor], prefix: str, x: Tensor) -> tuple[Tensor, Tensor]:
    common = x
    for group, count in ((1, 4), (2, 4), (3, 8), (4, 11)):
        for number in range(1, count + 1):
            name = f"{group}_{number}"
            kernel = w[f"{prefix}conv{name}.weight"]
            stride = 2 if name in ("1_1", "1_4", "2_4", "3_8") else 1
            groups = kernel.shape[0] if name in DEPTHWISE else 1
            padding = kernel.shape[-1] // 2
            x = F.conv2d(x, kernel, w[f"{prefix}conv{name}.bias"], stride, padding, groups=groups)
            x = norm(w, f"{prefix}bn{name}", leaky(x, 0.01))
            if name == "3_8":
                common = x
    return common, x


def head(w: dict[str, Tensor], name: str, x: Tensor, joints: int, slope: float) -> Tensor:
    """(N, A, J, k): anchors in the original's order."""
    for number in "1234":
        x = F.conv2d(x, w[f"{name}.conv{number}.weight"], w[f"{name}.conv{number}.bias"], padding=1)
        x = leaky(norm(w, f"{name}.bn{number}", x), slope)
    x = F.conv2d(x, w[f"{name}.output.weight"], w[f"{name}.output.bias"], padding=1)
    n, channels, height, width = x.shape
    per_joint = channels // 16 // joints
    out = torch.empty(n, width * height * 16, joints, per_joint)
    for column in range(width):
        for row in range(height):
            for anchor in range(16):
                for joint in range(joints):
                    for k in range(per_joint):
                        channel = (anchor * joints + joint) * per_joint + k
                        place = (column * height + row) * 16 + anchor
                        out[:, place, joint, k] = x[:, channel, row, column]
    return out


def a2j(w: dict[str, Tensor], x: Tensor, backbone: str, joints: int, slope: float = 0.01) -> list[Tensor]:
    """Classification (N, A, J), offsets (N, A, J, 2), depths (N, A, J)."""
    if backbone == "mobilenet":
        common, last = mobilenet(w, "back_bone.", x)
    else:
        three = torch.cat([x, x, x], 1)
        common, last = resnet(w, "back_bone.model.", three, backbone, slope=slope, dilated=True)[2:]
    return [
        head(w, "joint_classification", common, joints, slope)[..., 0],
        head(w, "offset_regression", last, joints, slope),
        head(w, "depth_regression", last, joints, slope)[..., 0],
    ]


def centernet(w: dict[str, Tensor], x: Tensor, classes: int, plain_head: bool = False) -> Tensor:
    x1, x2, x3, x4 = resnet(w, "model.", x, "resnet18", slope=0.0, dilated=False)
    out = None
    for k, lateral in enumerate((x4, x3, x2, x1), start=1):
        name = f"up_sample{k}.layers."
        out = lateral if out is None else torch.cat([lateral, out], 1)
        out = F.conv_transpose2d(out, w[f"{name}0.weight"], w[f"{name}0.bias"], stride=2, padding=1)
        if k < 4 or not plain_head:
            out = leaky(norm(w, f"{name}1", out), 0.01)
    assert out is not None
    return torch.cat([1 / (1 + torch.exp(-out[:, :classes])), out[:, classes:]], 1)

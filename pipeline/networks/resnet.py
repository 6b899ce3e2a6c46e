"""ResNet feature extractor (He et al., 2016), assembled from torchvision's blocks."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

_SAFE_CHANNELS = 16  # see `Shortcut`


class ResNetDepth(NamedTuple):
    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, int, int, int]


RESNETS = {
    "resnet18": ResNetDepth(BasicBlock, (2, 2, 2, 2)),
    "resnet34": ResNetDepth(BasicBlock, (3, 4, 6, 3)),
    "resnet50": ResNetDepth(Bottleneck, (3, 4, 6, 3)),
    "resnet101": ResNetDepth(Bottleneck, (3, 4, 23, 3)),
    "resnet152": ResNetDepth(Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """Feature maps of the four stages, with the parameter names of torchvision's ResNet.

    Args:
        name: a key of `RESNETS`.
        width: factor on every number of channels.
        dilated: keep the last stage at stride 16: its first block has stride 1, the 3x3 convolutions that
            follow the first block's have dilation 2 (for ResNet-50 and deeper this is torchvision's
            `replace_stride_with_dilation=[False, False, True]`).
        negative_slope: of the activations; 0 makes them ReLU.
    """

    def __init__(
        self, name: str = "resnet18", width: float = 1.0, dilated: bool = False, negative_slope: float = 0.0
    ) -> None:
        super().__init__()
        block, counts = RESNETS[name]
        planes = [round(64 * 2**stage * width) for stage in range(4)]
        outputs = [block.expansion * n for n in planes]
        self.conv1 = nn.Conv2d(3, planes[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = activation(negative_slope)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, planes[0], planes[0], counts[0], stride=1)
        self.layer2 = _stage(block, outputs[0], planes[1], counts[1], stride=2)
        self.layer3 = _stage(block, outputs[1], planes[2], counts[2], stride=2)
        stride, dilation = (1, 2) if dilated else (2, 1)
        self.layer4 = _stage(block, outputs[2], planes[3], counts[3], stride=stride, dilation=dilation)
        # Never run, nor trained: published checkpoints carry it, and those have full width.
        self.fc = nn.Linear(outputs[3], 1000).requires_grad_(False) if width == 1 else nn.Identity()
        self.channels = tuple(outputs)

        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                module.relu = activation(negative_slope)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of (N, 3, S, S) at strides 4, 8, 16 and 32 (16 if dilated)."""
        x1 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        return x1, x2, x3, self.layer4(x3)


class Shortcut(nn.Sequential):
    """A 1x1 convolution of every `stride`-th pixel, and BatchNorm.

    While networks of few channels train, the pixels are taken out before: oneDNN's gradient of such weights
    (fewer than 16 inputs, channels last, images of 64 px and more; PyTorch 2.14) writes beyond its memory,
    and the process crashes there or at any time later.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self._around = inputs < _SAFE_CHANNELS
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        if not (self.training and self._around):
            return super().forward(x)
        convolution, norm = self
        taken = x[..., :: self._stride, :: self._stride]
        return norm(functional.conv2d(taken, convolution.weight))  # type: ignore[arg-type]


def activation(negative_slope: float) -> nn.Module:
    """ReLU, or LeakyReLU if the slope is not 0."""
    return nn.LeakyReLU(negative_slope, inplace=True) if negative_slope else nn.ReLU(inplace=True)


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    planes: int,
    count: int,
    *,
    stride: int,
    dilation: int = 1,
) -> nn.Sequential:
    outputs = planes * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = Shortcut(inputs, outputs, stride)
    rest = [block(outputs, planes) for _ in range(1, count)]
    for later in rest:  # torchvision's BasicBlock refuses to be constructed with a dilation
        later.conv2.dilation = later.conv2.padding = (dilation, dilation)
    return nn.Sequential(block(inputs, planes, stride, shortcut), *rest)

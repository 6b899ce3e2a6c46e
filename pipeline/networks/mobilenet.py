"""MobileNetV1 (Howard et al., 2017) in the variant of the published A2J weights."""

from __future__ import annotations

from torch import Tensor, nn

# Widths of the layers, group by group: a full 3x3 convolution, then depthwise 3x3 and 1x1 in turn.
_WIDTHS = (
    (32, 32, 64, 64),
    (128, 128, 128, 128),
    (256, 256, 512, 512, 512, 512, 512, 512),
    (1024,) * 11,
)
_STRIDE_2 = ("1_1", "1_4", "2_4", "3_8")
_COMMON = "3_8"  # the classification head reads this layer, the others the last


class MobileNet(nn.Module):
    """Features of one depth channel at stride 16; each layer is convolution, LeakyReLU, BatchNorm."""

    channels = (512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.LeakyReLU(0.01)
        self.layer_names: list[str] = []
        inputs = 1
        for group, widths in enumerate(_WIDTHS, start=1):
            for number, width in enumerate(widths, start=1):
                name = f"{group}_{number}"
                self.add_module(f"conv{name}", _convolution(len(self.layer_names), name, inputs, width))
                self.add_module(f"bn{name}", nn.BatchNorm2d(width))
                self.layer_names.append(name)
                inputs = width

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, S, S) -> (N, 512, S / 16, S / 16), (N, 1024, S / 16, S / 16)."""
        common = x
        for name in self.layer_names:
            x = self.get_submodule(f"bn{name}")(self.relu(self.get_submodule(f"conv{name}")(x)))
            if name == _COMMON:
                common = x
        return common, x


def _convolution(index: int, name: str, inputs: int, outputs: int) -> nn.Conv2d:
    stride = 2 if name in _STRIDE_2 else 1
    if index == 0:
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    elif index % 2:
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=inputs)
    else:
        conv = nn.Conv2d(inputs, outputs, 1, stride=stride)
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv

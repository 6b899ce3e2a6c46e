"""The networks in forms that give the same answers with less work."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.networks.a2j import A2J, DepthResNet
from pipeline.networks.centernet import CenterNet, Scored, UpSample

# What the channels of an input are made of that the engines are given.
_SUMS = {
    "fused": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]),  # of depth and infrared
    "depth": torch.ones(3, 1),
}


class A2JReader(nn.Module):
    """An A2J with a side head whose `forward` is `read`."""

    def __init__(self, a2j: A2J) -> None:
        super().__init__()
        self.a2j, self.contract = a2j, a2j.contract

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `A2J.read`."""
        return self.a2j.read(x)


def for_engines(network: CenterNet | A2J) -> CenterNet | A2J | A2JReader:
    """A copy in eval mode that tells all it knows, and sees the `measured_channels` of its input alone.

    A CenterNet is a CenterNet still, but one that takes two channels, or one, and not three; it cannot be
    given once more.
    """
    network = copy.deepcopy(network).eval()
    if isinstance(network, CenterNet):
        network.model.conv1 = _of_sums(network.model.conv1, _SUMS[network.contract.channels])
        for part in network.children():
            if isinstance(part, UpSample):
                part.layers = nn.Sequential(*_layers_without_norm(part))
        return network
    if isinstance(network.back_bone, DepthResNet):
        resnet = network.back_bone.model
        resnet.conv1 = _of_sums(resnet.conv1, _SUMS["depth"])
    return network if network.side_head is None else A2JReader(network).eval()


def measured_channels(network: CenterNet | A2J) -> int:
    """How many of the input's channels are measured; they are its first ones."""
    return network.contract.measured if isinstance(network, CenterNet) else 1


def _of_sums(conv: nn.Conv2d, parts: Tensor) -> nn.Conv2d:
    """What a convolution makes of channels that are sums, (channels, measured), of fewer measured ones."""
    fewer = copy.deepcopy(conv)
    fewer.in_channels = parts.shape[1]
    shares = conv.weight.detach()[:, :, None] * parts.to(conv.weight)[:, :, None, None]
    fewer.weight = nn.Parameter(shares.sum(1))
    return fewer


def _layers_without_norm(up: UpSample) -> list[nn.Module]:
    """With BatchNorm in the transposed convolution, where PyTorch's `fuse` leaves it; `up` stays as it is."""
    transposed, *rest = up.layers
    if rest and isinstance(rest[0], nn.BatchNorm2d):
        assert isinstance(transposed, nn.ConvTranspose2d)
        return [fuse_conv_bn_eval(transposed, rest[0], transpose=True), *rest[1:]]
    return [transposed, *rest]


def for_processors(module: nn.Module) -> nn.Module:
    """A copy of a network, which must be in eval mode, without the layers that processors are slow at."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, UpSample):
                setattr(parent, name, SubPixelUpSample(part))
            elif isinstance(part, Scored):
                setattr(parent, name, MaskedScores(part.num_classes))
    return module


class MaskedScores(nn.Module):
    """What `Scored` does, of all channels at once: to take them apart and join them again costs more."""

    is_score: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = torch.arange(num_classes + 4).view(-1, 1, 1)
        self.register_buffer("is_score", channels < num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.is_score, x.sigmoid(), x)


class SubPixelUpSample(nn.Module):
    """What a trained UpSample does, by a convolution of its input and a shuffle of channels into pixels.

    Processors do that twice as fast: their libraries have bfloat16 for convolutions, not for transposed ones.
    Each pixel of the output comes from 2 x 2 of the input, which ones and with which weights depends on
    whether its row and column are even.
    """

    def __init__(self, original: UpSample) -> None:
        super().__init__()
        transposed, *rest = _layers_without_norm(original)
        assert isinstance(transposed, nn.ConvTranspose2d)
        assert transposed.bias is not None
        inputs, outputs = transposed.weight.shape[:2]
        taps = torch.tensor([[2, 0], [3, 1]])  # of 4 in a row: those of odd pixels, of even ones
        weight = transposed.weight.detach()[:, :, taps][..., taps]  # (I, O, odd or even, 2, odd or even, 2)
        self.conv = nn.Conv2d(inputs, 4 * outputs, 2, padding=1)
        self.conv.weight.data = weight.permute(1, 2, 4, 0, 3, 5).reshape(self.conv.weight.shape)
        self.conv.bias = nn.Parameter(transposed.bias.detach().repeat_interleave(4))
        self.activation = rest[0] if rest else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shuffled = nn.functional.pixel_shuffle(self.activation(self.conv(x)), 2)
        return shuffled[:, :, 1:-1, 1:-1]  # the border comes from the padding alone

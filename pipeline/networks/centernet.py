"""CenterNet: hands as centre points (Zhou et al., "Objects as Points", 2019) on a ResNet-18."""

from __future__ import annotations

import copy
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import nms

from pipeline.constants import (
    CENTERNET_NMS_IOU,
    CENTERNET_PEAK_WINDOW,
    CENTERNET_SCORE_THRESHOLD,
    CENTERNET_STRIDE,
)
from pipeline.hand import Handedness
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.resnet import ResNet, activation

_MAX_CANDIDATES = 100  # peaks that compete in non-maximum suppression


class UpSample(nn.Module):
    """Doubles the resolution: transposed convolution, BatchNorm and LeakyReLU, or, plain, the first only."""

    def __init__(self, inputs: int, outputs: int, plain: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
        if not plain:
            layers += [nn.BatchNorm2d(outputs), activation(0.01)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SubPixelUpSample(nn.Module):
    """What a trained UpSample does, by a convolution of its input and a shuffle of channels into pixels.

    Processors do that twice as fast: their libraries have bfloat16 for convolutions, not for transposed ones.
    Each pixel of the output comes from 2 x 2 of the input, which ones and with which weights depends on
    whether its row and column are even.
    """

    def __init__(self, original: UpSample) -> None:
        super().__init__()
        transposed, *rest = original.layers
        assert isinstance(transposed, nn.ConvTranspose2d)
        if rest:
            assert isinstance(rest[0], nn.BatchNorm2d)
            transposed = fuse_conv_bn_eval(transposed, rest[0], transpose=True)
        assert transposed.bias is not None
        inputs, outputs = transposed.weight.shape[:2]
        taps = torch.tensor([[2, 0], [3, 1]])  # of 4 in a row: those of odd pixels, of even ones
        weight = transposed.weight.detach()[:, :, taps][..., taps]  # (I, O, odd or even, 2, odd or even, 2)
        self.conv = nn.Conv2d(inputs, 4 * outputs, 2, padding=1)
        self.conv.weight.data = weight.permute(1, 2, 4, 0, 3, 5).reshape(self.conv.weight.shape)
        self.conv.bias = nn.Parameter(transposed.bias.detach().repeat_interleave(4))
        self.activation = rest[1] if rest else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shuffled = nn.functional.pixel_shuffle(self.activation(self.conv(x)), 2)
        return shuffled[:, :, 1:-1, 1:-1]  # the border comes from the padding alone


class CenterNet(nn.Module):
    """Heat map of hand centres with each hand's size and sub-cell offset.

    Args:
        num_classes: heat maps.
        width: factor on the channels of backbone and decoder.
        plain_head: leave BatchNorm and LeakyReLU out of the last block. The published weights need them; our
            own learn far faster without.
        contract: input and units; by default those of the published weights.
        directions: tell where the hands point, by a head of its own (see `read`).

    Raises:
        ValueError: the contract names another number of classes, or directions without a plain head.
    """

    def __init__(
        self,
        num_classes: int = 1,
        width: float = 1.0,
        plain_head: bool = False,
        contract: DetectorInput | None = None,
        directions: bool = False,
    ) -> None:
        super().__init__()
        self.contract = contract or DetectorInput(classes=default_classes(num_classes))
        if len(self.contract.classes) != num_classes:
            raise ValueError(f"{num_classes} heat maps cannot stand for the classes {self.contract.classes}")
        self.num_classes, self.width, self.plain_head = num_classes, width, plain_head
        self.model = ResNet("resnet18", width)
        c1, c2, c3, c4 = self.model.channels
        self.up_sample1 = UpSample(c4, c3)
        self.up_sample2 = UpSample(2 * c3, c2)
        self.up_sample3 = UpSample(2 * c2, c1)
        self.up_sample4 = UpSample(2 * c1, num_classes + 4, plain_head)
        if plain_head:
            self._start_quiet()
        self.direction_head: nn.ConvTranspose2d | None = None
        if directions:
            self.add_direction_head()

    def _start_quiet(self) -> None:
        """Scores near 0.01 everywhere, so that training does not begin by unlearning false alarms."""
        last = self.up_sample4.layers[0]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.005)
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[: self.num_classes], -4.6)

    def add_direction_head(self) -> None:
        """Gives the network a fresh direction head; everything else stays as it is.

        Raises:
            ValueError: a last block that is not plain.
        """
        if not self.plain_head:
            raise ValueError("only a detector with a plain head can tell directions")
        self.direction_head = nn.ConvTranspose2d(2 * self.model.channels[0], 2, 4, stride=2, padding=1)
        nn.init.normal_(self.direction_head.weight, std=0.005)
        nn.init.zeros_(self.direction_head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, C + 4, S / 2, S / 2): C score maps, height, width, offset y, offset x.

        S must be divisible by 32; the units of sizes and offsets are the contract's.
        """
        return self._answer(self.up_sample4(self._features(x)))

    def read(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, C + 6, S / 2, S / 2): what `forward` returns, and two maps more.

        They hold the vector from the wrist to the knuckles in the input image, to the right and down, of
        length 1 where the network is sure, and shorter where it is not. A network that does not tell
        directions returns `forward`'s C + 4 maps.
        """
        if self.direction_head is None:
            return self(x)
        features = self._features(x)
        return torch.cat([self._answer(self.up_sample4(features)), self.direction_head(features)], 1)

    def _features(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to what the heads see, (N, F, S / 4, S / 4)."""
        x1, x2, x3, x4 = self.model(x)
        out = self.up_sample1(x4)
        out = self.up_sample2(torch.cat([x3, out], 1))
        out = self.up_sample3(torch.cat([x2, out], 1))
        return torch.cat([x1, out], 1)

    def _answer(self, out: Tensor) -> Tensor:
        scores, geometry = out[:, : self.num_classes], out[:, self.num_classes :]
        return torch.cat([scores.sigmoid(), geometry], 1)


def detector_for_engines(network: CenterNet) -> CenterNet:
    """A network whose `forward` is `read`: that one, or a copy whose last block makes all maps at once."""
    head = network.direction_head
    if head is None:
        return network
    whole = copy.deepcopy(network)
    last = whole.up_sample4.layers[0]
    assert isinstance(last, nn.ConvTranspose2d)
    last.weight = nn.Parameter(torch.cat([last.weight, head.weight], dim=1).detach())
    last.bias = nn.Parameter(torch.cat([last.bias, head.bias]).detach())  # type: ignore[list-item]
    last.out_channels += head.out_channels
    whole.direction_head = None
    return whole


def for_processors(network: CenterNet) -> CenterNet:
    """A copy that gives the same answers faster on processors."""
    network = copy.deepcopy(network).eval()
    for name, part in list(network.named_children()):
        if isinstance(part, UpSample):
            setattr(network, name, SubPixelUpSample(part))
    return network


def default_classes(num_classes: int) -> tuple[Handedness | None, ...]:
    """Classes of weights that do not say: two are left and right hand."""
    return ("left", "right") if num_classes == 2 else (None,) * num_classes


class Peaks(NamedTuple):
    """What a detector says about one image, best first.

    Args:
        boxes: (K, 4) float32 x0 y0 x1 y1 in pixels of the network's input, not clipped to it.
        scores: (K,) float32.
        classes: (K,) indices into the contract's.
        directions: (K, 2) float32, see `CenterNet.read`; zeros from a network that does not tell.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.intp]
    directions: NDArray[np.float32]


def decode_detections(
    output: NDArray[np.float32],
    contract: DetectorInput,
    score_threshold: float = CENTERNET_SCORE_THRESHOLD,
    nms_iou: float = CENTERNET_NMS_IOU,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """The boxes, scores and classes of `decode_peaks`."""
    return decode_peaks(output, contract, score_threshold, nms_iou)[:3]


def decode_peaks(
    output: NDArray[np.float32],
    contract: DetectorInput,
    score_threshold: float = CENTERNET_SCORE_THRESHOLD,
    nms_iou: float = CENTERNET_NMS_IOU,
) -> Peaks:
    """Peaks of the score maps as boxes.

    A peak is the largest score, over all classes, of its window of 11 x 11 cells. Of two boxes whose IoU
    exceeds `nms_iou` the one with the lower score is dropped, whatever their classes.

    Args:
        output: (C + 4, h, w) of `CenterNet.forward`, or (C + 6, h, w) of `CenterNet.read`, for one image;
            cells with NaN are passed over.
        contract: of the network that made it.
        score_threshold: peaks at or below it are dropped.

    Returns:
        The peaks, best first.
    """
    num_classes = len(contract.classes)
    scores = output[:num_classes].max(axis=0)  # (h, w)
    scores = np.where(scores <= 1, scores, 0).astype(np.float32)  # NaN too
    window = np.ones((CENTERNET_PEAK_WINDOW, CENTERNET_PEAK_WINDOW), np.uint8)
    rows, columns = np.nonzero((scores == cv2.dilate(scores, window)) & (scores > score_threshold))
    best = np.argsort(-scores[rows, columns], kind="stable")[:_MAX_CANDIDATES]
    rows, columns = rows[best], columns[best]

    geometry = output[num_classes : num_classes + 4, rows, columns].astype(np.float32)
    height, width, offset_y, offset_x = geometry  # (K,) each
    with np.errstate(invalid="ignore", over="ignore"):  # broken cells are dropped below
        centre_x = columns * CENTERNET_STRIDE + offset_x * contract.offset_scale
        centre_y = rows * CENTERNET_STRIDE + offset_y * contract.offset_scale
        half_w, half_h = width * contract.size_scale / 2, height * contract.size_scale / 2
        boxes = np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], axis=1)
        boxes = boxes.astype(np.float32)
    sound = np.isfinite(boxes).all(axis=1) & (half_w > 0) & (half_h > 0)
    rows, columns, boxes = rows[sound], columns[sound], boxes[sound]

    peaks = scores[rows, columns]
    keep = nms(torch.from_numpy(boxes), torch.from_numpy(peaks), nms_iou).numpy()
    cells = output[:, rows[keep], columns[keep]]  # (C + 4 or 6, K)
    directions = cells[num_classes + 4 :].T.astype(np.float32)
    if not directions.shape[1]:
        directions = np.zeros((len(keep), 2), np.float32)
    return Peaks(boxes[keep], peaks[keep], cells[:num_classes].argmax(axis=0), directions)

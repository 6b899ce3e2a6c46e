"""CenterNet: hands as centre points (Zhou et al., "Objects as Points", 2019) on a ResNet-18."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import nms

from pipeline.constants import (
    CENTERNET_CANDIDATES,
    CENTERNET_NMS_IOU,
    CENTERNET_SCORE_THRESHOLD,
    CENTERNET_STRIDE,
)
from pipeline.hand import Handedness
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.resnet import ResNet, activation


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


class Scored(nn.Module):
    """Makes scores of the first channels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        scores, geometry = x[:, : self.num_classes], x[:, self.num_classes :]
        return torch.cat([scores.sigmoid(), geometry], 1)


class CenterNet(nn.Module):
    """Heat map of hand centres with each hand's size and sub-cell offset.

    Args:
        num_classes: heat maps.
        width: factor on the channels of backbone and decoder.
        plain_head: leave BatchNorm and LeakyReLU out of the last block. The published weights need them; our
            own learn far faster without.
        contract: input and units; by default those of the published weights.

    Raises:
        ValueError: the contract names another number of classes.
    """

    def __init__(
        self,
        num_classes: int = 1,
        width: float = 1.0,
        plain_head: bool = False,
        contract: DetectorInput | None = None,
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
        self.scored = Scored(num_classes)
        if plain_head:
            self._start_quiet()

    def _start_quiet(self) -> None:
        """Scores near 0.01 everywhere, so that training does not begin by unlearning false alarms."""
        last = self.up_sample4.layers[0]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.005)
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[: self.num_classes], -4.6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, C + 4, S / 2, S / 2): C score maps, height, width, offset y, offset x.

        S must be divisible by 32; the units of sizes and offsets are the contract's.
        """
        x1, x2, x3, x4 = self.model(x)
        out = self.up_sample1(x4)
        out = self.up_sample2(torch.cat([x3, out], 1))
        out = self.up_sample3(torch.cat([x2, out], 1))
        out = self.up_sample4(torch.cat([x1, out], 1))
        return self.scored(out)


def default_classes(num_classes: int) -> tuple[Handedness | None, ...]:
    """Classes of weights that do not say: two are left and right hand."""
    return ("left", "right") if num_classes == 2 else (None,) * num_classes


def decode_detections(
    output: NDArray[np.float32],
    contract: DetectorInput,
    score_threshold: float = CENTERNET_SCORE_THRESHOLD,
    nms_iou: float = CENTERNET_NMS_IOU,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Peaks of the score maps as boxes, best first.

    A peak is the largest score, over all classes, of the contract's window around it. Of two boxes whose IoU
    exceeds `nms_iou` the one with the lower score is dropped, whatever their classes. A box that sticks out
    of the image keeps its centre (the original moves it inside at the left and the top, not at the right).

    Args:
        output: (C + 4, h, w) of `CenterNet.forward` for one image; cells with NaN are passed over.
        contract: of the network that made it.
        score_threshold: peaks at or below it are dropped.

    Returns:
        boxes (K, 4) x0 y0 x1 y1 in pixels of the network's input, not clipped to it; scores (K,);
        classes (K,), indices into the contract's.
    """
    num_classes = len(contract.classes)
    scores = output[:num_classes].max(axis=0)  # (h, w)
    scores = np.where(scores <= 1, scores, 0).astype(np.float32)  # NaN too
    window = np.ones((contract.peak_window, contract.peak_window), np.uint8)
    rows, columns = np.nonzero((scores == cv2.dilate(scores, window)) & (scores > score_threshold))
    best = np.argsort(-scores[rows, columns], kind="stable")[:CENTERNET_CANDIDATES]
    rows, columns = rows[best], columns[best]

    height, width, offset_y, offset_x = output[num_classes:, rows, columns].astype(np.float32)  # (K,) each
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
    classes = output[:num_classes, rows[keep], columns[keep]].argmax(axis=0)
    return boxes[keep], peaks[keep], classes

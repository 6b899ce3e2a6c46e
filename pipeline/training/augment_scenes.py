"""Augmentation of rendered scenes for the detector: what cameras vary, and zoomed windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.training.detector_targets import BoxBatch
from pipeline.training.tearing import lost_places, steepness

_NOWHERE_MM = 8000.0  # stands for what has no depth
_STEEP_MM = 60.0  # of depth from a pixel to the next but one: such places are lost first
_COARSE_PX, _FINE_PX = 13, 3  # of the noise that tears
_TORN_WITH_IR = 0.3  # time of flight loses less than structured light, which comes without infrared
_WHOLE = 0.6  # share of a hand's box that must keep its depth, or the hand is ignored


@dataclass(frozen=True)
class Conditions:
    """One camera for each scene, all (N, 1, 1).

    Args:
        gain: factor on the brightness; 0 without infrared.
        reach: mm beyond which nothing is measured.
        noise: standard deviation of the depth relative to itself.
        holes: share of the pixels that lose their depth.
    """

    gain: Tensor
    reach: Tensor
    noise: Tensor
    holes: Tensor

    def seen(self, depth: Tensor, ir: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W) mm and brightness, within reach and with this gain."""
        return torch.where(depth > self.reach, 0.0, depth), ir * self.gain

    def grained(self, depth: Tensor, generator: torch.Generator) -> Tensor:
        """(N, H, W) mm with noise and holes."""
        grain = torch.randn(depth.shape, generator=generator, device=depth.device)
        lost = torch.rand(depth.shape, generator=generator, device=depth.device) < self.holes
        return torch.where(lost, 0.0, depth * (1.0 + self.noise * grain))


@dataclass(frozen=True)
class SceneAugmentation:
    """How much scenes are varied.

    Args:
        no_ir: share of the scenes without infrared.
        gain: largest factor on the brightness, and its inverse the smallest.
        short_range: share of the scenes in which everything beyond 0.8 to 2.5 m is missing.
        noise: largest standard deviation of the depth noise, relative to the depth.
        holes: largest share of pixels that lose their depth.
        torn: share of the images without infrared of which ragged parts are missing; with infrared, fewer.
        zoom: largest magnification of a window, and its inverse the smallest.
        stretch: largest ratio of vertical to horizontal magnification, and its inverse the smallest.
        on_hand: share of the windows that are placed around a hand, if there is one.
        keep: a box counts while this share of it lies in the window; else it is ignored.
        smallest: boxes whose longer side is shorter are ignored, px.
    """

    no_ir: float = 0.15
    gain: float = 1.8
    short_range: float = 0.15
    noise: float = 0.004
    holes: float = 0.03
    torn: float = 0.35
    zoom: float = 1.4
    stretch: float = 1.2
    on_hand: float = 0.8
    keep: float = 0.4
    smallest: float = 8.0

    def conditions(self, count: int, device: torch.device, generator: torch.Generator) -> Conditions:
        """What a camera does to each of `count` scenes."""
        draw = torch.rand(6, count, 1, 1, generator=generator, device=device)
        gain = torch.exp((draw[0] * 2 - 1) * math.log(self.gain)) * (draw[1] >= self.no_ir)
        reach = torch.where(draw[2] < self.short_range, 800.0 + 1700.0 * draw[3], math.inf)
        return Conditions(gain, reach, self.noise * draw[4] ** 2, self.holes * draw[5] ** 3)

    def tear(
        self, depth: Tensor, ir: Tensor, labels: BoxBatch, generator: torch.Generator
    ) -> tuple[Tensor, BoxBatch]:
        """Loses ragged parts of some images.

        Args:
            depth, ir: (N, S, S).
            labels: in pixels of these images.
            generator: on their device.

        Returns:
            depth; labels, in which hands that lost much of theirs are to be ignored.
        """
        side = depth.shape[-1]
        draw = torch.rand(len(depth), generator=generator, device=depth.device)
        dark = ir.flatten(1).amax(1) <= 0
        chosen = (draw < torch.where(dark, self.torn, self.torn * _TORN_WITH_IR)).nonzero().squeeze(1)
        if not len(chosen):
            return depth, labels
        whole = depth[chosen]
        steep = steepness(torch.where(whole > 0, whole, _NOWHERE_MM), _STEEP_MM)
        lost = lost_places(steep, max(2, side // _COARSE_PX), side // _FINE_PX, generator) & (whole > 0)
        kept = 1 - _inside(lost, labels.boxes[chosen]) / _inside(whole > 0, labels.boxes[chosen]).clamp(min=1)
        state = labels.state.clone()
        state[chosen] = torch.where((state[chosen] == 1) & (kept < _WHOLE), -1, state[chosen])
        torn = depth.index_copy(0, chosen, torch.where(lost, 0.0, whole))
        return torn, BoxBatch(labels.boxes, labels.classes, state)

    def flipped(
        self, images: Tensor, labels: BoxBatch, generator: torch.Generator
    ) -> tuple[Tensor, BoxBatch]:
        """Mirrors half of the images; left hands become right ones.

        Args:
            images: (N, C, S, S).
            labels: in pixels of these images, classes 0 left and 1 right.
            generator: on their device.
        """
        chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(-1), images)
        x0, y0, x1, y1 = labels.boxes.unbind(-1)
        mirrored = torch.stack([images.shape[-1] - x1, y0, images.shape[-1] - x0, y1], dim=-1)
        boxes = torch.where(chosen[:, None, None], mirrored, labels.boxes)
        classes = torch.where(chosen[:, None], 1 - labels.classes, labels.classes)
        return images, BoxBatch(boxes, classes, labels.state)

    def windows(
        self, images: Tensor, labels: BoxBatch, size: int, generator: torch.Generator
    ) -> tuple[Tensor, BoxBatch]:
        """A zoomed square window of each image, most of them around a hand.

        Args:
            images: (N, C, S, S).
            labels: in pixels of these images, from edge to edge.
            size: side of the windows, px.
            generator: on their device.

        Returns:
            (N, C, size, size) and the labels in it: clipped, and ignored where too little is left.
        """
        count, given = len(images), images.shape[-1]
        draw = torch.rand(count, 7, generator=generator, device=images.device)
        zoom = torch.exp((draw[:, :1] * 2 - 1) * math.log(self.zoom))
        stretch = torch.exp((draw[:, 1:2] - 0.5) * math.log(self.stretch))
        factor = torch.cat([zoom / stretch, zoom * stretch], dim=1).clamp(min=size / given)  # (N, 2) x, y
        side = size / factor  # px of the given image
        anywhere = draw[:, 2:4] * (given - side)
        first = anywhere
        if labels.boxes.shape[1]:
            chance = torch.rand(labels.state.shape, generator=generator, device=images.device)
            hand = torch.where(labels.state == 1, chance, -1.0).argmax(1)
            box = labels.boxes[torch.arange(count, device=images.device), hand]
            around = (box[:, :2] + box[:, 2:]) / 2 - side * (0.15 + 0.7 * draw[:, 4:6])
            near = (draw[:, 6] < self.on_hand) & (labels.state == 1).any(1)
            first = torch.where(near[:, None], around, anywhere)
        first = torch.minimum(first.clamp(min=0.0), given - side)
        corners = (labels.boxes.unflatten(-1, (2, 2)) - first[:, None, None]) * factor[:, None, None]
        inside = self.in_view(BoxBatch(corners.flatten(-2), labels.classes, labels.state), size)
        return _window(images, first, side, size), inside

    def in_view(self, labels: BoxBatch, size: int) -> BoxBatch:
        """Boxes clipped to a square image; those of which too little is left are ignored."""
        clipped = labels.boxes.clamp(0.0, size)
        extent = (clipped[..., 2:] - clipped[..., :2]).clamp(min=0.0)
        whole = (labels.boxes[..., 2:] - labels.boxes[..., :2]).clamp(min=1e-3).prod(-1)
        left = extent.prod(-1) / whole
        state = labels.state
        state = torch.where(
            (state == 1) & ((left < self.keep) | (extent.amax(-1) < self.smallest)), -1, state
        )
        return BoxBatch(clipped, labels.classes, torch.where(left > 0, state, 0))


def _window(images: Tensor, first: Tensor, side: Tensor, size: int) -> Tensor:
    """Nearest-neighbour samples of (N, 2) wide and high windows, coordinates x, y from edge to edge."""
    given = images.shape[-1]
    theta = torch.diag_embed(side / given)  # (N, 2, 2)
    middle = (2.0 * first + side) / given - 1.0
    theta = torch.cat([theta, middle[..., None]], dim=-1)
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="border", align_corners=False)


def _inside(pixels: Tensor, boxes: Tensor) -> Tensor:
    """(N, K) how many of the True pixels of (N, S, S) lie in boxes (N, K, 4) px, from edge to edge."""
    sums = F.pad(pixels.float().cumsum(1).cumsum(2), (1, 0, 1, 0))  # (N, S + 1, S + 1)
    x0, y0, x1, y1 = boxes.round().long().clamp(0, pixels.shape[-1]).unbind(-1)
    image = torch.arange(len(pixels), device=pixels.device)[:, None]
    return sums[image, y1, x1] - sums[image, y0, x1] - sums[image, y1, x0] + sums[image, y0, x0]

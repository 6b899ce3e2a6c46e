"""Augmentation of recorded frames for the detector, as in centernet_kinect."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_TRIALS = 50  # windows that are tried until one holds a hand
_NARROWEST = 0.5  # ratio of a window's sides


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A frame and its hands.

    Args:
        images: (2, H, W) float32 depth mm and brightness.
        boxes: (K, 4) edges, px.
        classes: (K,) int64 numbers of the heat maps.
        state: (K,) int64: 1 = to be found, -1 = to be ignored.
    """

    images: FloatArray
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    state: NDArray[np.int64]


@dataclass(frozen=True)
class RecordedAugmentation:
    """How far recorded frames are varied.

    Args:
        magnify: share of the frames whose hands are given another depth and brightness.
        depth_factors, brightness_factors: smallest and largest factor in the hands' boxes.
        zoom_out: share of the frames that are shown smaller, in a frame of their mean values.
        most_zoom: by how much at most.
        crop: share of the frames of which a window is shown.
        smallest_crop: its smallest side, of the frame's.
        flip: share of the frames that are mirrored; left hands become right ones.
    """

    magnify: float = 0.3
    depth_factors: tuple[float, float] = (0.3, 6.0)
    brightness_factors: tuple[float, float] = (0.33, 3.0)
    zoom_out: float = 0.5
    most_zoom: float = 3.0
    crop: float = 0.8
    smallest_crop: float = 0.3
    flip: float = 0.5

    def __call__(self, frame: LabelledImage, size: int, rng: np.random.Generator) -> LabelledImage:
        """A varied frame, resized to `size` px."""
        images = self._magnified(frame, rng) if rng.random() < self.magnify else frame.images
        window = self._window(frame, rng)
        shown = view(LabelledImage(images, frame.boxes, frame.classes, frame.state), window, size)
        return _mirrored(shown) if rng.random() < self.flip else shown

    def _magnified(self, frame: LabelledImage, rng: np.random.Generator) -> FloatArray:
        images = frame.images.copy()
        for x0, y0, x1, y1 in frame.boxes.astype(int):
            images[0, y0:y1, x0:x1] *= rng.uniform(*self.depth_factors)
            images[1, y0:y1, x0:x1] *= np.exp(rng.uniform(*np.log(self.brightness_factors)))
        return images

    def _window(self, frame: LabelledImage, rng: np.random.Generator) -> NDArray[np.float64]:
        """(4,) edges of what is shown, px; beyond the frame's where it is shown smaller."""
        height, width = frame.images.shape[1:]
        whole = np.array([0.0, 0.0, width, height])
        if rng.random() < self.zoom_out:
            extent = rng.uniform(1, self.most_zoom) * np.array([width, height])
            first = rng.uniform(0, extent - (width, height))
            whole = np.array([*-first, *(extent - first)])
        if rng.random() >= self.crop:
            return whole
        centres = (frame.boxes[:, :2] + frame.boxes[:, 2:])[frame.state == 1] / 2
        for _ in range(_TRIALS):
            sides = rng.uniform(self.smallest_crop, 1, 2) * (whole[2:] - whole[:2])
            first = rng.uniform(whole[:2], whole[2:] - sides)
            inside = ((centres > first) & (centres < first + sides)).all(axis=1)
            if sides.min() >= _NARROWEST * sides.max() and (inside.any() or not len(centres)):
                return np.array([*first, *(first + sides)])
        return whole


def view(frame: LabelledImage, window: NDArray[np.float64], size: int) -> LabelledImage:
    """What a window shows, at `size` x `size` px; hands whose centre lies outside are to be ignored.

    Args:
        window: (4,) edges, px; what lies beyond the frame shows its mean values.
    """
    scale = size / (window[2:] - window[:2])
    # cv2.resize takes the pixel at floor(k / scale), as at run time; warpAffine rounds.
    matrix = np.array([[1 / scale[0], 0, window[0] - 0.499], [0, 1 / scale[1], window[1] - 0.499]])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    images = np.stack(
        [
            cv2.warpAffine(image, matrix, (size, size), flags=flags, borderValue=float(image.mean()))
            for image in frame.images
        ]
    )
    boxes = (frame.boxes.reshape(-1, 2, 2) - window[:2]) * scale
    centres = boxes.mean(axis=1)
    outside = ((centres < 0) | (centres > size)).any(axis=1)
    clipped = boxes.clip(0, size).reshape(-1, 4)
    seen = (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1)
    state = np.where(outside, -1, frame.state)
    return LabelledImage(images.astype(np.float32), clipped[seen], frame.classes[seen], state[seen])


def _mirrored(frame: LabelledImage) -> LabelledImage:
    boxes = frame.boxes.copy()
    boxes[:, [0, 2]] = frame.images.shape[-1] - boxes[:, [2, 0]]
    return LabelledImage(frame.images[..., ::-1].copy(), boxes, 1 - frame.classes, frame.state)

"""From depth and infrared to CenterNet's input: for one frame at run time, for a batch while training.

Both do the same: clip, take the square root of the brightness, normalise each image by its own mean and
standard deviation. The whole input is depth, infrared and their mean; engines are given the first two, and
know what to make of them (see `pipeline.networks.inference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.networks.contracts import DetectorInput


def measured_input(
    depth: NDArray[np.uint16], ir: NDArray[np.uint16] | None, contract: DetectorInput
) -> NDArray[np.float32]:
    """The channels of the detector's input that are measured: what engines are given.

    Args:
        depth: (H, W) mm, 0 = no measurement.
        ir: (H, W) brightness, or None: its channel is then zero.
        contract: size, limits and channels.

    Returns:
        (2, S, S) depth and infrared, or (1, S, S) depth alone, ready to be batched.
    """
    channels = np.empty((contract.measured, contract.size, contract.size), dtype=np.float32)
    _measure_into(channels, depth, ir, contract)
    return channels


def detector_input(
    depth: NDArray[np.uint16], ir: NDArray[np.uint16] | None, contract: DetectorInput
) -> NDArray[np.float32]:
    """A frame as the whole input, (3, S, S): depth, infrared and their mean, or depth three times.

    Args:
        depth, ir, contract: as of `measured_input`.
    """
    stacked = np.empty((3, contract.size, contract.size), dtype=np.float32)
    _measure_into(stacked[: contract.measured], depth, ir, contract)
    if contract.measured == 1:
        stacked[1:] = stacked[0]
    else:
        np.add(stacked[0], stacked[1], out=stacked[2])
        stacked[2] *= 0.5
    return stacked


def _measure_into(
    channels: NDArray[np.float32],
    depth: NDArray[np.uint16],
    ir: NDArray[np.uint16] | None,
    contract: DetectorInput,
) -> None:
    _normalise_into(channels[0], _resized(depth, contract.size, contract.depth_max_mm))
    if len(channels) == 1:
        return
    if ir is None:
        channels[1] = 0.0
    else:
        brightness = _resized(ir, contract.size, contract.ir_max)
        _normalise_into(channels[1], np.sqrt(brightness, out=brightness) if contract.ir_sqrt else brightness)


@dataclass(frozen=True)
class ImageStatistics:
    """Mean and standard deviation (0 replaced by 1) of each image, after clipping.

    Args:
        depth, ir: (N, 2): mean, standard deviation.
    """

    depth: Tensor
    ir: Tensor


def image_statistics(depth: Tensor, ir: Tensor, contract: DetectorInput) -> ImageStatistics:
    """Of (N, H, W) float32 images, mm and brightness."""
    return ImageStatistics(_statistics(_near(depth, contract)), _statistics(_bright(ir, contract)))


def detector_batch(
    depth: Tensor, ir: Tensor, contract: DetectorInput, statistics: ImageStatistics | None = None
) -> Tensor:
    """The same for images that already have the input's scale.

    Args:
        depth, ir: (N, H, W) float32 mm and brightness; a frame without infrared has zeros.
        contract: limits and channels.
        statistics: of the whole images, if these are windows of them.

    Returns:
        (N, 3, H, W) float32.
    """
    if statistics is None:
        statistics = image_statistics(depth, ir, contract)
    near = _normalised(_near(depth, contract), statistics.depth)
    if contract.channels == "depth":
        return near[:, None].expand(-1, 3, -1, -1)
    bright = _normalised(_bright(ir, contract), statistics.ir)
    return torch.stack([near, bright, (near + bright) * 0.5], dim=1)


def _near(depth: Tensor, contract: DetectorInput) -> Tensor:
    return depth if contract.depth_max_mm is None else depth.clamp(max=contract.depth_max_mm)


def _bright(ir: Tensor, contract: DetectorInput) -> Tensor:
    clipped = ir if contract.ir_max is None else ir.clamp(max=contract.ir_max)
    return clipped.sqrt() if contract.ir_sqrt else clipped


def _statistics(images: Tensor) -> Tensor:  # (N, H, W) -> (N, 2)
    std, mean = torch.std_mean(images.flatten(1), dim=1, correction=0)
    return torch.stack([mean, torch.where(std > 0, std, 1.0)], dim=1)


def _normalised(images: Tensor, statistics: Tensor) -> Tensor:
    mean, std = statistics[:, :, None, None].unbind(1)
    return (images - mean) / std


def _resized(image: NDArray[np.uint16], size: int, largest: float | None) -> NDArray[np.float32]:
    """(size, size) of OpenCV's nearest neighbours, which its own resize takes twice as long for in a program
    that fills the caches with networks."""
    height, width = image.shape
    values = image[_nearest(height, size)][:, _nearest(width, size)].astype(np.float32)
    return values if largest is None else np.minimum(values, np.float32(largest), out=values)


@lru_cache(maxsize=16)
def _nearest(length: int, size: int) -> slice | NDArray[np.intp]:
    """Which of `length` rows or columns are taken."""
    if length % size == 0:
        return slice(None, None, length // size)
    numbers = np.arange(length, dtype=np.float32)[:, None]
    return cv2.resize(numbers, (1, size), interpolation=cv2.INTER_NEAREST)[:, 0].astype(np.intp)


def _normalise_into(out: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    mean, std = cv2.meanStdDev(values)
    scale = 1.0 / (float(std[0, 0]) or 1.0)
    np.multiply(values, np.float32(scale), out=out)
    out -= np.float32(float(mean[0, 0]) * scale)

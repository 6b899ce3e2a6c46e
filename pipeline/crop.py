"""The hand's region as A2J's input, and A2J's output back in the image.

Crop coordinates: the centre of the crop's first pixel is (0, 0), as everywhere, and stands at (x0, y0) in
the image, so that column c shows the image at x0 + c * step_x.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.constants import CONFIDENCE_HALF_MM
from pipeline.frame import DepthCamera
from pipeline.networks.contracts import HandInput

_SAMPLES = 64  # along the longer side of a box: enough to tell a hand from what is behind it
_NEAR_QUANTILE = 0.15  # of the depths in the middle of a box: the hand, hardly ever a stray near pixel
_REACH_MM = 150.0  # a hand's surface is within this of any of its points, along the optical axis
_STEP_MM, _STEP_SLOPE = 10.0, 0.008  # a larger step to the neighbour is an edge: constant, and share of z


@dataclass(frozen=True)
class HandCrop:
    """Where a square crop lies in the depth image.

    Args:
        x0, y0: image position of the centre of the crop's first pixel (before mirroring), px.
        step_x, step_y: image px for one px of the crop.
        depth_mm: depth of the crop's centre.
        contract: size of the crop and form of its values.
        mirrored: whether the crop is mirrored left to right.
    """

    x0: float
    y0: float
    step_x: float
    step_y: float
    depth_mm: float
    contract: HandInput
    mirrored: bool = False

    @classmethod
    def around(
        cls, centre: NDArray[np.floating], camera: DepthCamera, contract: HandInput, mirrored: bool = False
    ) -> HandCrop:
        """The crop in whose middle a point lies.

        Args:
            centre: (3,) column px, row px, depth mm.
            camera: of the depth image; lens distortion inside the crop's window is left as it is.
            contract: metric side of the crop, or its side in the image of another camera.

        Raises:
            ValueError: a depth that is not positive, or a contract without a size.
        """
        u, v, depth = (float(value) for value in centre)
        if not (np.isfinite([u, v, depth]).all() and depth > 0):
            raise ValueError(f"a crop's centre needs finite pixels and a positive depth, found {centre}")
        field = _side_mm(contract, depth) / depth
        width, height = camera.fx * field, camera.fy * field
        step_x, step_y = width / contract.size, height / contract.size
        middle = (contract.size - 1) / 2
        return cls(u - step_x * middle, v - step_y * middle, step_x, step_y, depth, contract, mirrored)

    @property
    def scale_mm(self) -> float:
        """Millimetres in the plane of the centre for one px of the crop."""
        return _side_mm(self.contract, self.depth_mm) / self.contract.size

    def take(self, depth: NDArray[np.uint16]) -> NDArray[np.float32]:
        """The network's input.

        Args:
            depth: (H, W) mm, 0 = no measurement.

        Returns:
            (S, S), sampled at the nearest pixel; what lies outside the image counts as not measured.
        """
        grid = np.arange(self.contract.size)
        rows = np.floor(self.y0 + self.step_y * grid + 0.5).astype(np.intp)
        columns = np.floor(self.x0 + self.step_x * grid + 0.5).astype(np.intp)
        if self.mirrored:
            columns = columns[::-1]
        crop = depth.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
        crop[(rows < 0) | (rows >= depth.shape[0])] = 0
        crop[:, (columns < 0) | (columns >= depth.shape[1])] = 0
        return network_values(crop, self.depth_mm, self.contract)

    def to_image(self, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """Joints in the crop to the image.

        Args:
            joints: (J, 3) column px, row px of the crop, depth in the network's unit from the centre's.

        Returns:
            (J, 3) column px, row px of the depth image, depth mm.
        """
        column, row, depth = np.asarray(joints, dtype=np.float64).T
        if self.mirrored:
            column = self.contract.size - 1 - column
        u, v = self.x0 + self.step_x * column, self.y0 + self.step_y * row
        return np.stack([u, v, self.depth_mm + self.contract.depth_unit_mm * depth], axis=1)

    def from_image(self, uvd: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `to_image`."""
        u, v, depth = np.asarray(uvd, dtype=np.float64).T
        column, row = (u - self.x0) / self.step_x, (v - self.y0) / self.step_y
        if self.mirrored:
            column = self.contract.size - 1 - column
        return np.stack([column, row, (depth - self.depth_mm) / self.contract.depth_unit_mm], axis=1)


@dataclass(frozen=True, eq=False)
class CropPose:
    """What A2J says about a crop.

    Args:
        crop: where it looked.
        uvd: (J, 3) joints: column px, row px of the depth image, depth mm.
        spread_mm: (J,) weighted standard deviation of the anchors' votes about each joint, at the depth of
            the crop's centre.
    """

    crop: HandCrop
    uvd: NDArray[np.float64]
    spread_mm: NDArray[np.float64]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(J,) 1 / (1 + (spread / CONFIDENCE_HALF_MM)^2): from 1, all anchors agree, towards 0."""
        return (1 / (1 + (self.spread_mm / CONFIDENCE_HALF_MM) ** 2)).astype(np.float32)

    @property
    def doubt_mm(self) -> float:
        """Mean spread; infinite if a joint is not finite or not in front of the camera: no hand."""
        sound = (
            np.isfinite(self.uvd).all() and np.isfinite(self.spread_mm).all() and (self.uvd[:, 2] > 0).all()
        )
        return float(self.spread_mm.mean()) if sound else np.inf

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) middle of the joints' box in the image, px, and their median depth, mm."""
        u, v, _ = (self.uvd.min(axis=0) + self.uvd.max(axis=0)) / 2
        return np.array([u, v, np.median(self.uvd[:, 2])])

    @property
    def moved_mm(self) -> float:
        """How far the joints' centre lies from the crop's."""
        crop = self.crop
        middle = (crop.contract.size - 1) / 2
        away = self.centre - (crop.x0 + crop.step_x * middle, crop.y0 + crop.step_y * middle, crop.depth_mm)
        return float(np.linalg.norm(away * (crop.scale_mm / crop.step_x, crop.scale_mm / crop.step_y, 1)))


def _side_mm(contract: HandInput, depth_mm: float) -> float:
    """Side of the crop in the plane of its centre."""
    if contract.crop_mm is not None:
        return contract.crop_mm
    if contract.window_px is None or contract.window_fx is None:
        raise ValueError("the input of a hand network needs crop_mm, or window_px and window_fx")
    return contract.window_px / contract.window_fx * depth_mm


def network_values(crop: NDArray[np.uint16], centre_mm: float, contract: HandInput) -> NDArray[np.float32]:
    """Depths as the network sees them: see `HandInput` for the forms.

    Args:
        crop: (S, S) mm, 0 = no measurement.
        centre_mm: depth of the hand's centre.

    Returns:
        (S, S).
    """
    reach = np.float32(contract.depth_range_mm)
    relative = crop.astype(np.float32)
    relative -= np.float32(centre_mm)
    if contract.outside == "far":
        relative[crop == 0] = reach
        np.clip(relative, -reach, reach, out=relative)
    else:
        relative[(crop == 0) | (np.abs(relative) > reach)] = 0.0
    relative -= np.float32(contract.mean)
    relative *= np.float32(1.0 / contract.std)
    return relative


def find_hand(depth: NDArray[np.uint16], box: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """The hand's centre: the middle of its box, at the depth of the surface that stands out there.

    That surface is grown from a near point in the middle of the box over neighbours without a step in depth,
    so that neither the body or wall behind the hand nor missing depth counts.

    Args:
        depth: (H, W) mm, 0 = no measurement.
        box: (4,) x0 y0 x1 y1 px; the part outside the image is left out.

    Returns:
        (3,) column px, row px, depth mm; None if the box is not finite, has no area, or no measured depth in
        the image.
    """
    if not (np.isfinite(box).all() and (box[:2] < box[2:]).all()):
        return None
    size = depth.shape[::-1]
    corners = np.clip(np.asarray(box, dtype=np.float64).reshape(2, 2), 0, size)
    low, high = np.floor(corners[0]).astype(int), np.ceil(corners[1]).astype(int)
    stride = max(1, int(np.max(high - low)) // _SAMPLES)
    region = depth[low[1] : high[1] : stride, low[0] : high[0] : stride]
    seed = _near_point(region)
    if seed is None:
        return None
    surface = _surface(region, seed, stride)
    return np.array([*corners.mean(axis=0), np.median(region[surface])])


def _near_point(region: NDArray[np.uint16]) -> tuple[int, int] | None:
    """Row and column of a near point, if possible in the middle half."""
    height, width = region.shape
    rows, columns = height // 4, width // 4
    middle = region[rows : height - rows, columns : width - columns]
    if not middle.any():
        middle, rows, columns = region, 0, 0
    measured = middle[middle > 0]
    if not len(measured):
        return None
    rank = int(_NEAR_QUANTILE * (len(measured) - 1))
    level = np.partition(measured, rank)[rank]
    row, column = np.argwhere(middle == level)[0]
    return int(row) + rows, int(column) + columns


def _surface(region: NDArray[np.uint16], seed: tuple[int, int], stride: int) -> NDArray[np.bool_]:
    """The pixels connected to the seed without a step in depth."""
    start = float(region[seed])
    step = _STEP_MM + _STEP_SLOPE * start * stride
    values = region.astype(np.float32)
    values[np.abs(values - start) > _REACH_MM] = -1e6  # nothing is connected over these
    mask = np.zeros((region.shape[0] + 2, region.shape[1] + 2), np.uint8)
    flags = cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(values, mask, (seed[1], seed[0]), 0, step, step, flags)
    return mask[1:-1, 1:-1].astype(bool)

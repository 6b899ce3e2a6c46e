"""The hand's region as A2J's input, and A2J's output back in the image.

Crop coordinates: the centre of the crop's first pixel is (0, 0), as everywhere; its middle, (S - 1) / 2 in
both directions, shows the image at (u, v).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.constants import (
    CONFIDENCE_HALF_MM,
    HOPELESS_PRESENCE,
    SURFACE_NEAR_QUANTILE,
    SURFACE_REACH_MM,
    SURFACE_SAMPLES,
    SURFACE_STEP_MM,
    SURFACE_STEP_SLOPE,
)
from pipeline.frame import DepthCamera
from pipeline.hand import centre_of
from pipeline.networks.contracts import HandInput


@dataclass(frozen=True)
class HandCrop:
    """Where a square crop lies in the depth image.

    Args:
        u, v: image position of the crop's middle, px.
        step_x, step_y: image px for one px of the crop, along the image's rows and columns.
        depth_mm: depth of the crop's centre.
        contract: size of the crop and form of its values.
        mirrored: whether the crop is mirrored left to right.
        roll: what points up in the crop is turned clockwise by this angle in the image, rad.
    """

    u: float
    v: float
    step_x: float
    step_y: float
    depth_mm: float
    contract: HandInput
    mirrored: bool = False
    roll: float = 0.0

    @classmethod
    def around(
        cls,
        centre: NDArray[np.floating],
        camera: DepthCamera,
        contract: HandInput,
        mirrored: bool = False,
        roll: float = 0.0,
    ) -> HandCrop:
        """The crop in whose middle a point lies.

        Args:
            centre: (3,) column px, row px, depth mm.
            camera: of the depth image; lens distortion inside the crop's window is left as it is.
            contract: metric side of the crop, or its side in the image of another camera.
            mirrored, roll: see `HandCrop`.

        Raises:
            ValueError: a depth that is not positive, numbers that are not finite, a contract without a size.
        """
        u, v, depth = (float(value) for value in centre)
        if not (np.isfinite([u, v, depth, roll]).all() and depth > 0):
            raise ValueError(f"a crop's centre needs finite pixels and a positive depth, found {centre}")
        px = _side_mm(contract, depth) / depth / contract.size
        return cls(u, v, camera.fx * px, camera.fy * px, depth, contract, mirrored, roll)

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """(2, 3): crop column, row, 1 to image column, row."""
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        linear = np.array([[cos, -sin], [sin, cos]]) * [[self.step_x], [self.step_y]]
        if self.mirrored:
            linear[:, 0] *= -1
        first = np.array([self.u, self.v]) - linear.sum(axis=1) * ((self.contract.size - 1) / 2)
        return np.column_stack([linear, first])

    @cached_property
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
        crop = cv2.warpAffine(
            depth,
            self.affine,
            (self.contract.size, self.contract.size),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        return network_values(crop.astype(np.uint16, copy=False), self.depth_mm, self.contract)

    def to_image(self, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """Joints in the crop to the image.

        Args:
            joints: (J, 3) column px, row px of the crop, depth in the network's unit from the centre's.

        Returns:
            (J, 3) column px, row px of the depth image, depth mm.
        """
        joints = np.asarray(joints, dtype=np.float64)
        affine = self.affine
        uv = joints[:, :2] @ affine[:, :2].T + affine[:, 2]
        return np.column_stack([uv, self.depth_mm + self.contract.depth_unit_mm * joints[:, 2]])

    def from_image(self, uvd: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `to_image`."""
        uvd = np.asarray(uvd, dtype=np.float64)
        affine = self.affine
        place = np.linalg.solve(affine[:, :2], (uvd[:, :2] - affine[:, 2]).T).T
        return np.column_stack([place, (uvd[:, 2] - self.depth_mm) / self.contract.depth_unit_mm])


@dataclass(frozen=True, eq=False)
class CropPose:
    """What A2J says about a crop.

    Args:
        crop: where it looked.
        uvd: (J, 3) joints: column px, row px of the depth image, depth mm.
        spread_mm: (J,) weighted standard deviation of the anchors' votes about each joint, at the depth of
            the crop's centre.
        side_log_odds: of a right hand of the person against a left one; None from a network that does not
            tell.
        presence_log_odds: of a hand being there against none; None from a network that does not tell.
    """

    crop: HandCrop
    uvd: NDArray[np.float64]
    spread_mm: NDArray[np.float64]
    side_log_odds: float | None = None
    presence_log_odds: float | None = None

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """(J,) 1 / (1 + (spread / CONFIDENCE_HALF_MM)^2): from 1, all anchors agree, towards 0."""
        return (1 / (1 + (self.spread_mm / CONFIDENCE_HALF_MM) ** 2)).astype(np.float32)

    @cached_property
    def doubt_mm(self) -> float:
        """Mean spread; infinite if a joint is not finite or not in front of the camera: no hand."""
        sound = (
            np.isfinite(self.uvd).all() and np.isfinite(self.spread_mm).all() and (self.uvd[:, 2] > 0).all()
        )
        return float(self.spread_mm.mean()) if sound else np.inf

    @property
    def worth_another_look(self) -> bool:
        """Whether there are joints, and perhaps a hand."""
        hopeless = self.presence_log_odds is not None and self.presence_log_odds < HOPELESS_PRESENCE
        return bool(np.isfinite(self.doubt_mm)) and not hopeless

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """(3,) middle of the joints' box in the image, px, and their median depth, mm."""
        return centre_of(self.uvd)

    @cached_property
    def moved_mm(self) -> float:
        """How far the joints' centre lies from the crop's."""
        crop = self.crop
        away = self.centre - (crop.u, crop.v, crop.depth_mm)
        return float(np.linalg.norm(away * (crop.scale_mm / crop.step_x, crop.scale_mm / crop.step_y, 1)))

    @cached_property
    def roll(self) -> float:
        """By how far the palm is turned clockwise from pointing up in the image, rad."""
        skeleton = self.crop.contract.skeleton
        knuckles = self.uvd[list(skeleton.knuckles), :2].mean(axis=0)
        right, down = (knuckles - self.uvd[skeleton.root, :2]) / (self.crop.step_x, self.crop.step_y)
        return float(np.arctan2(right, -down))

    @property
    def turned(self) -> float:
        """Angle between the palm and the crop's upward direction, rad."""
        return abs(math.remainder(self.roll - self.crop.roll, 2 * math.pi))


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
    stride = max(1, int(np.max(high - low)) // SURFACE_SAMPLES)
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
    rank = int(SURFACE_NEAR_QUANTILE * (len(measured) - 1))
    level = np.partition(measured, rank)[rank]
    row, column = np.argwhere(middle == level)[0]
    return int(row) + rows, int(column) + columns


def _surface(region: NDArray[np.uint16], seed: tuple[int, int], stride: int) -> NDArray[np.bool_]:
    """The pixels connected to the seed without a step in depth."""
    start = float(region[seed])
    step = SURFACE_STEP_MM + SURFACE_STEP_SLOPE * start * stride
    values = region.astype(np.float32, order="C")  # OpenCV refuses the layout of a transposed image
    values[np.abs(values - start) > SURFACE_REACH_MM] = -1e6  # nothing is connected over these
    mask = np.zeros((region.shape[0] + 2, region.shape[1] + 2), np.uint8)
    flags = cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(values, mask, (seed[1], seed[0]), 0, step, step, flags)
    return mask[1:-1, 1:-1].astype(bool)

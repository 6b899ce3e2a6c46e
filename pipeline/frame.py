"""The camera's side of the interface: a depth camera's geometry and one frame of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Newton-like refinement inside OpenCV: lens models as strong as the Azure Kinect's wide field need more
# than its default of five rounds to come back to 1e-3 px at the image corners.
_UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-10)

_SAME_PX = 0.1  # a ray leads back to its pixel this exactly


@dataclass(frozen=True)
class DepthCamera:
    """Pinhole camera with OpenCV's rational distortion model.

    Args:
        width, height: image size, px.
        fx, fy, cx, cy: focal lengths and principal point, px; the centre of the first pixel is (0, 0).
        distortion: (k1, k2, p1, p2, k3, k4, k5, k6) in OpenCV's order, or None for an ideal lens. The first 4
            or 5 are enough, and a list or an array will do.
        metric_radius: distance from the optical axis, in the plane z = 1, up to which the lens model holds;
            None: in the whole image.

    Raises:
        ValueError: a size that is not whole, one, a focal length or a radius that is not positive, a number
            that is not finite, or a distortion of another length.
        TypeError: what should be a number is none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] | None = None
    metric_radius: float | None = None

    def __post_init__(self) -> None:
        size, intrinsics = (self.width, self.height), (self.fx, self.fy, self.cx, self.cy)
        radius = self.metric_radius
        given = (*size, *intrinsics, *(() if radius is None else (radius,)))
        if not all(isinstance(number, Real) and not isinstance(number, bool) for number in given):
            raise TypeError(f"camera size, intrinsics and radius must be numbers, found {self}")
        if not all(side > 0 and as_float(side).is_integer() for side in size):
            raise ValueError(f"camera size must be positive and whole, found {self.width}x{self.height}")
        if self.distortion is not None:
            object.__setattr__(self, "distortion", _eight(self.distortion))
        numbers = [as_float(number) for number in (*intrinsics, *(self.distortion or ()))]
        if not np.isfinite(numbers).all() or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"camera needs finite intrinsics and positive focal lengths, found {self}")
        for name, side in zip(("width", "height"), size, strict=True):
            object.__setattr__(self, name, int(side))
        if radius is not None and not (0 < as_float(radius) < np.inf):
            raise ValueError(f"metric_radius must be positive and finite, found {self.metric_radius}")

    @property
    def matrix(self) -> FloatArray:
        """(3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    def unproject(self, uvd: NDArray[np.floating]) -> FloatArray:
        """Pixels with depth to points in the camera's frame.

        Where the lens model does not hold (see `reaches`), a pixel has the last ray that it holds for in the
        same direction from the image's centre: its depth is right, x and y only tell the side.

        Args:
            uvd: (..., 3) column px, row px, depth along the optical axis in mm.

        Returns:
            (..., 3) x right, y down, z forward, mm.
        """
        uvd = np.asarray(uvd, dtype=np.float64)
        rays, z = self._rays(uvd[..., :2]), uvd[..., 2:]
        if self.metric_radius is not None:
            ideal = self._ideal_rays(uvd[..., :2])
            length = np.maximum(np.linalg.norm(ideal, axis=-1, keepdims=True), 1e-9)
            held = self._holds(uvd[..., :2], rays)[..., None]
            rays = np.where(held, rays, ideal * (self.metric_radius / length))
        return np.concatenate([rays * z, z], axis=-1)

    def reaches(self, uvd: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether the lens model holds at pixels.

        Args:
            uvd: (..., 2 or 3) column px, row px, and what does not matter.

        Returns:
            (...,).
        """
        uv = np.asarray(uvd, dtype=np.float64)[..., :2]
        if self.metric_radius is None:
            return np.ones(uv.shape[:-1], dtype=np.bool_)
        return self._holds(uv, self._rays(uv))

    def valid_pixels(self) -> NDArray[np.bool_]:
        """(H, W) where the lens model holds: not in the corners of an Azure Kinect's wide modes."""
        rows, columns = np.mgrid[: self.height, : self.width]
        return self.reaches(np.stack([columns, rows], axis=-1))

    def _holds(self, uv: NDArray[np.floating], rays: FloatArray) -> NDArray[np.bool_]:
        """(...,) whether (..., 2) px have the (..., 2) rays that were found for them."""
        # Outside, the distortion can fold over and the iteration ends on a ray of another pixel, or none.
        again = self.project(np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1))[..., :2]
        returned = np.abs(again - uv).max(axis=-1) < _SAME_PX
        return returned & (np.linalg.norm(rays, axis=-1) <= self.metric_radius)

    def _rays(self, uv: NDArray[np.floating]) -> FloatArray:
        """(..., 2) px to (..., 2) x / z, y / z."""
        if self.distortion is None or uv.size == 0:
            return self._ideal_rays(uv)
        return self._undistort(uv.reshape(-1, 1, 2)).reshape(uv.shape)

    def _ideal_rays(self, uv: NDArray[np.floating]) -> FloatArray:
        """The same without the lens distortion."""
        return (np.asarray(uv, dtype=np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)

    def _undistort(self, uv: NDArray[np.floating]) -> FloatArray:
        """(N, 1, 2) px to (N, 1, 2) x / z, y / z without the lens distortion."""
        matrix, distortion = self.matrix, np.asarray(self.distortion)
        if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4 takes the criteria here only
            rays = cv2.undistortPointsIter(uv, matrix, distortion, None, None, _UNDISTORT_CRITERIA)
        else:
            rays = cv2.undistortPoints(uv, matrix, distortion, criteria=_UNDISTORT_CRITERIA)
        return rays.astype(np.float64, copy=False)

    def project(self, xyz: NDArray[np.floating]) -> FloatArray:
        """Points in the camera's frame to pixels with depth: the inverse of `unproject`.

        Args:
            xyz: (..., 3) mm.

        Returns:
            (..., 3) column px, row px, depth mm.
        """
        xyz = np.asarray(xyz, dtype=np.float64)
        if self.distortion is None or xyz.size == 0:
            uv = xyz[..., :2] / xyz[..., 2:] * (self.fx, self.fy) + (self.cx, self.cy)
        else:
            flat = xyz.reshape(-1, 3)
            zero = np.zeros(3)
            projected, _ = cv2.projectPoints(flat, zero, zero, self.matrix, np.asarray(self.distortion))
            uv = projected.reshape((*xyz.shape[:-1], 2)).astype(np.float64, copy=False)
        return np.concatenate([uv, xyz[..., 2:]], axis=-1)


def _eight(distortion: ArrayLike) -> tuple[float, ...]:
    """Coefficients in OpenCV's order, as many as there can be."""
    values = np.asarray(distortion).ravel().tolist()
    if not all(isinstance(value, Real) for value in values):
        raise TypeError(f"distortion must be numbers, found {values}")
    if len(values) not in (4, 5, 8):
        raise ValueError(
            f"distortion must be 4, 5 or 8 numbers (k1 k2 p1 p2 k3 k4 k5 k6), found {len(values)}"
        )
    return (*map(as_float, values), *[0.0] * (8 - len(values)))


def as_float(number: float) -> float:
    """A number as a float: infinite if it is a whole one beyond the largest of these."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


# An Azure Kinect in its narrow mode, without the lens's distortion: rendered videos are seen by it.
RENDERED_CAMERA = DepthCamera(width=640, height=576, fx=504.6, fy=504.7, cx=320.5, cy=330.5)


@dataclass(frozen=True, eq=False)
class Frame:
    """One synchronised capture.

    Args:
        depth: (H, W) uint16, mm along the optical axis; 0 where nothing was measured.
        ir: (H, W) uint16 active-infrared brightness, or None.
        camera: geometry of the depth image.
        timestamp_us: device time, microseconds.
        index: running number of the frame in its source.

    Raises:
        TypeError, ValueError: an image of another type or size than the camera's.
    """

    depth: NDArray[np.uint16]
    ir: NDArray[np.uint16] | None
    camera: DepthCamera
    timestamp_us: int = 0
    index: int = 0

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        for name, image in (("depth", self.depth), ("ir", self.ir)):
            if image is None and name == "ir":
                continue
            if not isinstance(image, np.ndarray) or image.dtype != np.uint16:
                found = getattr(image, "dtype", type(image).__name__)
                raise TypeError(f"{name} must be a uint16 array, found {found}")
            if image.shape != shape:
                raise ValueError(f"{name} must have the camera's shape {shape}, found {image.shape}")

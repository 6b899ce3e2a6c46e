"""The Azure Kinect's factory calibration: from the sensor's 1024x1024 pixels to a depth mode's image."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.frame import DepthCamera

_DEPTH_LOCATION = "CALIBRATION_CameraLocationD0"
_DEFAULT_METRIC_RADIUS = 1.7
# ModelParameters: cx, cy, fx, fy, k1..k6, codx, cody, p2, p1. OpenCV: k1, k2, p1, p2, k3..k6.
_OPENCV_ORDER = (4, 5, 13, 12, 6, 7, 8, 9)
_NUM_PARAMETERS = 14
_AT_DEPTH_CAMERA = {"Rotation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "Translation": [0, 0, 0]}


@dataclass(frozen=True)
class DepthMode:
    """How a depth mode cuts its image out of the sensor.

    Args:
        width, height: px of the depth image.
        sensor: side of the whole sensor after binning, px.
        left, top: first column and row of the image on it, px.
        max_fps: highest frame rate, Hz.
    """

    width: int
    height: int
    sensor: int
    left: int
    top: int
    max_fps: int = 30


DEPTH_MODES = {
    "NFOV_2X2BINNED": DepthMode(320, 288, sensor=512, left=96, top=90),
    "NFOV_UNBINNED": DepthMode(640, 576, sensor=1024, left=192, top=180),
    "WFOV_2X2BINNED": DepthMode(512, 512, sensor=512, left=0, top=0),
    "WFOV_UNBINNED": DepthMode(1024, 1024, sensor=1024, left=0, top=0, max_fps=15),
}


class LensMask:
    """Depth counts as not measured where the lens model does not hold: there it has no place in millimetres.

    Args:
        camera: of the depth images.
    """

    def __init__(self, camera: DepthCamera) -> None:
        everywhere = camera.reaches(_border(camera)).all()
        self._valid = None if everywhere else camera.valid_pixels()

    def __call__(self, depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """(H, W) mm, with 0 where there is no ray; the image that is given stays as it is."""
        return depth if self._valid is None else depth * self._valid


def parse_calibration(raw: str | bytes, mode: DepthMode) -> DepthCamera:
    """Read the camera's calibration file.

    Args:
        raw: JSON, as in a recording's attachment or from the device; a closing NUL is allowed.
        mode: depth mode to convert the intrinsics to.

    Returns:
        The depth camera, with its metric radius: the wide modes' images reach beyond that, and so do guesses
        of joints outside of any image.

    Raises:
        ValueError: not the calibration of an Azure Kinect; the text says what is wrong.
    """
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
    try:
        cameras = json.loads(text.rstrip("\0"))["CalibrationInformation"]["Cameras"]
        depth = next(camera for camera in cameras if camera["Location"] == _DEPTH_LOCATION)
        return _convert(depth, mode)
    except StopIteration:
        raise ValueError("it describes no depth camera") from None
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None
    except (TypeError, OverflowError, RecursionError):
        raise ValueError("it is not an Azure Kinect's calibration") from None


def _convert(depth: dict[str, Any], mode: DepthMode) -> DepthCamera:
    parameters = [float(value) for value in depth["Intrinsics"]["ModelParameters"]]
    if len(parameters) < _NUM_PARAMETERS:
        raise ValueError(f"it has {len(parameters)} lens parameters instead of {_NUM_PARAMETERS}")
    cx, cy, fx, fy = (value * mode.sensor for value in parameters[:4])
    radius = float(depth.get("MetricRadius", 0.0))
    if not (radius > 0 and math.isfinite(radius)):
        radius = _DEFAULT_METRIC_RADIUS
    return DepthCamera(
        width=mode.width,
        height=mode.height,
        fx=fx,
        fy=fy,
        cx=cx - mode.left - 0.5,
        cy=cy - mode.top - 0.5,
        distortion=tuple(parameters[k] for k in _OPENCV_ORDER),
        metric_radius=radius,
    )


def _border(camera: DepthCamera) -> NDArray[np.float64]:
    """(N, 2) px all around the image: nothing in it is further from the optical axis."""
    columns, rows = np.mgrid[: camera.width, : camera.height]
    inner = np.zeros(columns.shape, dtype=np.bool_)
    inner[1:-1, 1:-1] = True
    return np.stack([columns[~inner], rows[~inner]], axis=-1).astype(np.float64)


def format_calibration(camera: DepthCamera, mode: DepthMode) -> bytes:
    """The calibration file of a device whose depth camera has this geometry: `parse_calibration` inverted.

    Microsoft's reader asks for a colour camera and for motion sensors as well: they stand at the depth
    camera, and nothing that is recorded refers to them.
    """
    distortion = camera.distortion or (0.0,) * len(_OPENCV_ORDER)
    parameters = [0.0] * _NUM_PARAMETERS
    parameters[:4] = (
        (camera.cx + mode.left + 0.5) / mode.sensor,
        (camera.cy + mode.top + 0.5) / mode.sensor,
        camera.fx / mode.sensor,
        camera.fy / mode.sensor,
    )
    for position, value in zip(_OPENCV_ORDER, distortion, strict=True):
        parameters[position] = value
    cameras = [
        _describe_camera(
            _DEPTH_LOCATION,
            "CALIBRATION_CameraPurposeDepth",
            parameters,
            (1024, 1024),
            camera.metric_radius or 0.0,
        ),
        _describe_camera(
            "CALIBRATION_CameraLocationPV0",
            "CALIBRATION_CameraPurposePhotoVideo",
            [0.5, 0.5, 0.5, 2 / 3] + [0.0] * (_NUM_PARAMETERS - 4),
            (4096, 3072),
        ),
    ]
    sensors = [_describe_motion_sensor(kind) for kind in ("Gyro", "Accelerometer")]
    return json.dumps({"CalibrationInformation": {"Cameras": cameras, "InertialSensors": sensors}}).encode()


def _describe_camera(
    location: str, purpose: str, parameters: list[float], sensor: tuple[int, int], radius: float = 0.0
) -> dict[str, Any]:
    return {
        "Intrinsics": {
            "ModelParameterCount": _NUM_PARAMETERS,
            "ModelParameters": parameters,
            "ModelType": "CALIBRATION_LensDistortionModelBrownConrady",
        },
        "Location": location,
        "Purpose": purpose,
        "MetricRadius": radius,
        "Rt": _AT_DEPTH_CAMERA,
        "SensorWidth": sensor[0],
        "SensorHeight": sensor[1],
        "Shutter": "CALIBRATION_ShutterTypeUndefined",
        "ThermalAdjustmentParams": {"Params": [0] * 12},
    }


def _describe_motion_sensor(kind: str) -> dict[str, Any]:
    """A perfect one: constant terms of polynomials in the temperature, of degree 3, stand first."""
    unity = [float(k % 16 == 0) for k in range(36)]
    return {
        "BiasTemperatureModel": [0.0] * 12,
        "BiasUncertainty": [0.01] * 3,
        "Id": "CALIBRATION_InertialSensorId_LSM6DSM",
        "MixingMatrixTemperatureModel": unity,
        "ModelTypeMask": 56,
        "Noise": [0.01] * 6,
        "Rt": _AT_DEPTH_CAMERA,
        "SecondOrderScaling": [0] * 9,
        "SensorType": f"CALIBRATION_InertialSensorType_{kind}",
        "TemperatureBounds": [5, 60],
        "TemperatureC": 0,
    }

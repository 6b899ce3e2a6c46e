from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.frame import DepthCamera, Frame
from tests.strategies import KINECT_LENS, cameras

KINECT = DepthCamera(640, 576, 504.6076, 504.7325, 332.7811, 348.8297, KINECT_LENS)
RADIAL_LENS = (0.5, -0.02, 0.0, 0.0, -0.002, 0.9, 0.08, -0.01)  # it moves pixels along their radius only
fractions = st.floats(0, 1)


def literal_projection(camera: DepthCamera, point: tuple[float, float, float]) -> tuple[float, float]:
    """OpenCV's rational model as its manual writes it."""
    k1, k2, p1, p2, k3, k4, k5, k6 = camera.distortion or (0.0,) * 8
    x, y = point[0] / point[2], point[1] / point[2]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return camera.fx * u + camera.cx, camera.fy * v + camera.cy


@given(camera=cameras, column=fractions, row=fractions, depth=st.floats(100, 5000))
@settings(max_examples=60)
def test_unprojected_pixels_come_back(camera: DepthCamera, column: float, row: float, depth: float) -> None:
    uvd = np.array([column * (camera.width - 1), row * (camera.height - 1), depth])
    xyz = camera.unproject(uvd)
    assert xyz[2] == depth
    np.testing.assert_allclose(camera.project(xyz), uvd, atol=1e-3)


@given(camera=cameras, x=st.floats(-0.4, 0.4), y=st.floats(-0.4, 0.4), depth=st.floats(100, 5000))
@settings(max_examples=60)
def test_projection_follows_the_lens_formula(camera: DepthCamera, x: float, y: float, depth: float) -> None:
    point = (x * depth, y * depth, depth)
    np.testing.assert_allclose(
        camera.project(np.array(point))[:2], literal_projection(camera, point), atol=1e-6
    )


def test_projection_agrees_with_opencv() -> None:
    points = np.random.default_rng(0).uniform((-400, -300, 500), (400, 300, 3000), (50, 3))
    for lens in (KINECT_LENS, None):
        camera = DepthCamera(640, 576, 500, 510, 320, 290, lens)
        distortion = np.zeros(8) if lens is None else np.array(lens)
        expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix, distortion)
        np.testing.assert_allclose(camera.project(points)[:, :2], expected[:, 0], atol=1e-6)


def test_unprojection_is_exact_in_the_corners_of_a_kinect() -> None:
    corners = np.array([[0, 0, 800], [639, 0, 800], [0, 575, 800], [639, 575, 800]], float)
    points = KINECT.unproject(corners)
    found = [literal_projection(KINECT, tuple(point)) for point in points]
    np.testing.assert_allclose(found, corners[:, :2], atol=1e-3)


def test_principal_point_lies_straight_ahead() -> None:
    camera = DepthCamera(640, 480, 500, 400, 320, 240)
    np.testing.assert_allclose(camera.unproject(np.array([320, 240, 700])), [0, 0, 700])
    np.testing.assert_allclose(camera.unproject(np.array([420, 280, 1000])), [200, 100, 1000])


def on_the_radius(camera: DepthCamera, angle: float, radius: float) -> NDArray[np.float64]:
    """The pixel (u, v, 1000 mm) of a ray that far from the axis in the plane z = 1."""
    return camera.project(1000 * np.array([radius * np.cos(angle), radius * np.sin(angle), 1.0]))


@pytest.mark.parametrize("lens", [None, RADIAL_LENS])
@pytest.mark.parametrize("angle", np.radians([0, 50, 200, 300]))
def test_lens_model_ends_at_its_radius(lens: tuple[float, ...] | None, angle: float) -> None:
    camera = DepthCamera(512, 512, 250.0, 260.0, 255.0, 258.0, lens, metric_radius=0.9)
    inside, outside = (on_the_radius(camera, angle, radius) for radius in (0.899, 0.901))
    assert camera.reaches(inside)
    assert not camera.reaches(outside)
    beyond = outside + 80 * np.array([np.cos(angle), 260 / 250 * np.sin(angle), 0])  # in the same direction
    expected = 1000 * np.array([0.9 * np.cos(angle), 0.9 * np.sin(angle), 1.0])
    for pixel in (outside, beyond):
        np.testing.assert_allclose(camera.unproject(pixel), expected, atol=1e-6)
    np.testing.assert_allclose(camera.unproject(inside), expected, atol=1.01)
    assert np.isfinite(camera.unproject(np.array([1e6, -1e6, 500.0]))).all()


def test_valid_pixels_are_a_disc() -> None:
    camera = DepthCamera(100, 80, 50.0, 40.0, 49.0, 38.0, metric_radius=0.5)
    rows, columns = np.mgrid[:80, :100]
    expected = ((columns - 49) / 50) ** 2 + ((rows - 38) / 40) ** 2 <= 0.5**2
    np.testing.assert_array_equal(camera.valid_pixels(), expected)
    assert replace(camera, metric_radius=None).valid_pixels().all()


def test_a_lens_that_folds_over_has_no_rays_there() -> None:
    """With k1 = -0.3 the image of a ray moves inwards again beyond a radius of 1 / sqrt(0.9)."""
    camera = DepthCamera(512, 512, 250.0, 250.0, 255.5, 255.5, (-0.3, 0, 0, 0, 0, 0, 0, 0), metric_radius=1.7)
    largest = 250 * (2 / 3) / np.sqrt(0.9)  # px from the centre
    for distance, reached in ((largest - 3, True), (largest + 3, False)):
        pixel = np.array([255.5 + distance, 255.5, 800.0])
        assert camera.reaches(pixel) == reached
        assert abs(camera.unproject(pixel)[0]) <= 1.7 * 800


@pytest.mark.parametrize("radius", [None, 0.4])
@pytest.mark.parametrize("lens", [None, KINECT_LENS])
@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3), (2, 21, 3)])
def test_any_number_of_points_keeps_its_shape(
    lens: tuple[float, ...] | None, shape: tuple[int, ...], radius: float | None
) -> None:
    camera = DepthCamera(640, 576, 500, 500, 320, 288, lens, radius)
    uvd = np.full(shape, 300, np.float32)
    assert camera.unproject(uvd).shape == camera.project(uvd).shape == shape
    assert camera.reaches(uvd).shape == shape[:-1]
    assert camera.unproject(uvd).dtype == camera.project(uvd).dtype == np.float64


@pytest.mark.parametrize("length", [4, 5, 8])
def test_a_lens_may_come_as_opencv_gives_it(length: int) -> None:
    lens = np.array([[0.1, -0.02, 0.003, 0.004, 0.05, 0.01, 0.02, 0.03]])[:, :length]
    usual = (640, 576, 500.0, 500.0, 320.0, 288.0)
    for form in (lens, lens[0].tolist()):
        camera = DepthCamera(*usual, distortion=form)  # type: ignore[arg-type]
        assert camera.distortion == (*lens[0].tolist(), *[0.0] * (8 - length))
        assert camera == DepthCamera(*usual, distortion=camera.distortion)
        points = np.array([[100.0, -50.0, 700.0]])
        expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix, lens)
        np.testing.assert_allclose(camera.project(points)[:, :2], expected[:, 0], atol=1e-9)


def test_intrinsics_are_numbers() -> None:
    for size, focal in ((640, "500"), ("640", 500.0)):
        with pytest.raises(TypeError, match="intrinsics and radius must be numbers"):
            DepthCamera(size, 576, focal, 500.0, 320.0, 288.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="radius must be numbers"):
        DepthCamera(True, 576, 500.0, 500.0, 320.0, 288.0)
    with pytest.raises(TypeError, match="radius must be numbers"):
        DepthCamera(640, 576, 500.0, 500.0, 320.0, 288.0, metric_radius="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="distortion must be numbers"):
        DepthCamera(640, 576, 500.0, 500.0, 320.0, 288.0, ("0.1", 0, 0, 0))  # type: ignore[arg-type]


def test_sizes_are_kept_as_whole_numbers() -> None:
    camera = DepthCamera(640.0, np.int64(576), 500.0, 500.0, 320.0, 288.0)  # type: ignore[arg-type]
    assert (type(camera.width), type(camera.height)) == (int, int)
    assert camera == DepthCamera(640, 576, 500.0, 500.0, 320.0, 288.0)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"width": np.nan},
        {"height": 640.5},
        {"width": 10**400},
        {"cy": -(10**400)},
        {"distortion": (0, 0, 0, 10**400)},
        {"metric_radius": 10**400},
        {"fx": 0.0},
        {"fy": -1.0},
        {"cx": np.nan},
        {"distortion": (1.0,)},
        {"fx": np.inf},
        {"metric_radius": 0.0},
        {"metric_radius": np.nan},
    ],
)
def test_impossible_cameras_are_refused(change: dict[str, float]) -> None:
    usual = {"width": 640, "height": 576, "fx": 500.0, "fy": 500.0, "cx": 320.0, "cy": 288.0}
    with pytest.raises(ValueError, match=r"must be|needs finite"):
        DepthCamera(**{**usual, **change})  # type: ignore[arg-type]


def test_frames_refuse_images_that_do_not_fit() -> None:
    depth = np.zeros((576, 640), np.uint16)
    assert Frame(depth, None, KINECT).ir is None
    with pytest.raises(TypeError, match="depth must be a uint16 array, found float64"):
        Frame(depth.astype(float), None, KINECT)
    with pytest.raises(TypeError, match="ir must be a uint16 array, found list"):
        Frame(depth, [[1]], KINECT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ir must have the camera's shape \(576, 640\), found \(2, 2\)"):
        Frame(depth, depth[:2, :2], KINECT)

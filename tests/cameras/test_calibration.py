import contextlib
import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras.calibration import DEPTH_MODES, LensMask, format_calibration, parse_calibration
from tests.cameras.recordings import LENS, calibration_json


def _parse(document: Any, mode: str = "NFOV_UNBINNED") -> Any:
    return parse_calibration(json.dumps(document), DEPTH_MODES[mode])


@pytest.mark.parametrize("mode", DEPTH_MODES)
def test_modes_show_the_same_rays_on_their_part_of_the_sensor(mode: str) -> None:
    """Unbinned modes cut a window out of the sensor; binned ones have pixels of twice the size."""
    whole = _parse(calibration_json(), "WFOV_UNBINNED")
    part, cut = _parse(calibration_json(), mode), DEPTH_MODES[mode]
    point = np.array([100.0, -50.0, 1000.0])
    u, v, _ = whole.project(point)
    binning = 1024 / cut.sensor
    # Pixel centres are whole numbers, so pixel edges are where binning scales about.
    expected = (np.array([u, v]) + 0.5) / binning - 0.5 - (cut.left, cut.top)
    np.testing.assert_allclose(part.project(point)[:2], expected, atol=1e-6)


def test_lens_parameters_are_put_in_opencv_order() -> None:
    camera = _parse(calibration_json())
    cx, cy, fx, fy, k1, k2, k3, k4, k5, k6, _, _, p2, p1 = LENS
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    normalised, _ = cv2.projectPoints(
        np.array([[0.3, -0.2, 1.0]]),
        np.zeros(3),
        np.zeros(3),
        matrix,
        np.array([k1, k2, p1, p2, k3, k4, k5, k6]),
    )
    on_image = normalised.reshape(2) * 1024 - (192, 180) - 0.5
    np.testing.assert_allclose(camera.project(np.array([0.3, -0.2, 1.0]))[:2], on_image, atol=1e-9)


@pytest.mark.parametrize(("radius", "expected"), [(1.74, 1.74), (0, 1.7), (-1, 1.7), (float("inf"), 1.7)])
def test_metric_radius_has_a_default(radius: float, expected: float) -> None:
    assert _parse(calibration_json(radius=radius), "WFOV_2X2BINNED").metric_radius == expected


def test_pixels_beyond_the_metric_radius_have_no_ray() -> None:
    near, far = (_parse(calibration_json(radius=radius), "NFOV_2X2BINNED") for radius in (0.3, 1.74))
    assert far.valid_pixels().all()
    valid = near.valid_pixels()
    assert valid[130, 160]
    assert not valid[0, 0]
    assert 0.1 < valid.mean() < 0.4


def test_joints_guessed_outside_the_narrow_image_have_no_made_up_place() -> None:
    camera = _parse(calibration_json(radius=1.74), "NFOV_UNBINNED")
    uvd = np.stack([np.linspace(-3000, 4000, 501), np.full(501, 288.0), np.full(501, 400.0)], axis=1)
    xyz = camera.unproject(uvd)
    inside = (uvd[:, 0] >= 0) & (uvd[:, 0] < 640)
    assert camera.reaches(uvd[inside]).all()
    assert not camera.reaches(uvd[[0, -1]]).any()
    assert np.abs(xyz[:, :2]).max() <= 1.75 * 400
    assert (np.diff(xyz[:, 0]) > -1e-6).all()  # further right in the image is further right in space


def test_depth_without_a_ray_is_not_measured() -> None:
    near, far = (_parse(calibration_json(radius=radius), "NFOV_2X2BINNED") for radius in (0.3, 1.74))
    depth = np.full((288, 320), 900, np.uint16)
    masked = LensMask(near)(depth)
    assert masked.dtype == np.uint16
    np.testing.assert_array_equal(masked > 0, near.valid_pixels())
    assert depth.all()
    assert LensMask(far)(depth) is depth


@pytest.mark.parametrize("mode", DEPTH_MODES)
def test_what_is_written_is_what_is_read(mode: str) -> None:
    camera = _parse(calibration_json(radius=1.6), mode)
    again = parse_calibration(format_calibration(camera, DEPTH_MODES[mode]), DEPTH_MODES[mode])
    assert again.metric_radius == camera.metric_radius == 1.6
    np.testing.assert_allclose(again.matrix, camera.matrix, rtol=1e-12)


def test_text_may_be_bytes_that_end_in_nul() -> None:
    raw = json.dumps(calibration_json()).encode() + b"\0"
    assert parse_calibration(raw, DEPTH_MODES["NFOV_UNBINNED"]) == _parse(calibration_json())


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"CalibrationInformation": {"Cameras": []}}',
        '{"CalibrationInformation": {"Cameras": [{"Location": "CALIBRATION_CameraLocationD0"}]}}',
        json.dumps(calibration_json(lens=LENS[:8])),
        json.dumps(calibration_json(lens=[0.0] * 14)),
        json.dumps(calibration_json(lens=[float("nan")] * 14)),
        json.dumps(calibration_json()).replace("0.51", '"x"'),
        json.dumps(calibration_json()).replace("0.51", "1" + "0" * 400),
        "[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_other_texts_are_value_errors(raw: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_calibration(raw, DEPTH_MODES["NFOV_UNBINNED"])


@settings(max_examples=100)
@given(st.recursive(st.none() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=10), st.data())
def test_any_value_in_any_place_is_a_calibration_or_a_value_error(value: Any, data: st.DataObject) -> None:
    document = calibration_json()
    depth = document["CalibrationInformation"]["Cameras"][1]
    place: Any = data.draw(
        st.sampled_from([document, document["CalibrationInformation"], depth, depth["Intrinsics"]])
    )
    place[data.draw(st.sampled_from(sorted(place)))] = value
    with contextlib.suppress(ValueError):
        _parse(document)

"""Our readers against Microsoft's own: needs pyk4a with its C module (pyk4a-bundle, numpy below 2)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.cameras.azure import AzureCamera
from pipeline.cameras.calibration import DEPTH_MODES, parse_calibration
from pipeline.cameras.recording import RecordingCamera
from pipeline.errors import HandPoseError
from tests.shared_data import shared_file

pytestmark = [pytest.mark.vendor, pytest.mark.shared]


@pytest.fixture
def pyk4a() -> Any:
    # On numpy 2 the C module writes a traceback of its own before it fails.
    if int(np.__version__.split(".")[0]) >= 2:
        pytest.skip("pyk4a-bundle needs numpy below 2")
    return pytest.importorskip("pyk4a", exc_type=ImportError)


@pytest.fixture
def playback(pyk4a: Any) -> Iterator[Any]:
    playback = pyk4a.PyK4APlayback(shared_file("azure_kinect/recording.mkv"))
    playback.open()
    yield playback
    playback.close()


def test_images_and_times_are_the_sdk_s(playback: Any) -> None:
    with RecordingCamera(playback.path) as source:
        frames = list(source)
    for frame in frames:
        capture = playback.get_next_capture()
        np.testing.assert_array_equal(frame.depth, capture.depth)
        np.testing.assert_array_equal(frame.ir, capture.ir)
        assert frame.timestamp_us == capture.depth_timestamp_usec
    with pytest.raises(EOFError):
        playback.get_next_capture()


@pytest.mark.parametrize("mode", DEPTH_MODES)
def test_intrinsics_are_the_sdk_s_in_every_mode(pyk4a: Any, playback: Any, mode: str) -> None:
    ours = parse_calibration(playback.calibration_raw, DEPTH_MODES[mode])
    theirs = pyk4a.Calibration.from_raw(
        playback.calibration_raw, pyk4a.DepthMode[mode], pyk4a.ColorResolution.OFF
    )
    depth = pyk4a.CalibrationType.DEPTH
    np.testing.assert_allclose(ours.matrix, theirs.get_camera_matrix(depth), atol=1e-4)
    assert ours.distortion is not None
    np.testing.assert_allclose(ours.distortion, theirs.get_distortion_coefficients(depth), atol=1e-7)


@pytest.mark.parametrize("mode", DEPTH_MODES)
def test_rays_and_their_limits_are_the_sdk_s(pyk4a: Any, playback: Any, mode: str) -> None:
    camera = parse_calibration(playback.calibration_raw, DEPTH_MODES[mode])
    theirs = pyk4a.Calibration.from_raw(
        playback.calibration_raw, pyk4a.DepthMode[mode], pyk4a.ColorResolution.OFF
    )
    valid = camera.valid_pixels()
    pixels, points = [], []
    for row in range(0, camera.height, 24):
        for column in range(0, camera.width, 24):
            try:
                point = theirs.convert_2d_to_3d((column, row), 1000.0, pyk4a.CalibrationType.DEPTH)
            except ValueError:
                assert not valid[row, column]
            else:
                assert valid[row, column]
                pixels.append([column, row, 1000.0])
                points.append(point)
    np.testing.assert_allclose(camera.unproject(np.array(pixels)), points, atol=0.01)


def test_live_camera_delivers_what_the_sdk_plays_back(
    pyk4a: Any, playback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live code on pyk4a's real captures: only the device below is replaced, by the recording."""
    module = sys.modules["k4a_module"]
    handle = playback._handle

    def next_capture(device: object, keep_lock: bool, timeout_ms: int) -> tuple[int, object]:
        return module.playback_get_next_capture(handle, keep_lock)  # the end of the file reads as a time-out

    def succeed(*_: Any) -> int:
        return 0

    monkeypatch.setattr(module, "device_open", lambda *_: (0, handle))
    for name in ("device_close", "device_start_cameras", "device_stop_cameras"):
        monkeypatch.setattr(module, name, succeed)
    for name in ("device_start_imu", "device_stop_imu"):
        monkeypatch.setattr(module, name, succeed)
    monkeypatch.setattr(
        module, "device_get_calibration", lambda *_: module.playback_get_calibration(handle, False)
    )
    monkeypatch.setattr(module, "device_get_raw_calibration", lambda *_: playback.calibration_raw)
    monkeypatch.setattr(module, "device_get_capture", next_capture)
    assert pyk4a.module.k4a_module is module

    with RecordingCamera(playback.path) as source, AzureCamera(timeout_s=0.2) as camera:
        recorded, live = next(source), next(camera)
        assert camera.camera == source.camera
        np.testing.assert_array_equal(live.depth, recorded.depth)
        np.testing.assert_array_equal(live.ir, recorded.ir)
        assert live.timestamp_us == recorded.timestamp_us
        assert live.depth.flags.c_contiguous
        with pytest.raises(HandPoseError, match=r"sent no frame for 0.2 s \(frames received before: 1\)"):
            next(camera)

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cameras.matroska import declared_size
from pipeline.cameras.recording import RecordingCamera
from pipeline.errors import HandPoseError, SourceError
from pipeline.frame import Frame
from tests.cameras.recordings import Recording, calibration_json, numbered_images
from tests.shared_data import shared_file


def _read_until_error(path: Path) -> tuple[list[Frame], HandPoseError | None]:
    frames: list[Frame] = []
    try:
        with RecordingCamera(path) as source:
            for frame in source:
                frames.append(frame)
    except HandPoseError as error:
        return frames, error
    return frames, None


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of depth and infrared."""
    recording = Recording(numbered_images(5), numbered_images(5, offset=100), start_offset_ns="336277000")
    return recording.write(tmp_path_factory.mktemp("clip") / "clip.mkv")


def test_every_frame_comes_in_order_with_its_infrared(clip: Path) -> None:
    with RecordingCamera(clip) as source:
        frames = list(source)
    assert [int(frame.depth[0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
    assert [int(frame.ir[0, 0]) for frame in frames if frame.ir is not None] == [100, 101, 102, 103, 104]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]


def test_pixels_are_what_was_recorded(clip: Path) -> None:
    for frame, (_, depth), (_, ir) in zip(
        RecordingCamera(clip), numbered_images(5), numbered_images(5, offset=100), strict=True
    ):
        assert frame.ir is not None
        np.testing.assert_array_equal(frame.depth, depth)
        np.testing.assert_array_equal(frame.ir, ir)
        assert frame.depth.dtype == np.uint16
        assert frame.depth.flags.c_contiguous


def test_wide_images_have_depth_where_the_lens_model_holds(tmp_path: Path) -> None:
    images = numbered_images(2, (512, 512))
    recording = Recording(images, numbered_images(2, (512, 512)), mode="WFOV_2X2BINNED", size=(512, 512))
    with RecordingCamera(recording.write(tmp_path / "wide.mkv")) as source:
        frame = next(source)
        valid = source.camera.valid_pixels()
    assert 0.5 < valid.mean() < 0.9
    np.testing.assert_array_equal(frame.depth, np.where(valid, images[0][1], 0))
    np.testing.assert_array_equal(frame.ir, images[0][1])


def test_time_is_the_device_s(clip: Path) -> None:
    times = [frame.timestamp_us for frame in RecordingCamera(clip)]
    assert times[0] == 336_277
    np.testing.assert_allclose(np.diff(times), 33_333, atol=1000)


def test_closed_recording_ends(clip: Path) -> None:
    source = RecordingCamera(clip)
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_recording_without_infrared_is_read(tmp_path: Path) -> None:
    path = Recording(numbered_images(3)).write(tmp_path / "depth.mkv")
    assert [frame.ir for frame in RecordingCamera(path)] == [None] * 3


def test_depth_whose_infrared_is_missing_is_kept(tmp_path: Path) -> None:
    infrared = numbered_images(5, offset=100)
    path = Recording(numbered_images(5), infrared[:1] + infrared[2:4]).write(tmp_path / "gaps.mkv")
    frames = list(RecordingCamera(path))
    assert [frame.ir is None for frame in frames] == [False, True, False, False, True]
    assert [int(frame.depth[0, 0]) for frame in frames] == [0, 1, 2, 3, 4]


def test_oldest_recordings_are_read_as_little_endian(tmp_path: Path) -> None:
    images = [(time, image.byteswap()) for time, image in numbered_images(2)]
    path = Recording(images, fourcc=b"YUY2").write(tmp_path / "little.mkv")
    np.testing.assert_array_equal(next(RecordingCamera(path)).depth, numbered_images(1)[0][1])


@pytest.mark.parametrize("name", ["with space %03d.mkv", "concat:a|b.mkv", "ünï.mkv", "no_suffix"])
def test_any_file_name_will_do(tmp_path: Path, clip: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    assert len(list(RecordingCamera(path))) == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": []}, "contains no depth frames"),
        ({"titles": ("OTHER", "IR")}, "has no depth track"),
        ({"mode": "WIDE"}, "unknown depth mode 'WIDE'"),
        ({"mode": "PASSIVE_IR"}, "unknown depth mode 'PASSIVE_IR'"),
        (
            {"mode": "NFOV_UNBINNED"},
            "DEPTH track of 320x288 px, but its depth mode NFOV_UNBINNED means 640x576",
        ),
        ({"calibration": None}, "no calibration"),
        ({"calibration": b"{}"}, "calibration that cannot be used"),
        ({"fourcc": b"I420"}, "stores its DEPTH track as rawvideo yuv420p, not as 16-bit images"),
        ({"fourcc": b"MJPG"}, "stores its DEPTH track as mjpeg"),
        ({"fourcc": b"????"}, "stores its DEPTH track in an unknown way"),
        ({"start_offset_ns": "soon"}, None),
    ],
)
def test_recordings_without_the_needed_parts_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str | None
) -> None:
    recording = Recording(**({"depth": numbered_images(1), "ir": numbered_images(1)} | changes))
    frames, error = _read_until_error(recording.write(tmp_path / "clip.mkv"))
    if words is None:
        assert (len(frames), error) == (1, None)
    else:
        assert isinstance(error, SourceError)
        assert words in str(error)
        assert "give an Azure Kinect recording" in str(error)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 0.99999))
def test_recording_cut_off_anywhere_gives_whole_frames_and_says_so(
    tmp_path: Path, clip: Path, keep: float
) -> None:
    data = clip.read_bytes()
    kept = int(keep * len(data))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[:kept])
    frames, error = _read_until_error(cut)
    assert error is not None
    assert "\n" not in str(error)
    whole = [int(frame.depth[0, 0]) for frame in frames]
    assert whole == list(range(len(whole)))
    assert len(whole) >= (kept - 4096) * 5 // len(data)
    if whole:
        assert f"frames read before: {len(whole)}" in str(error)
        assert error.exit_code == 1
    else:
        assert error.exit_code == 2


@pytest.mark.parametrize("start", [5_000, 300_000, 900_000, 1_500_000])
def test_hole_in_the_middle_is_not_passed_over(tmp_path: Path, clip: Path, start: int) -> None:
    data = clip.read_bytes()
    length = 190_000
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(data[:start] + bytes(length) + data[start + length :])
    frames, error = _read_until_error(damaged)
    assert error is not None
    assert "is damaged" in str(error)
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_unfinished_recording_is_read_to_its_end(tmp_path: Path, clip: Path) -> None:
    """A recorder that was stopped hard leaves an open-ended segment; only a partial image is an error."""
    data = clip.read_bytes()
    segment = data.index(bytes.fromhex("18538067")) + 4
    index = data.rindex(bytes.fromhex("1c53bb6b"))
    unfinished = data[:segment] + b"\x01" + b"\xff" * 7 + data[segment + 8 : index]
    path = tmp_path / "unfinished.mkv"
    path.write_bytes(unfinished)
    assert declared_size(path) is None
    frames, error = _read_until_error(path)
    assert (len(frames), error) == (5, None)
    path.write_bytes(unfinished[:-100_000])
    frames, error = _read_until_error(path)
    assert len(frames) == 5
    assert frames[-1].ir is None
    assert "is cut off" in str(error)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_never_end_in_another_exception(
    tmp_path: Path, clip: Path, data: st.DataObject
) -> None:
    content = bytearray(clip.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, 1400))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.mkv"
    path.write_bytes(content)
    frames, _ = _read_until_error(path)
    assert len(frames) <= 5


def test_unreadable_calibration_never_escapes(tmp_path: Path) -> None:
    document = calibration_json()
    document["CalibrationInformation"]["Cameras"][1]["Intrinsics"]["ModelParameters"] = None
    path = Recording(numbered_images(1), calibration=json.dumps(document).encode()).write(tmp_path / "c.mkv")
    with pytest.raises(SourceError, match="calibration"):
        RecordingCamera(path)


@pytest.mark.shared
def test_real_recording_has_the_sdk_s_intrinsics_and_time() -> None:
    with RecordingCamera(shared_file("azure_kinect/recording.mkv")) as source:
        frames = list(source)
        camera = source.camera
    assert len(frames) == 1
    assert frames[0].timestamp_us == 800_222
    assert frames[0].ir is not None
    found = (camera.fx, camera.fy, camera.cx, camera.cy)
    np.testing.assert_allclose(found, (504.6076, 504.7325, 332.7811, 348.8297), atol=1e-4)
    # The mug's table stands at about a metre; a wrong byte order would give noise up to 65 m.
    measured = frames[0].depth[frames[0].depth > 0]
    assert 300 < np.median(measured) < 5000
    assert measured.max() < 10_000


@pytest.mark.shared
@pytest.mark.parametrize(
    ("size", "count"), [(1_699_263, 1), (1_000_000, 1), (400_000, 0), (6_000, 0), (50, 0)]
)
def test_real_recording_cut_off(tmp_path: Path, size: int, count: int) -> None:
    path = tmp_path / "cut.mkv"
    path.write_bytes(shared_file("azure_kinect/recording.mkv").read_bytes()[:size])
    frames, error = _read_until_error(path)
    assert len(frames) == count
    assert error is not None
    assert error.exit_code == (1 if count else 2)

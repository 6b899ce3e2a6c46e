"""What we record plays back: in our reader, in Microsoft's, and after the run was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.cameras import open_camera
from pipeline.constants import ROOT
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.recording_writer import FolderRecorder, open_recorder
from pipeline.training import record
from pipeline.training.record import main

# Size of NFOV_2X2BINNED, which the Azure Kinect's recordings know.
LENS = (0.55, -0.021, 2e-5, -7e-5, -0.0026, 0.89, 0.086, -0.014)
CAMERA = DepthCamera(320, 288, 252.3, 252.4, 166.1, 174.2, LENS)
START_US = 336_277


def synthetic_frames(count: int, camera: DepthCamera = CAMERA, ir: bool = True) -> Iterator[Frame]:
    """A hand-sized ramp moving over a wall, with holes and saturated brightness."""
    rng = np.random.default_rng(0)
    for k in range(count):
        depth = rng.integers(1995, 2005, (camera.height, camera.width), dtype=np.uint16)
        depth[100:160, 50 + k : 110 + k] = 600 + np.arange(60, dtype=np.uint16)
        depth[:9] = 0
        brightness = rng.integers(0, 65536, depth.shape, dtype=np.uint16) if ir else None
        yield Frame(depth, brightness, camera, START_US + k * 33_333, k)


def write(path: Path, count: int = 5, ir: bool = True) -> list[Frame]:
    frames = list(synthetic_frames(count, ir=ir))
    with open_recorder(path, CAMERA) as recorder:
        for frame in frames:
            recorder.add_frame(frame)
    assert recorder.frames == count
    return frames


def assert_same_images(found: list[Frame], expected: list[Frame]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.depth, theirs.depth)
        if theirs.ir is None:
            assert ours.ir is None
        else:
            np.testing.assert_array_equal(ours.ir, theirs.ir)


@pytest.mark.parametrize("ir", [True, False])
@pytest.mark.parametrize("name", ["clip.mkv", "folder"])
def test_recordings_come_back_frame_for_frame(name: str, ir: bool, tmp_path: Path) -> None:
    frames = write(tmp_path / name, ir=ir)
    with open_camera(str(tmp_path / name)) as source:
        found = list(source)
    assert_same_images(found, frames)
    for field in ("fx", "fy", "cx", "cy", "distortion"):
        assert getattr(source.camera, field) == pytest.approx(getattr(CAMERA, field), abs=1e-9)


def test_times_are_right_to_half_a_millisecond(tmp_path: Path) -> None:
    frames = write(tmp_path / "clip.mkv", count=8)
    found = [frame.timestamp_us for frame in open_camera(tmp_path / "clip.mkv")]
    np.testing.assert_allclose(found, [frame.timestamp_us for frame in frames], atol=500)
    assert found[0] == START_US


@pytest.mark.vendor
def test_microsofts_reader_plays_every_frame_with_our_calibration(tmp_path: Path) -> None:
    pytest.importorskip("pyk4a", reason="needs pyk4a-bundle, and with it numpy < 2", exc_type=ImportError)
    from pyk4a import CalibrationType, PyK4APlayback
    from pyk4a.config import FPS, ColorResolution, DepthMode

    frames = write(tmp_path / "clip.mkv")
    playback = PyK4APlayback(tmp_path / "clip.mkv")
    playback.open()
    assert playback.configuration["depth_mode"] == DepthMode.NFOV_2X2BINNED
    assert playback.configuration["camera_fps"] == FPS.FPS_30
    assert playback.configuration["color_resolution"] == ColorResolution.OFF
    assert playback.configuration["start_timestamp_offset_usec"] == START_US
    matrix = playback.calibration.get_camera_matrix(CalibrationType.DEPTH)
    np.testing.assert_allclose(matrix, CAMERA.matrix, rtol=1e-6)
    lens = playback.calibration.get_distortion_coefficients(CalibrationType.DEPTH)
    np.testing.assert_allclose(lens, LENS, rtol=1e-6)
    for frame in frames:
        capture = playback.get_next_capture()
        np.testing.assert_array_equal(capture.depth, frame.depth)
        np.testing.assert_array_equal(capture.ir, frame.ir)
        assert capture.depth_timestamp_usec == capture.ir_timestamp_usec
        assert abs(capture.depth_timestamp_usec - frame.timestamp_us) <= 500
    with pytest.raises(EOFError):
        playback.get_next_capture()
    playback.close()


ENDLESS = """
import sys
from pathlib import Path
from pipeline.recording_writer import open_recorder
from tests.training.test_record import CAMERA, synthetic_frames
recorder = open_recorder(Path(sys.argv[1]), CAMERA)
for frame in synthetic_frames(1000):
    recorder.add_frame(frame)
    print(recorder.frames, flush=True)
"""


@pytest.mark.parametrize("name", ["clip.mkv", "folder"])
def test_a_killed_run_leaves_all_but_the_last_frames(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    run = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    kept = 0
    while kept < 6:
        kept = int(run.stdout.readline())
    run.send_signal(signal.SIGKILL)
    run.wait()
    found: list[Frame] = []
    with open_camera(path) as source, suppress(HandPoseError):  # of the frame that was being written
        found.extend(source)
    if found[-1].ir is None:  # killed between the two images of a frame
        found.pop()
    assert len(found) >= kept - 2
    assert_same_images(found, list(synthetic_frames(len(found))))


def test_frames_are_added_to_a_folder_and_nothing_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "set", count=2)
    (tmp_path / "set" / "annotation" / "0000004.xml").write_text("of a frame that was deleted")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    write(tmp_path / "set", count=1)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(path.name for path in (tmp_path / "set" / "depth_image").iterdir()) == [
        "0000000.png",
        "0000001.png",
        "0000005.png",
    ]


def test_folders_keep_the_times_of_their_frames(tmp_path: Path) -> None:
    first = write(tmp_path / "set", count=2)
    with (tmp_path / "set" / "timestamps.csv").open("a") as stamps:
        stamps.write("0000002,1")  # and there the disk was full
    second = write(tmp_path / "set", count=2)
    found = [frame.timestamp_us for frame in open_camera(tmp_path / "set")]
    assert found[:2] == [frame.timestamp_us for frame in first]
    assert found[2] > found[1]  # although the clock began anew
    assert found[3] - found[2] == second[1].timestamp_us - second[0].timestamp_us


def test_frames_are_added_where_the_radius_was_not_kept_yet(tmp_path: Path) -> None:
    camera = DepthCamera(512, 512, 252.0, 252.0, 255.0, 256.0, LENS, metric_radius=1.7)
    recorded = FolderRecorder(tmp_path, replace(camera, metric_radius=None))
    before = (tmp_path / "camera.json").read_bytes()
    recorded.close()
    FolderRecorder(tmp_path, camera).close()
    assert (tmp_path / "camera.json").read_bytes() == before
    with pytest.raises(UsageError, match="another camera"):
        FolderRecorder(tmp_path, replace(camera, fx=253.0))


def test_folder_has_the_form_of_centernet_kinect(tmp_path: Path) -> None:
    [frame] = write(tmp_path / "set", count=1)
    folders = {path.name for path in (tmp_path / "set").iterdir() if path.is_dir()}
    assert folders == {"annotation", "casted_ir_image", "depth_image", "ir_image", "rgb_image"}
    ir, casted = (
        np.asarray(cv2.imread(str(tmp_path / "set" / name / "0000000.png"), cv2.IMREAD_UNCHANGED))
        for name in ("ir_image", "casted_ir_image")
    )
    np.testing.assert_array_equal(ir, frame.ir)
    assert (ir.dtype, casted.dtype) == (np.uint16, np.uint8)
    assert casted.shape == ir.shape


@pytest.mark.parametrize("name", ["set", "clip.mkv"])
def test_where_the_lens_model_ends_is_kept(tmp_path: Path, name: str) -> None:
    camera = DepthCamera(512, 512, 252.0, 252.0, 255.0, 256.0, LENS, metric_radius=1.0)
    image = np.full((512, 512), 900, np.uint16)
    with open_recorder(tmp_path / name, camera) as recorder:
        recorder.add_frame(Frame(image, image, camera))
    with open_camera(str(tmp_path / name)) as source:
        assert source.camera.metric_radius == 1.0
        assert next(source).depth.astype(bool).mean() < 0.9


def test_frames_of_another_camera_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "set", count=1)
    other = DepthCamera(320, 288, 250.0, 250.0, 160.0, 144.0)
    with pytest.raises(UsageError, match="holds frames of another camera"):
        open_recorder(tmp_path / "set", other)
    for name in ("clip.mkv", "new set"):
        recorder = open_recorder(tmp_path / name, CAMERA)
        with pytest.raises(HandPoseError, match="frames of one camera"):
            recorder.add_frame(next(synthetic_frames(1, other)))


def test_a_broken_camera_json_is_told(tmp_path: Path) -> None:
    write(tmp_path / "set", count=1)
    (tmp_path / "set" / "camera.json").write_text("{")
    with pytest.raises(UsageError, match=r"camera\.json cannot be used"):
        open_recorder(tmp_path / "set", CAMERA)


def test_infrared_that_comes_late_is_refused_and_never_lost_in_silence(tmp_path: Path) -> None:
    first, second, third = synthetic_frames(3)
    recorder = open_recorder(tmp_path / "clip.mkv", CAMERA)
    recorder.add_frame(replace(first, ir=None))
    with pytest.raises(HandPoseError, match="began without infrared: start another recording"):
        recorder.add_frame(second)
    recorder.add_frame(replace(third, ir=None))
    recorder.close()
    assert len(list(open_camera(tmp_path / "clip.mkv"))) == 2


def test_times_that_stand_still_or_go_back_stay_in_order(tmp_path: Path) -> None:
    frames = [Frame(f.depth, f.ir, CAMERA, 1000, f.index) for f in synthetic_frames(3)]
    with open_recorder(tmp_path / "clip.mkv", CAMERA) as recorder:
        for frame in frames:
            recorder.add_frame(frame)
    found = list(open_camera(tmp_path / "clip.mkv"))
    assert_same_images(found, frames)
    assert [f.timestamp_us for f in found] == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("camera", "fps", "message"),
    [
        (DepthCamera(640, 480, 500, 500, 320, 240), 30, "fit no Azure Kinect recording: record to a folder"),
        (CAMERA, 25, "5, 15 or 30 frames a second"),
    ],
)
def test_what_no_azure_kinect_recording_can_hold(
    camera: DepthCamera, fps: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        open_recorder(tmp_path / "clip.mkv", camera, fps)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "clip.mkv").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        open_recorder(tmp_path / "clip.mkv", CAMERA)
    for name in ("none", "file"):
        with pytest.raises(UsageError, match=rf"there is no folder .*{name} to write in"):
            open_recorder(tmp_path / name / "clip.mkv", CAMERA)
    with pytest.raises(UsageError, match=r"cannot record to .*Not a directory"):
        open_recorder(tmp_path / "file", CAMERA)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "depth_image").write_text("mine")
    with pytest.raises(UsageError, match=r"cannot record to .*File exists: .*depth_image"):
        open_recorder(tmp_path / "set", CAMERA)
    assert (tmp_path / "clip.mkv").read_text() == (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("name", "reason"), [("set", "is a directory"), ("clip.mkv", "file exists")])
def test_why_a_frame_cannot_be_written_is_told(name: str, reason: str, tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path / name, CAMERA)
    (tmp_path / "set" / "timestamps.csv").mkdir(parents=True)  # something is in the file's place
    (tmp_path / "clip.mkv").touch()
    with pytest.raises(HandPoseError, match=f"cannot write .*{name}.*: {reason}, check the place"):
        recorder.add_frame(next(synthetic_frames(1)))


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipeline.errors import HandPoseError
from pipeline.recording_writer import open_recorder
from tests.training.test_record import CAMERA, synthetic_frames
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    with open_recorder(Path(sys.argv[1]), CAMERA) as recorder:
        for frame in synthetic_frames(9):
            recorder.add_frame(frame)
except HandPoseError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_what_was_written_opens(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip().endswith("free some space")
    assert run.stderr == ""
    first = next(iter(open_camera(path)))
    np.testing.assert_array_equal(first.depth, next(synthetic_frames(1)).depth)


def test_command_records_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = write(tmp_path / "in.mkv", count=4)
    assert main(["--source", str(tmp_path / "in.mkv"), str(tmp_path / "set"), "--frames", "3"]) == 0
    assert "3 frames recorded" in capsys.readouterr().out
    assert main(["--source", str(tmp_path / "set"), str(tmp_path / "out.mkv")]) == 0
    assert_same_images(list(open_camera(tmp_path / "out.mkv")), frames[:3])
    assert json.loads((tmp_path / "set" / "camera.json").read_text())["depth_unit_mm"] == 1


@pytest.mark.parametrize("call", [["--source", "nowhere.mkv", "out"], ["--frames", "0", "out"]])
def test_wrong_use_is_one_sentence(
    call: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*call[:-1], str(tmp_path / call[-1])]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_empty_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["--source", "demo", "--frames", "1", ""])
    assert list(tmp_path.iterdir()) == []


class Stopped:
    """A source before which Ctrl-C is pressed: as it is opened, or when some frames came."""

    camera, dropped = CAMERA, 0

    def __init__(self, count: int | None) -> None:
        if count is None:
            raise KeyboardInterrupt
        self._count = count

    def __enter__(self) -> Stopped:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        yield from synthetic_frames(self._count)
        raise KeyboardInterrupt


@pytest.mark.parametrize(("count", "code"), [(None, 130), (0, 130), (2, 0)])
def test_ctrl_c_ends_a_recording_and_tells_if_there_is_none(
    count: int | None,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(record, "open_camera", lambda _: Stopped(count))
    assert main([str(tmp_path / "clip.mkv")]) == code
    told = capsys.readouterr()
    assert ("nothing was recorded" in told.err) == bool(code)
    assert told.out.startswith("2 frames recorded") == (not code)
    assert (tmp_path / "clip.mkv").exists() == (not code)

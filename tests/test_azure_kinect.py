from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from pipeline import azure_kinect
from pipeline.cameras import open_camera
from pipeline.command_line import parse_options
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import Frame
from pipeline.hand import Hand
from tests.cameras.folders import write_folder
from tests.scripted import ScriptedPose
from tests.shared_data import shared_file

ROOT = Path(__file__).resolve().parent.parent


def _use(monkeypatch: pytest.MonkeyPatch, pose: Callable[..., ScriptedPose]) -> None:
    """Instead of the networks."""
    monkeypatch.setitem(sys.modules, "pipeline.hand_pose", SimpleNamespace(HandPosePipeline=pose))


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Five frames."""
    return str(write_folder(tmp_path / "frames", 5))


@pytest.fixture(autouse=True)
def pose(monkeypatch: pytest.MonkeyPatch) -> None:
    """No networks, and no display."""
    _use(monkeypatch, ScriptedPose)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_recording_goes_frame_by_frame_into_the_files(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    command = ["--source", source, "--no-window", "--output", str(output), "--video", str(video)]
    assert azure_kinect.main(command) == 0
    head, *frames = _lines(output)
    assert head["engine"] == "scripted"
    assert head["camera"]["width"] == 64
    assert [line["frame"] for line in frames] == [0, 1, 2, 3, 4]
    assert all(len(line["hands"]) == 1 for line in frames)
    with av.open(str(video)) as container:
        assert len(list(container.decode(video=0))) == 5
    told = capsys.readouterr()
    assert told.out == ""
    assert "5 frames, 5 hands" in told.err
    assert f"written: {output}" in told.err
    assert f"written: {video}" in told.err


def test_frames_limits_the_run(source: str, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = ["--source", source, "--no-window", "--frames", "2", "--output", str(output)]
    assert azure_kinect.main(command) == 0
    assert len(_lines(output)) == 3


def test_json_lines_go_to_standard_output(source: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert azure_kinect.main(["--source", source, "--no-window", "--output", "-"]) == 0
    assert len([json.loads(line) for line in capfd.readouterr().out.splitlines()]) == 6


def test_options_reach_the_pipeline(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[ScriptedPose] = []

    def make(**options: Any) -> ScriptedPose:
        made.append(ScriptedPose(**options))
        return made[-1]

    _use(monkeypatch, make)
    command = "--no-window --engine onnx --max-hands 3 --no-track --centernet c.pth --a2j a.pth"
    assert azure_kinect.main(["--source", source, *command.split()]) == 0
    assert made[0].options == {
        "engine": "onnx",
        "max_hands": 3,
        "track": False,
        "centernet": Path("c.pth"),
        "a2j": Path("a.pth"),
    }


def test_no_display_is_one_sentence_and_the_run_goes_on(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert azure_kinect.main(["--source", source]) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "no window: there is no display, the run goes on without one"


def test_demo_without_a_window_ends_and_leaves_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = azure_kinect.prepare(parse_options(["--source", "demo"]))
    assert (options.frames, options.video, options.window) == (150, Path("output/demo.mp4"), False)
    options = azure_kinect.prepare(parse_options(["--source", "demo", "--output", "a.jsonl"]))
    assert (options.frames, options.video) == (150, None)
    options = azure_kinect.prepare(parse_options(["--source", "demo", "--frames", "3"]))
    assert (options.frames, options.video) == (3, None)


@pytest.mark.parametrize(
    ("command", "engine"),
    [
        ("", "auto"),
        ("--trt", "tensorrt"),
        ("--trt True", "tensorrt"),
        ("--trt False", "torch"),
        ("--trt=False", "torch"),
        ("--trt --source demo", "tensorrt"),
        ("--trt True --engine tensorrt", "tensorrt"),
        ("--trt False --engine openvino", "openvino"),
        ("--engine torch", "torch"),
    ],
)
def test_trt_chooses_the_engine(command: str, engine: str) -> None:
    assert parse_options(command.split()).engine == engine


@pytest.mark.parametrize(
    "command",
    [
        ["--trt", "maybe"],
        ["--trt", "true"],
        ["--trt", "0"],
        ["--trt="],
        ["--trt", "True", "--engine", "torch"],
        ["--trt", "--engine", "onnx"],
        ["--trt", "False", "--engine", "tensorrt"],
        ["--engine", "caffe"],
        ["--frames", "0"],
        ["--frames", "many"],
        ["--max-hands", "-1"],
        ["--output"],
        ["--output", ""],
        ["--output", "/no/such/folder/out.jsonl"],
        ["--output", "a.mp4", "--video", "a.mp4"],
        ["--video", "clip.avi"],
        ["--sour", "demo"],
        ["--unheard-of"],
        ["stray"],
        ["--source", "no such file"],
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_two(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert azure_kinect.main([*command, "--no-window"]) == 2
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 1
    assert told.out == ""


def test_the_source_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip.mkv"
    clip.write_bytes(b"precious")
    assert azure_kinect.main(["--source", str(clip), "--no-window", "--output", str(clip)]) == 2
    assert clip.read_bytes() == b"precious"
    assert "it is the source" in capsys.readouterr().err


class _Failing(ScriptedPose):
    """Fails at its third frame."""

    error: BaseException = HandPoseError("the detector ran out of memory: use a smaller one")

    def __call__(self, frame: Frame) -> list[Hand]:
        if frame.index == 2:
            raise self.error
        return super().__call__(frame)


class _Interrupted(_Failing):
    error = KeyboardInterrupt()


@pytest.mark.parametrize(("pose_class", "code"), [(_Failing, 1), (_Interrupted, 130)])
def test_a_run_that_stops_early_leaves_files_that_open(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pose_class: type[ScriptedPose],
    code: int,
) -> None:
    _use(monkeypatch, pose_class)
    output, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    command = ["--source", source, "--no-window", "--output", str(output), "--video", str(video)]
    assert azure_kinect.main(command) == code
    assert len(_lines(output)) == 3
    with av.open(str(video)) as container:
        assert len(list(container.decode(video=0))) == 2
    told = capsys.readouterr().err
    assert "2 frames" in told
    assert "Traceback" not in told


def test_a_usage_error_from_the_pipeline_ends_with_two(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: Any) -> ScriptedPose:
        raise UsageError("TensorRT is not installed: pip install -r requirements-tensorrt.txt")

    _use(monkeypatch, refuse)
    output = tmp_path / "out.jsonl"
    assert azure_kinect.main(["--trt", "--source", source, "--no-window", "--output", str(output)]) == 2
    assert capsys.readouterr().err.startswith("TensorRT is not installed")
    assert not output.exists()


@pytest.mark.parametrize(
    ("folder", "command"),
    [(ROOT / "pipeline", ["azure_kinect.py"]), (ROOT, ["-m", "pipeline.azure_kinect"])],
)
def test_it_starts_from_both_places_and_wrong_use_needs_no_network_library(
    folder: Path, command: list[str]
) -> None:
    blocked = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "fakes" / "no_torch")}
    cases = ((["--help"], 0), (["--trt", "maybe"], 2), (["--source", "nowhere"], 2))
    for arguments, code in cases:
        run = subprocess.run(
            [sys.executable, *command, *arguments],
            cwd=folder,
            env=blocked,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == code, run.stderr
        assert "Traceback" not in run.stderr


_RUN_SCRIPTED = """
import sys, time, types
from pipeline import azure_kinect
from tests.scripted import ScriptedPose

class Slow(ScriptedPose):
    def __call__(self, frame):
        print("frame", file=sys.stderr, flush=True)
        time.sleep(float(sys.argv[1]))
        return super().__call__(frame)

sys.modules["pipeline.hand_pose"] = types.SimpleNamespace(HandPosePipeline=Slow)
sys.exit(azure_kinect.main(sys.argv[2:]))
"""


def _scripted_process(pause: float, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _RUN_SCRIPTED, str(pause), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_close_the_files(source: str, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    output = tmp_path / "out.jsonl"
    with _scripted_process(30, "--source", source, "--no-window", "--output", str(output)) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "frame\n"
        process.send_signal(sent)
        told = process.stderr.read()
        assert process.wait() == code
    assert "Traceback" not in told
    assert len(_lines(output)) == 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_reader_that_goes_away_is_one_sentence(source: str) -> None:
    arguments = ("--source", source, "--no-window", "--output", "-")
    with _scripted_process(0.2, *arguments, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait() == 1
    assert "nothing reads standard output any more" in told
    assert "Traceback" not in told


def test_a_real_recording_runs_to_its_end(tmp_path: Path) -> None:
    recording = shared_file("azure_kinect/recording.mkv")
    output = tmp_path / "out.jsonl"
    assert azure_kinect.main(["--source", str(recording), "--no-window", "--output", str(output)]) == 0
    head, frame = _lines(output)
    assert head["camera"]["fx"] == pytest.approx(504.6076, abs=0.01)
    assert len(frame["hands"]) == 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A display that nobody sees."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("Xvfb or xdotool is not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as number:
            name = f":{number.readline().strip()}"
        monkeypatch.setenv("DISPLAY", name)
        yield name
        server.terminate()


def _windows(display: str) -> list[str]:
    search = ["xdotool", "search", "--onlyvisible", "--name", "3D hand pose"]
    run = subprocess.run(
        search, env={**os.environ, "DISPLAY": display}, capture_output=True, text=True, check=False
    )
    return run.stdout.split()


def _press(display: str, window: str, key: str) -> None:
    environment = {**os.environ, "DISPLAY": display}
    subprocess.run(["xdotool", "windowfocus", window], env=environment, check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["xdotool", "key", "--window", window, key], env=environment, check=True)


def _wait_for_window(display: str) -> str:
    for _ in range(600):
        if windows := _windows(display):
            return windows[0]
        time.sleep(0.1)
    pytest.fail("no window came up")


def test_the_window_opens_takes_keys_and_quits(screen: str, tmp_path: Path) -> None:
    from pipeline.window import display_problem

    assert display_problem() is None
    source = str(write_folder(tmp_path / "frames", 500))
    environment = {**os.environ, "DISPLAY": screen, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _RUN_SCRIPTED, "0.1", "--source", source, "--output", "out.jsonl"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        window = _wait_for_window(screen)
        keys = {"s": "screenshot: ", "r": "recording: ", "R": "recorded ", "q": "written: "}
        for key, line in keys.items():
            _press(screen, window, key)
            assert any(told.startswith(line) for told in iter(process.stderr.readline, ""))
            if key == "r":  # some frames to be recorded
                assert [process.stderr.readline() for _ in range(3)] == 3 * ["frame\n"]
        assert process.wait() == 0
    assert len(list(tmp_path.glob("handpose_*.png"))) == 1
    (taken,) = tmp_path.glob("recording_*")
    with open_camera(str(taken)) as taken_frames:
        assert next(iter(taken_frames)).depth.any()


def test_a_display_that_cannot_be_reached_is_told_without_ending_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipeline.window import display_problem

    monkeypatch.setenv("DISPLAY", ":4711")
    assert display_problem() is not None

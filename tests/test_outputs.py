from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.errors import HandPoseError
from pipeline.frame import DepthCamera
from pipeline.hand import HAND_21
from pipeline.outputs import JsonLines, VideoFile
from pipeline.result import Result, RunSummary
from pipeline.view import View
from tests.scripted import CAMERA, ScriptedPose, flat_frame, open_hand

TIMES = ScriptedPose.timings


def _result(index: int = 0, hands: int = 1) -> Result:
    return Result(flat_frame(index), [open_hand() for _ in range(hands)], TIMES)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write_json(path: Path, *results: Result, camera: DepthCamera = CAMERA) -> list[dict[str, Any]]:
    output = JsonLines(path, HAND_21, camera, "torch cpu")
    for result in results:
        output.write(result)
    output.close()
    return _lines(path)


def test_first_line_describes_the_run(tmp_path: Path) -> None:
    (head,) = _write_json(tmp_path / "a.jsonl")
    assert head == {
        "schema": 1,
        "joint_names": list(HAND_21.joint_names),
        "bones": [list(bone) for bone in HAND_21.bones],
        "camera": {
            "width": 320,
            "height": 288,
            "fx": 252.0,
            "fy": 252.0,
            "cx": 160.0,
            "cy": 144.0,
            "distortion": None,
        },
        "engine": "torch cpu",
    }


def test_distortion_is_written_in_opencvs_order(tmp_path: Path) -> None:
    lens = tuple(0.01 * k for k in range(8))
    (head,) = _write_json(tmp_path / "a.jsonl", camera=replace(CAMERA, distortion=lens))
    assert head["camera"]["distortion"] == list(lens)


def test_a_frame_line_carries_its_hands_to_a_thousandth(tmp_path: Path) -> None:
    _, line = _write_json(tmp_path / "a.jsonl", _result(index=3))
    hand = open_hand()
    (written,) = line["hands"]
    assert list(line) == ["frame", "timestamp_us", "hands", "ms"]
    assert (line["frame"], line["timestamp_us"]) == (3, 99_999)
    assert line["ms"] == {"detect": 2.0, "pose": 1.0, "total": 3.5}
    keys = ["id", "handedness", "score", "box", "joints_uvd", "joints_xyz", "confidence"]
    assert list(written) == keys
    assert (written["id"], written["handedness"], written["score"]) == (7, "right", 0.9688)
    assert np.allclose(written["joints_uvd"], hand.joints_uvd, atol=6e-4)
    assert np.allclose(written["joints_xyz"], hand.joints_xyz, atol=6e-4)
    assert np.allclose(written["box"], hand.box, atol=6e-3)
    assert np.allclose(written["confidence"], hand.confidence, atol=6e-5)


def test_unknown_id_and_handedness_are_null(tmp_path: Path) -> None:
    hand = open_hand(handedness=None, number=None)
    _, line = _write_json(tmp_path / "a.jsonl", Result(flat_frame(), [hand], TIMES))
    assert line["hands"][0]["id"] is None
    assert line["hands"][0]["handedness"] is None


def test_a_frame_without_hands_has_an_empty_list(tmp_path: Path) -> None:
    assert _write_json(tmp_path / "a.jsonl", _result(hands=0))[1]["hands"] == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_are_always_finite(tmp_path: Path, value: float) -> None:
    joints = open_hand().joints_xyz.copy()
    joints[5, 1] = value
    hands = [replace(open_hand(), joints_xyz=joints), open_hand(number=9)]
    _, line = _write_json(tmp_path / "a.jsonl", Result(flat_frame(), hands, TIMES))
    assert [hand["id"] for hand in line["hands"]] == [9]


def test_lines_are_complete_before_the_file_is_closed(tmp_path: Path) -> None:
    output = JsonLines(tmp_path / "a.jsonl", HAND_21, CAMERA, "torch")
    output.write(_result())
    assert len(_lines(output.path)) == 2
    output.close()


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old\n" * 100)
    assert len(_write_json(path, _result())) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(HandPoseError, match="cannot write /dev/full: no space left on device") as caught:
        JsonLines(Path("/dev/full"), HAND_21, CAMERA, "torch")
    assert caught.value.exit_code == 1


def test_a_folder_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HandPoseError, match="no such file"):
        JsonLines(tmp_path / "none" / "a.jsonl", HAND_21, CAMERA, "torch")


def _write_video(path: Path, *results: Result) -> None:
    view = View(HAND_21, "torch", ScriptedPose())
    video = VideoFile(path, view)
    for result in results:
        view.advance(result)
        video.write(result)
    video.close()


def _read_video(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_video_keeps_the_cameras_time_and_shows_the_view(tmp_path: Path) -> None:
    results = [_result(index) for index in (0, 1, 2, 5)]  # two frames were late
    _write_video(tmp_path / "a.mp4", *results)
    frames = _read_video(tmp_path / "a.mp4")
    assert [frame.time for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30, 5 / 30], abs=1e-3)
    view = View(HAND_21, "torch", ScriptedPose())
    view.advance(results[0])
    from pipeline.drawing import ViewOptions

    expected = view.picture(results[0], ViewOptions())
    assert frames[0].to_ndarray(format="bgr24").shape == expected.shape
    error = np.abs(frames[0].to_ndarray(format="bgr24").astype(int) - expected)[:570].mean()
    assert error < 6


def test_a_video_without_frames_leaves_no_file(tmp_path: Path) -> None:
    _write_video(tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


def test_an_unwritable_video_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HandPoseError, match=r"cannot write .*a\.mp4: no such file"):
        _write_video(tmp_path / "none" / "a.mp4", _result())


_ENDLESS_WRITER = """
import sys, itertools
from pathlib import Path
from pipeline.hand import HAND_21
from pipeline.outputs import JsonLines, VideoFile
from pipeline.view import View
from tests.scripted import ScriptedPose
from tests.test_outputs import CAMERA, _result
view = View(HAND_21, "torch", ScriptedPose())
outputs = [JsonLines(Path(sys.argv[1]), HAND_21, CAMERA, "torch"), VideoFile(Path(sys.argv[2]), view)]
for index in itertools.count():
    result = _result(index)
    view.advance(result)
    for output in outputs:
        output.write(result)
    if index == 75:
        print("ready", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_leaves_files_that_open(tmp_path: Path) -> None:
    lines, video = tmp_path / "a.jsonl", tmp_path / "a.mp4"
    command = [sys.executable, "-c", _ENDLESS_WRITER, str(lines), str(video)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    whole = lines.read_text().rsplit("\n", 1)[0].splitlines()
    assert len([json.loads(line) for line in whole]) >= 76
    assert len(_read_video(video)) >= 30


def test_summary_counts_and_gives_median_and_tail() -> None:
    summary = RunSummary()
    for k in range(100):
        times = type(TIMES)(detect_ms=float(k), pose_ms=1.0, total_ms=float(k) + 1)
        summary.add(replace(_result(hands=2), times=times))
    text = summary.text(dropped=4)
    assert text.startswith("100 frames, 200 hands in ")
    assert text.splitlines()[0].endswith("4 dropped")
    assert text.splitlines()[2].split() == ["detect", "49.5", "94.0"]  # exactly 49.5 and 94.05
    assert RunSummary().text().startswith("0 frames, 0 hands")

"""Takes: new recordings each time, which play back; failures end the take and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.cameras import open_camera
from pipeline.frame import DepthCamera
from pipeline.takes import Takes
from tests.scripted import CAMERA, flat_frame

OTHER = DepthCamera(width=100, height=80, fx=90.0, fy=90.0, cx=50.0, cy=40.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_frames_between_start_and_stop_are_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes = Takes()
    takes.add(flat_frame(0))
    takes.toggle(CAMERA)
    assert takes.recording
    for index in (1, 2, 3):
        takes.add(flat_frame(index, depth=700 + index))
    takes.toggle(CAMERA)
    takes.add(flat_frame(4))
    (clip,) = folder.glob("recording_*.mkv")
    with open_camera(str(clip)) as source:
        assert [int(np.median(frame.depth)) for frame in source] == [701, 702, 703]
    assert capsys.readouterr().err == f"recording: {clip}\nrecorded 3 frames: {clip}\n"


def test_each_take_is_a_new_recording_and_the_last_one_ends_with_the_run(folder: Path) -> None:
    takes = Takes()
    for index in range(2):
        takes.toggle(CAMERA)
        takes.add(flat_frame(index))
        takes.close()
        takes.close()
    assert len(list(folder.glob("recording_*.mkv"))) == 2
    assert not takes.recording


def test_images_that_fit_no_azure_kinect_go_to_a_folder(folder: Path) -> None:
    takes = Takes()
    takes.toggle(OTHER)
    takes.add(flat_frame(0, camera=OTHER))
    takes.close()
    (taken,) = folder.glob("recording_*")
    assert len(list(open_camera(str(taken)))) == 1


def test_failures_are_told_and_end_the_take_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes = Takes()
    takes.toggle(CAMERA)
    takes.add(flat_frame(0))
    takes.add(flat_frame(1, camera=OTHER))
    assert not takes.recording
    assert "one camera" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes = Takes()
    folder.chmod(0o500)
    try:
        takes.toggle(CAMERA)
        takes.add(flat_frame(2))
    finally:
        folder.chmod(0o700)
    assert not takes.recording
    assert "cannot write" in capsys.readouterr().err

import os
from pathlib import Path

import pytest

from pipeline.cameras import open_camera
from pipeline.cameras.folder import FolderCamera
from pipeline.cameras.recording import RecordingCamera
from pipeline.errors import SourceError
from tests.cameras.folders import write_folder
from tests.cameras.recordings import Recording, numbered_images


def test_a_file_is_a_recording_and_a_folder_holds_frames(tmp_path: Path) -> None:
    recording = Recording(numbered_images(1)).write(tmp_path / "clip.mkv")
    with open_camera(str(recording)) as source:
        assert isinstance(source, RecordingCamera)
        assert (source.live, source.dropped) == (False, 0)
    with open_camera(write_folder(tmp_path / "frames", count=1)) as source:
        assert isinstance(source, FolderCamera)


def test_source_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.mkv", tmp_path / ("x" * 300) / "clip.mkv"):
        with pytest.raises(SourceError, match="does not exist, or may not be read: give azure, demo"):
            open_camera(str(path))


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_folder(tmp_path / "frames", count=1))
    with pytest.raises(SourceError, match="source '' does not exist"):
        open_camera("")


def test_folder_named_like_a_recording_says_what_a_folder_needs(tmp_path: Path) -> None:
    (tmp_path / "clip.mkv").mkdir()
    with pytest.raises(SourceError, match="depth_image"):
        open_camera(tmp_path / "clip.mkv")


@pytest.mark.parametrize("content", [b"", b"just text\n" * 100, b"\x1a\x45\xdf\xa3", bytes(5000)])
def test_other_files_named_like_a_recording_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mkv").write_bytes(content)
    with pytest.raises(SourceError, match="give an Azure Kinect recording"):
        open_camera(tmp_path / "clip.mkv")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mkv")
    with pytest.raises(SourceError, match="is not a file"):
        open_camera(tmp_path / "clip.mkv")

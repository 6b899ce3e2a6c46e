"""Places for files are checked early, and failures are told with what helps."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import HandPoseError, UsageError
from pipeline.writing import check_writable, write_errors


def test_outputs_that_cannot_be_are_refused_before_the_run(tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    source.touch()
    for path, reason in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "a.jsonl", "there is no folder"),
        (source, "is the source"),
        (tmp_path / ("x" * 300) / "a.jsonl", "there is no folder"),  # an error, as below a locked folder
    ]:
        with pytest.raises(UsageError, match=reason):
            check_writable(path, str(source))
    check_writable(tmp_path / "new.jsonl", str(source))
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="permission denied"):
        check_writable(tmp_path / "a.jsonl", "demo")


def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(HandPoseError, match="free some space"), write_errors(Path("x")):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(HandPoseError, match="check the place or choose another"), write_errors(Path("x")):
        raise OSError(errno.EIO, "Input/output error")

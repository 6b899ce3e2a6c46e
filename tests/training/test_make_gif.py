"""The README's picture: a clip that is too short for it is told."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.drawing import Image
from pipeline.training import make_gif


@pytest.fixture(autouse=True)
def _no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_gif, "HandPosePipeline", lambda **_: None)


def test_pictures_become_a_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[Image] = [np.full((40, 60, 3), level, np.uint8) for level in (20, 200)]
    monkeypatch.setattr(make_gif, "pictures", lambda *_: iter(images))
    assert make_gif.main(["--output", str(tmp_path / "clip.gif"), "--width", "30"]) == 0
    assert (tmp_path / "clip.gif").read_bytes()[:3] == b"GIF"


def test_a_clip_without_pictures_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_gif, "pictures", lambda *_: iter([]))
    assert make_gif.main(["--output", str(tmp_path / "clip.gif"), "--skip", "20"]) == 2
    assert "smaller --skip than 20" in capsys.readouterr().err
    assert not (tmp_path / "clip.gif").exists()

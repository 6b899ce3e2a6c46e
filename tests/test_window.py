"""Keys of the window; OpenCV's own windows are replaced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline import window
from pipeline.hand import HAND_21
from pipeline.result import Result
from pipeline.view import View
from pipeline.window import Window
from tests.scripted import ScriptedPose, flat_frame

NO_KEY = -1


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the user will press."""
    pressed: list[int] = []
    for name in ("namedWindow", "resizeWindow", "imshow", "destroyAllWindows"):
        monkeypatch.setattr(window.cv2, name, lambda *_: None)
    monkeypatch.setattr(window.cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(window.cv2, "waitKey", lambda _: pressed.pop(0) if pressed else NO_KEY)
    return pressed


@pytest.fixture
def pose() -> ScriptedPose:
    return ScriptedPose()


@pytest.fixture
def shown(keys: list[int], pose: ScriptedPose) -> Iterator[Window]:
    made = Window(View(HAND_21, "scripted", pose), pose, paced=False)
    yield made
    made.close()


def write(shown: Window, pose: ScriptedPose) -> None:
    frame = flat_frame()
    shown.write(Result(frame, pose(frame), pose.timings))


def test_t_and_f_switch_tracking_and_filter(shown: Window, keys: list[int], pose: ScriptedPose) -> None:
    keys += [ord("t"), ord("F")]
    write(shown, pose)
    assert (pose.track, pose.smooth) == (False, False)
    keys += [ord("t")]
    write(shown, pose)
    assert (pose.track, pose.smooth) == (True, False)
    assert not shown.closed


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_q_and_escape_close(shown: Window, keys: list[int], pose: ScriptedPose, key: int) -> None:
    keys += [ord(" "), NO_KEY, key]  # also while it is paused
    write(shown, pose)
    assert shown.closed

"""The window: shows pictures, pauses, and acts on keys."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2

from pipeline.drawing import Image, ViewOptions
from pipeline.result import Result
from pipeline.takes import Takes
from pipeline.view import Switches, View

TITLE = "3D hand pose"
_ESCAPE, _SPACE = 27, 32
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"
_PROBE_TIMEOUT_S = 30
_PAUSED_WAIT_MS = 30


def display_problem() -> str | None:
    """Why no window can be opened, or None if one can.

    OpenCV's Qt ends the whole process when it cannot reach the display, so another process tries first.
    """
    on_linux = sys.platform.startswith("linux")
    if on_linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    if not cv2.currentUIFramework():
        return "this OpenCV was built without windows"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "the display does not answer"
    return None if probe.returncode == 0 else "OpenCV cannot open a window on this display"


class Window:
    """Shows results until it is closed.

    Keys: q or Esc quits, space pauses, d swaps depth and infrared, 3 shows or hides the 3D panel, t and f
    switch tracking and its filter, s saves the picture and r records the frames that follow, both in the
    current folder, h lists the keys.

    Args:
        view: makes the pictures; its `advance` is the caller's to call.
        switches: of what makes the results.
        paced: whether frames are held back to the speed of their timestamps (recordings, not live cameras).

    Attributes:
        closed: True once the user has quit.
    """

    def __init__(self, view: View, switches: Switches, paced: bool) -> None:
        self.closed = False
        self._view = view
        self._switches = switches
        self._paced = paced
        self._due = time.perf_counter()
        self._options = ViewOptions()
        self._takes = Takes()
        self._paused = False
        self._size: tuple[int, ...] = ()
        flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
        cv2.namedWindow(TITLE, flags)

    def write(self, result: Result) -> None:
        """Shows a result; returns at once, or when its time has come, or when a pause ends."""
        self._takes.add(result.frame)
        wait_ms = self._wait_ms()
        picture = self._show(result)
        while not self.closed:
            key = cv2.waitKey(wait_ms) & 0xFF
            if not self._visible():
                self.closed = True
            elif key != 0xFF:
                self._act(key, picture, result)
                picture = self._show(result)
            elif not self._paused:
                break
            wait_ms = _PAUSED_WAIT_MS if self._paused else 1

    def close(self) -> None:
        self._takes.close()
        cv2.destroyAllWindows()
        cv2.waitKey(1)

    def _wait_ms(self) -> int:
        now = time.perf_counter()
        self._due = max(now, self._due + self._view.seconds) if self._paced else now
        return max(1, int(1000 * (self._due - now)))

    def _show(self, result: Result) -> Image:
        picture = self._view.picture(result, replace(self._options, recording=self._takes.recording))
        if picture.shape != self._size:
            self._size = picture.shape
            cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
        cv2.imshow(TITLE, picture)
        return picture

    def _act(self, key: int, picture: Image, result: Result) -> None:
        if key == _ESCAPE or chr(key).lower() == "q":
            self.closed = True
        elif key == _SPACE:
            self._paused = not self._paused
        elif chr(key).lower() == "d":
            self._options = replace(self._options, depth=not self._options.depth)
        elif chr(key) == "3":
            self._options = replace(self._options, panel=not self._options.panel)
        elif chr(key).lower() == "h":
            self._options = replace(self._options, help=not self._options.help)
        elif chr(key).lower() == "t":
            self._switches.track = not self._switches.track
        elif chr(key).lower() == "f":
            self._switches.smooth = not self._switches.smooth
        elif chr(key).lower() == "s":
            save_screenshot(picture)
        elif chr(key).lower() == "r":
            self._takes.toggle(result.frame.camera)

    def _visible(self) -> bool:
        try:
            return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False


def save_screenshot(picture: Image) -> None:
    """Writes the picture to a PNG in the current folder and says on stderr where it is."""
    path = Path(
        f"handpose_{time.strftime('%Y%m%d_%H%M%S')}_{time.time_ns() // 10**6 % 1000:03d}.png"
    ).absolute()
    try:
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        print(f"cannot write {path}: {error.strerror}", file=sys.stderr)
    else:
        print(f"screenshot: {path}", file=sys.stderr)

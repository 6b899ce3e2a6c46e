"""A thread between a device that delivers frames at its own pace and a program that takes the newest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pipeline.errors import HandPoseError
from pipeline.frame import Frame

_FAILURES_IN_A_ROW = 5
_PAUSE_S = 0.1  # after a failure
_GRACE_S = 2.0  # beyond the time-out, for a driver that is late itself


class CaptureFailed(Exception):
    """The device could not deliver a frame this time."""


class NewestFrame:
    """Reads frames in a thread of its own and keeps the newest; older ones that nobody took are dropped.

    Args:
        read: waits a moment (well under `timeout_s`) for the next frame; returns None if none came.
        name: of the device, for messages.
        hint: what to try when it fails, for messages.
        timeout_s: longest time without a frame.
    """

    def __init__(self, read: Callable[[], Frame | None], name: str, hint: str, timeout_s: float) -> None:
        self._read = read
        self._name = name
        self._hint = hint
        self._timeout_s = timeout_s
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._frame: Frame | None = None
        self._fault = ""
        self._received = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames that were replaced by newer ones before anybody took them."""
        return self._dropped

    def take(self) -> Frame:
        """The newest frame that was not taken yet; waits for one.

        Raises:
            StopIteration: stopped.
            HandPoseError: no frame came in time, or the device failed too often.
        """
        with self._change:
            self._change.wait_for(self._is_due, timeout=self._timeout_s + _GRACE_S)
            frame, self._frame = self._frame, None
        if frame is not None:
            return frame
        if self._stop.is_set():
            raise StopIteration
        self._stop.set()
        fault = self._fault or "does not answer"
        raise HandPoseError(f"{self._name} {fault} (frames received before: {self._received}): {self._hint}")

    def stop(self) -> bool:
        """End the thread: True if it has ended, False if the driver still holds it."""
        with self._change:
            self._stop.set()
            self._frame = None
            self._change.notify_all()
        self._thread.join(timeout=_GRACE_S)
        return not self._thread.is_alive()

    def _is_due(self) -> bool:
        return self._frame is not None or bool(self._fault) or self._stop.is_set()

    def _run(self) -> None:
        try:
            fault = self._read_until_fault()
        except (
            Exception
        ) as error:  # whatever a driver raises must reach the program, not end the thread alone
            fault = f"delivered something unexpected ({type(error).__name__}: {error})"
        with self._change:
            self._fault = fault
            self._change.notify_all()

    def _read_until_fault(self) -> str:
        failures = 0
        last = time.monotonic()
        while not self._stop.is_set():
            try:
                frame = self._read()
            except CaptureFailed:
                failures += 1
                if failures >= _FAILURES_IN_A_ROW:
                    return f"failed {failures} times in a row"
                self._stop.wait(_PAUSE_S)
                continue
            if frame is not None:
                failures = 0
                last = time.monotonic()
                self._put(frame)
            elif time.monotonic() - last > self._timeout_s:
                return f"sent no frame for {self._timeout_s:g} s"
        return ""

    def _put(self, frame: Frame) -> None:
        with self._change:
            if self._stop.is_set():
                return
            self._received += 1
            self._dropped += self._frame is not None
            self._frame = frame
            self._change.notify_all()

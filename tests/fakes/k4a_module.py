"""A fake of pyk4a's C module: the edge to the Azure Kinect's SDK; the Python above it is real."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.cameras.recordings import calibration_json

SUCCEEDED, FAILED, TIMED_OUT = 0, 1, 2
Image = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class FakeCapture:
    """What the camera delivers: images or None, microseconds."""

    depth: Image | None
    ir: Image | None
    timestamp_us: int = 0


class FakeK4a(ModuleType):
    """A camera that plays a script: captures, or the results FAILED and TIMED_OUT; then it sends no more.

    Attributes:
        calls: names of the device functions called so far.
        config: what the cameras were started with, or None.
        exhausted: set as soon as a capture is asked for behind the script's end.
    """

    def __init__(self, script: Iterable[FakeCapture | int] = (), after: int = TIMED_OUT) -> None:
        super().__init__("k4a_module")
        self._script = iter(script)
        self._after = after
        self.installed = 1
        self.results: dict[str, int] = {}
        self.raw_calibration: Any = json.dumps(calibration_json()) + "\0"
        self.calls: list[str] = []
        self.config: tuple[Any, ...] | None = None
        self.exhausted = threading.Event()

    def device_get_installed_count(self) -> int:
        return self.installed

    def device_open(self, device: int, keep_lock: bool) -> tuple[int, object]:
        return self._call("device_open", keep_lock), object()

    def device_close(self, handle: object, keep_lock: bool) -> int:
        return self._call("device_close", keep_lock, handle)

    def device_start_cameras(self, handle: object, keep_lock: bool, *config: Any) -> int:
        self.config = config
        return self._call("device_start_cameras", keep_lock, handle)

    def device_stop_cameras(self, handle: object, keep_lock: bool) -> int:
        return self._call("device_stop_cameras", keep_lock, handle)

    def device_start_imu(self, handle: object, keep_lock: bool) -> int:
        return self._call("device_start_imu", keep_lock, handle)

    def device_stop_imu(self, handle: object, keep_lock: bool) -> int:
        return self._call("device_stop_imu", keep_lock, handle)

    def device_get_calibration(self, handle: object, keep_lock: bool, *_: Any) -> tuple[int, object]:
        return SUCCEEDED, object()

    def device_get_raw_calibration(self, handle: object, keep_lock: bool) -> Any:
        return self.raw_calibration

    def device_get_capture(
        self, handle: object, keep_lock: bool, timeout_ms: int
    ) -> tuple[int, FakeCapture | None]:
        assert handle is not None
        assert not keep_lock, "Python's lock is kept: no other thread runs while this one waits"
        assert 0 < timeout_ms <= 1000, "a wait without end"
        step = next(self._script, None)
        if step is None:
            self.exhausted.set()
            time.sleep(0.01)
            return self._after, None
        return (step, None) if isinstance(step, int) else (SUCCEEDED, step)

    def capture_get_depth_image(self, capture: FakeCapture, keep_lock: bool) -> tuple[Any, int, int]:
        return capture.depth, capture.timestamp_us, 0

    def capture_get_ir_image(self, capture: FakeCapture, keep_lock: bool) -> tuple[Any, int, int]:
        return capture.ir, capture.timestamp_us, 0

    def _call(self, name: str, keep_lock: bool, handle: object = True) -> int:
        assert handle is not None, f"{name} without a device ends the whole program"
        assert not keep_lock
        self.calls.append(name)
        return self.results.get(name, SUCCEEDED)

"""A live Azure Kinect, through pyk4a."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.cameras.base import Camera
from pipeline.cameras.calibration import DEPTH_MODES, LensMask, parse_calibration
from pipeline.cameras.live import CaptureFailed, NewestFrame
from pipeline.cameras.usb import depth_sensor_nodes
from pipeline.constants import AZURE_DEPTH_MODE, AZURE_FPS, AZURE_SYNCHRONIZED_IMAGES, AZURE_TIMEOUT_S
from pipeline.errors import HandPoseError, SourceError, UsageError, requirements
from pipeline.frame import DepthCamera, Frame

USB_SYSFS = Path("/sys/bus/usb/devices")
USB_DEV = Path("/dev/bus/usb")
_FPS = (5, 15, 30)
_WAIT_MS = 500  # for one capture; a stop takes effect after that
_INSTALL = f"`pip install {requirements('azure')}`"
_UDEV_RULE = (
    """echo 'SUBSYSTEM=="usb", ATTR{idVendor}=="045e", ATTR{idProduct}=="097a|097b|097c|097d|097e", """
    """MODE="0666"' | sudo tee /etc/udev/rules.d/99-k4a.rules && sudo udevadm control --reload-rules"""
)


class AzureCamera(Camera):
    """A live Azure Kinect: the newest frame wins, late ones are dropped and counted.

    The colour camera stays off. `Frame.index` counts the captures received, dropped ones too.

    Args:
        device: number of the camera, if there are several.
        depth_mode: a key of `DEPTH_MODES`.
        fps: 5, 15 or 30.
        timeout_s: longest time without a frame, seconds.
        synchronized: take only captures that hold both depth and infrared.

    Raises:
        UsageError: no such depth mode or frame rate.
        SourceError: no camera, or none that can be opened.
        HandPoseError: it opens, but does not start.
    """

    live = True

    def __init__(
        self,
        device: int = 0,
        depth_mode: str = AZURE_DEPTH_MODE,
        fps: int = AZURE_FPS,
        timeout_s: float = AZURE_TIMEOUT_S,
        synchronized: bool = AZURE_SYNCHRONIZED_IMAGES,
    ) -> None:
        _check_settings(depth_mode, fps)
        self._pyk4a = _import_pyk4a()
        self._synchronized = synchronized
        self._index = 0
        self._reader: NewestFrame | None = None
        self._dropped = 0
        self._device = self._open(device, depth_mode, fps)
        try:
            self.camera = self._read_calibration(depth_mode)
            self._measured = LensMask(self.camera)
            self._start(depth_mode, fps)
            self._reader = NewestFrame(
                self._capture,
                name="the Azure Kinect",
                hint="check its USB and power cables, plug it in again and start anew",
                timeout_s=timeout_s,
            )
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Frame:
        if self._reader is None:
            raise StopIteration
        return self._reader.take()

    @property
    def dropped(self) -> int:
        """Frames that nobody took, until now or until the camera was closed."""
        return self._reader.dropped if self._reader else self._dropped

    def close(self) -> None:
        self._dropped = self.dropped
        device, self._device = self._device, None
        reader, self._reader = self._reader, None
        # A driver that holds the thread would hold whoever stops the device as well.
        if device is not None and (reader is None or reader.stop()):
            self._release(device)

    def _open(self, number: int, depth_mode: str, fps: int) -> Any:
        pyk4a = self._pyk4a
        config = pyk4a.Config(
            color_resolution=pyk4a.ColorResolution.OFF,
            depth_mode=pyk4a.DepthMode[depth_mode],
            camera_fps=pyk4a.FPS[f"FPS_{fps}"],
            synchronized_images_only=False,  # the SDK means colour and depth; see `_capture`
        )
        # "Thread safe" means that pyk4a keeps Python's lock while it waits: no other thread would run.
        device = pyk4a.PyK4A(config, device_id=number, thread_safe=False)
        try:
            device.open()
        except pyk4a.K4AException:
            raise _why_not_open(number, pyk4a.connected_device_count()) from None
        return device

    def _read_calibration(self, depth_mode: str) -> DepthCamera:
        try:
            return parse_calibration(self._device.calibration_raw or "", DEPTH_MODES[depth_mode])
        except (ValueError, self._pyk4a.K4AException) as error:
            raise HandPoseError(
                f"the Azure Kinect's calibration cannot be read ({error}): plug it in again and start anew"
            ) from None

    def _start(self, depth_mode: str, fps: int) -> None:
        try:
            self._device.start()
        except self._pyk4a.K4AException:
            raise _why_not_started(depth_mode, fps) from None

    def _capture(self) -> Frame | None:
        """One capture, None if none came or an image is missing from it. Runs in the reader's thread."""
        try:
            capture = self._device.get_capture(timeout=_WAIT_MS)
        except self._pyk4a.K4ATimeoutException:
            return None
        except self._pyk4a.K4AException:
            raise CaptureFailed from None
        depth, ir = capture.depth, capture.ir
        if depth is None or (ir is None and self._synchronized):
            return None
        frame = Frame(self._measured(depth), ir, self.camera, capture.depth_timestamp_usec, self._index)
        self._index += 1
        return frame

    def _release(self, device: Any) -> None:
        try:
            if device.is_running:
                device.stop()
        except self._pyk4a.K4AException:
            device.is_running = False
        if device.opened:
            with contextlib.suppress(self._pyk4a.K4AException):
                device.close()


def _check_settings(depth_mode: str, fps: int) -> None:
    if depth_mode not in DEPTH_MODES:
        raise UsageError(
            f"AZURE_DEPTH_MODE '{depth_mode}' does not exist: use one of {', '.join(DEPTH_MODES)}"
        )
    if fps not in _FPS or fps > DEPTH_MODES[depth_mode].max_fps:
        allowed = [str(rate) for rate in _FPS if rate <= DEPTH_MODES[depth_mode].max_fps]
        raise UsageError(f"AZURE_FPS {fps} is not possible with {depth_mode}: use {' or '.join(allowed)}")


def _import_pyk4a() -> ModuleType:
    """pyk4a, or a SourceError that says why it cannot be loaded."""
    # The SDK's own log goes to the terminal unless it is told not to.
    os.environ.setdefault("K4A_ENABLE_LOG_TO_STDOUT", "0")
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            import pyk4a
    except ModuleNotFoundError as error:
        if error.name != "pyk4a":
            raise _sdk_missing() from None
        raise SourceError(
            f"a live Azure Kinect needs pyk4a, which is not installed: run {_INSTALL} (on a PC, with Python "
            "3.10 to 3.12), or try --source demo"
        ) from None
    except ImportError as error:
        if "multiarray" in f"{error} {error.__cause__}" or "NumPy 1.x" in complaints.getvalue():
            raise SourceError(
                f"this build of pyk4a needs numpy below 2: run {_INSTALL}, which brings numpy 1.26 and an "
                "OpenCV that goes with it"
            ) from None
        raise _sdk_missing() from None
    return pyk4a


def _sdk_missing() -> SourceError:
    return SourceError(
        "pyk4a is installed, but the Azure Kinect's SDK (libk4a) cannot be loaded: run `sudo apt install "
        f"libk4a1.4 libk4a1.4-dev`, or {_INSTALL} on a PC"
    )


def _why_not_open(number: int, count: int) -> SourceError:
    """The SDK says only that opening failed: look at the USB bus for the reason."""
    nodes = depth_sensor_nodes(USB_SYSFS, USB_DEV)
    denied = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if denied:
        return SourceError(
            f"no right to open the Azure Kinect ({denied[0]}): run `{_UDEV_RULE}`, then plug the camera in "
            "again"
        )
    if count == 0:
        return SourceError(
            "no Azure Kinect is connected: plug in its USB 3 and power cables and look for it with `lsusb -d "
            "045e:097c`, or try --source demo"
        )
    if number >= count:
        return SourceError(f"there is no Azure Kinect number {number}: {count} connected, counted from 0")
    node = f" {nodes[0]}" if nodes else ""
    return SourceError(
        f"the Azure Kinect is in use by another program: close it (`sudo fuser -v{node}` names it) and start "
        "anew"
    )


def _why_not_started(depth_mode: str, fps: int) -> HandPoseError:
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return HandPoseError(
            "the Azure Kinect's depth engine needs an OpenGL display, even without a window: run `xvfb-run "
            "-a python3 azure_kinect.py --no-window`, or `export DISPLAY=:0` if a desktop is running"
        )
    return HandPoseError(
        f"the Azure Kinect could not start {depth_mode} at {fps} frames/s: use a USB 3 port, close other "
        "programs that use it, and start anew with K4A_ENABLE_LOG_TO_STDOUT=1 to see its own log"
    )

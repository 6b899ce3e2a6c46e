import builtins
import importlib.util
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cameras import azure, open_camera
from pipeline.cameras.azure import AzureCamera
from pipeline.cameras.usb import depth_sensor_nodes
from pipeline.errors import HandPoseError, SourceError, UsageError
from pipeline.frame import Frame
from tests.fakes.k4a_module import FAILED, TIMED_OUT, FakeCapture, FakeK4a

RELEASED = ["device_stop_imu", "device_stop_cameras", "device_close"]
MakeCamera = Callable[..., FakeK4a]


def _forget_pyk4a() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pyk4a"]:
        del sys.modules[name]


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MakeCamera]:
    """Put a fake camera under the real pyk4a."""
    if importlib.util.find_spec("pyk4a") is None:
        pytest.skip("pyk4a is not installed")
    monkeypatch.setattr(azure, "USB_SYSFS", tmp_path / "no_bus")

    def make(script: Iterable[FakeCapture | int] = (), **attributes: Any) -> FakeK4a:
        _forget_pyk4a()
        module = FakeK4a(script, attributes.pop("after", TIMED_OUT))
        for name, value in attributes.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, "k4a_module", module)
        return module

    yield make
    _forget_pyk4a()


def _capture(number: int, ir: bool = True) -> FakeCapture:
    image = np.full((576, 640), number, np.uint16)
    return FakeCapture(image, image + 1000 if ir else None, number * 33_333)


def _read_until_error(**options: Any) -> tuple[list[Frame], HandPoseError]:
    frames: list[Frame] = []
    try:
        with AzureCamera(**options) as camera:
            for frame in camera:
                frames.append(frame)
    except HandPoseError as error:
        return frames, error
    pytest.fail("the camera ended without an error")


def test_frames_carry_depth_infrared_time_and_geometry(plug_in: MakeCamera) -> None:
    module = plug_in([_capture(7)])
    with open_camera("azure") as camera:
        frame = next(camera)
        assert camera.live
        assert frame.camera == camera.camera
    assert (frame.depth[0, 0], frame.timestamp_us, frame.index) == (7, 7 * 33_333, 0)
    assert frame.ir is not None
    assert frame.ir[0, 0] == 1007
    assert (camera.camera.width, camera.camera.height) == (640, 576)
    assert module.calls[-3:] == RELEASED


def test_settings_reach_the_camera_and_colour_stays_off(plug_in: MakeCamera) -> None:
    module = plug_in()
    AzureCamera(depth_mode="WFOV_UNBINNED", fps=15).close()
    assert module.config is not None
    _, colour, depth_mode, fps, colour_and_depth_only, *_ = module.config
    assert (int(colour), int(depth_mode), int(fps), colour_and_depth_only) == (0, 4, 1, False)


def test_wide_images_have_depth_where_the_lens_model_holds(plug_in: MakeCamera) -> None:
    plug_in([FakeCapture(np.full((512, 512), 900, np.uint16), None, 0)])
    with AzureCamera(depth_mode="WFOV_2X2BINNED", synchronized=False) as camera:
        np.testing.assert_array_equal(next(camera).depth > 0, camera.camera.valid_pixels())


def test_newest_frame_wins_and_late_ones_are_counted(plug_in: MakeCamera) -> None:
    module = plug_in(_capture(k) for k in range(5))
    with AzureCamera() as camera:
        assert module.exhausted.wait(5)
        assert camera.dropped == 4  # before the first is taken: what follows can be counted from here
        frame = next(camera)
        assert (frame.index, frame.depth[0, 0]) == (4, 4)
    assert camera.dropped == 4


def test_images_are_not_copied(plug_in: MakeCamera) -> None:
    capture = _capture(1)
    plug_in([capture])
    with AzureCamera() as camera:
        assert next(camera).depth is capture.depth


def test_captures_without_infrared_are_waited_out_or_taken(plug_in: MakeCamera) -> None:
    script = [_capture(0, ir=False), FakeCapture(None, None), _capture(2)]
    plug_in(script)
    with AzureCamera() as camera:
        assert next(camera).depth[0, 0] == 2
    plug_in(script[:2])
    with AzureCamera(synchronized=False) as camera:
        assert next(camera).ir is None


def test_camera_that_falls_silent_ends_in_one_sentence(plug_in: MakeCamera) -> None:
    module = plug_in([_capture(0)])
    frames, error = _read_until_error(timeout_s=0.1)
    assert len(frames) == 1
    assert "sent no frame for 0.1 s (frames received before: 1): check its USB" in str(error)
    assert error.exit_code == 1
    assert module.calls[-3:] == RELEASED


def test_unplugged_camera_ends_in_one_sentence(plug_in: MakeCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cameras.live._PAUSE_S", 0.001)
    module = plug_in([_capture(0)], after=FAILED, results={"device_stop_cameras": FAILED})
    frames, error = _read_until_error()
    assert len(frames) == 1
    assert "failed 5 times in a row (frames received before: 1)" in str(error)
    assert module.calls[-1] == "device_close"


def test_single_failures_are_survived(plug_in: MakeCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cameras.live._PAUSE_S", 0.001)
    plug_in([FAILED, FAILED, _capture(0), FAILED, TIMED_OUT, FAILED, FAILED, _capture(1)])
    with AzureCamera() as camera:
        while next(camera).index < 1:
            pass


def test_frame_of_another_size_ends_in_one_sentence(plug_in: MakeCamera) -> None:
    plug_in([FakeCapture(np.zeros((10, 10), np.uint16), np.zeros((10, 10), np.uint16))])
    _, error = _read_until_error()
    assert "delivered something unexpected" in str(error)


def test_iteration_ends_after_an_error_and_after_close(plug_in: MakeCamera) -> None:
    plug_in()
    camera = AzureCamera(timeout_s=0.05)
    with pytest.raises(HandPoseError):
        next(camera)
    assert list(camera) == []
    camera.close()
    camera.close()
    assert list(camera) == []


def test_exception_in_the_program_releases_the_camera(plug_in: MakeCamera) -> None:
    module = plug_in([_capture(0)])
    with pytest.raises(ZeroDivisionError), AzureCamera():
        raise ZeroDivisionError
    assert module.calls[-3:] == RELEASED
    assert not [thread for thread in threading.enumerate() if thread.name == "the Azure Kinect"]


def _read_and_press_ctrl_c() -> None:
    main = threading.main_thread().ident
    assert main is not None
    with AzureCamera(timeout_s=20) as camera:
        timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        next(camera)


def test_ctrl_c_while_waiting_releases_the_camera(plug_in: MakeCamera) -> None:
    module = plug_in()
    with pytest.raises(KeyboardInterrupt):
        _read_and_press_ctrl_c()
    assert module.calls[-3:] == RELEASED


def test_no_camera(plug_in: MakeCamera) -> None:
    plug_in(results={"device_open": FAILED}, installed=0)
    with pytest.raises(SourceError, match=r"no Azure Kinect is connected: .*lsusb -d 045e:097c"):
        AzureCamera()


def test_camera_in_use(plug_in: MakeCamera) -> None:
    plug_in(results={"device_open": FAILED})
    with pytest.raises(SourceError, match=r"in use by another program: .*fuser"):
        AzureCamera()


def test_number_of_a_camera_that_is_not_there(plug_in: MakeCamera) -> None:
    plug_in(results={"device_open": FAILED})
    with pytest.raises(SourceError, match="no Azure Kinect number 3: 1 connected"):
        AzureCamera(device=3)


def _usb_device(sysfs: Path, name: str, **fields: str) -> None:
    (sysfs / name).mkdir(parents=True)
    for field, text in fields.items():
        (sysfs / name / field).write_text(text + "\n")


def test_missing_rights(plug_in: MakeCamera, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _usb_device(tmp_path / "sys", "2-1", idVendor="045e", idProduct="097c", busnum="2", devnum="17")
    monkeypatch.setattr(azure, "USB_SYSFS", tmp_path / "sys")
    monkeypatch.setattr(azure, "USB_DEV", tmp_path / "dev")
    plug_in(results={"device_open": FAILED})
    with pytest.raises(SourceError, match=r"no right to open .*002/017\): run `echo .*99-k4a.rules"):
        AzureCamera()


def test_usb_bus_is_searched_for_the_depth_sensor(tmp_path: Path) -> None:
    _usb_device(tmp_path, "1-1", idVendor="045e", idProduct="097d", busnum="1", devnum="3")
    _usb_device(tmp_path, "2-1:1.0")
    _usb_device(tmp_path, "2-1", idVendor="045e", idProduct="097c", busnum="2", devnum="4")
    assert depth_sensor_nodes(tmp_path, Path("/dev/bus/usb")) == [Path("/dev/bus/usb/002/004")]
    assert depth_sensor_nodes(tmp_path / "none", Path("/dev")) == []


@pytest.mark.parametrize(
    ("display", "words"),
    [(None, r"OpenGL display.*xvfb-run -a"), (":0", r"could not start NFOV_UNBINNED at 30")],
)
def test_cameras_that_do_not_start(
    plug_in: MakeCamera, monkeypatch: pytest.MonkeyPatch, display: str | None, words: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    module = plug_in(results={"device_start_cameras": FAILED})
    with pytest.raises(HandPoseError, match=words):
        AzureCamera()
    assert module.calls[-1] == "device_close"


@pytest.mark.parametrize("raw", ["", None, "{}", "garbage"])
def test_calibration_that_cannot_be_read(plug_in: MakeCamera, raw: str | None) -> None:
    module = plug_in(raw_calibration=raw)
    with pytest.raises(HandPoseError, match="calibration cannot be read"):
        AzureCamera()
    assert module.calls == ["device_open", "device_close"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth_mode": "PASSIVE_IR"}, "use one of NFOV_2X2BINNED"),
        ({"fps": 60}, "use 5 or 15 or 30"),
        ({"depth_mode": "WFOV_UNBINNED", "fps": 30}, "use 5 or 15"),
    ],
)
def test_settings_that_do_not_exist(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AzureCamera(**options)


def _fail_import(monkeypatch: pytest.MonkeyPatch, module: str, error: ImportError) -> None:
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == module:
            raise error
        return real(name, *args, **kwargs)

    _forget_pyk4a()
    monkeypatch.setattr(builtins, "__import__", fake)


def test_pyk4a_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_import(monkeypatch, "pyk4a", ModuleNotFoundError("No module named 'pyk4a'", name="pyk4a"))
    with pytest.raises(SourceError, match=r"pyk4a, which is not installed: run `pip install -r"):
        AzureCamera()


def test_sdk_is_not_installed(plug_in: MakeCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in()
    _fail_import(monkeypatch, "k4a_module", ImportError("libk4a.so.1.4: cannot open shared object file"))
    with pytest.raises(
        SourceError, match=r"SDK \(libk4a\) cannot be loaded: run `sudo apt install libk4a1.4"
    ):
        AzureCamera()


def test_pyk4a_was_built_for_numpy_1(plug_in: MakeCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in()
    _fail_import(monkeypatch, "k4a_module", ImportError("numpy.core.multiarray failed to import"))
    with pytest.raises(SourceError, match="needs numpy below 2: run `pip install -r"):
        AzureCamera()


@pytest.mark.vendor
def test_real_pyk4a_without_a_camera_is_one_sentence() -> None:
    """On numpy 2 pyk4a-bundle does not load; below, the SDK finds no camera. Nothing else is printed."""
    if importlib.util.find_spec("k4a_module") is None or depth_sensor_nodes(azure.USB_SYSFS, azure.USB_DEV):
        pytest.skip("pyk4a is not installed, or a camera is connected")
    program = (
        "from pipeline.cameras import open_camera\n"
        "from pipeline.errors import SourceError\n"
        "try:\n    open_camera('azure')\n"
        "except SourceError as error:\n    print(error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    numpy_2 = int(np.__version__.split(".")[0]) >= 2
    assert ("needs numpy below 2" if numpy_2 else "no Azure Kinect is connected") in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""

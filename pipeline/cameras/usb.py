"""The Azure Kinect on the USB bus of a Linux machine, as the kernel shows it."""

from __future__ import annotations

from pathlib import Path

_VENDOR, _DEPTH_SENSOR = "045e", "097c"


def depth_sensor_nodes(sysfs: Path, dev: Path) -> list[Path]:
    """Device files of the depth sensors that are plugged in.

    Args:
        sysfs: folder of the kernel's USB devices, /sys/bus/usb/devices.
        dev: folder of the device files, /dev/bus/usb.
    """
    nodes = []
    for device in sorted(sysfs.glob("*")):
        if (_text(device / "idVendor"), _text(device / "idProduct")) == (_VENDOR, _DEPTH_SENSOR):
            bus, number = _text(device / "busnum"), _text(device / "devnum")
            nodes.append(dev / bus.zfill(3) / number.zfill(3))
    return nodes


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

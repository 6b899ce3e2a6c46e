"""Folders of frames for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CAMERA: dict[str, Any] = {
    "width": 64,
    "height": 48,
    "fx": 60.0,
    "fy": 61.0,
    "cx": 31.5,
    "cy": 23.5,
    "distortion": None,
    "depth_unit_mm": 1,
}


def write_folder(folder: Path, count: int, ir: bool = True, **camera: Any) -> Path:
    """Frames 0 to count - 1; frame k has depth 1000 + k and infrared 2000 + k everywhere."""
    (folder / "depth_image").mkdir(parents=True)
    (folder / "ir_image").mkdir()
    for k in range(count):
        write_image(folder / "depth_image" / f"{k:07d}.png", 1000 + k)
        if ir:
            write_image(folder / "ir_image" / f"{k:07d}.png", 2000 + k)
    (folder / "camera.json").write_text(json.dumps(CAMERA | camera))
    return folder


def write_image(path: Path, value: int) -> None:
    cv2.imwrite(str(path), np.full((CAMERA["height"], CAMERA["width"]), value, np.uint16))

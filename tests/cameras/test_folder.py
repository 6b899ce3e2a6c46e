import json
from operator import length_hint
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras.folder import FolderCamera, _millimetre_table
from pipeline.errors import HandPoseError, SourceError
from tests.cameras.folders import CAMERA, write_folder, write_image


def test_frames_come_in_order_with_depth_infrared_and_time(tmp_path: Path) -> None:
    with FolderCamera(write_folder(tmp_path / "f", count=12)) as source:
        frames = list(source)
    assert [int(frame.depth[0, 0]) for frame in frames] == list(range(1000, 1012))
    assert [int(frame.ir[0, 0]) for frame in frames if frame.ir is not None] == list(range(2000, 2012))
    assert [frame.index for frame in frames] == list(range(12))
    assert frames[3].timestamp_us == 100_000
    assert frames[0].depth.dtype == np.uint16
    assert frames[0].depth.flags.c_contiguous


def test_times_may_be_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=3)
    for text, times in (
        ("0,5000\n\n0000001,71667\n", [5000, 71667, 105000]),
        ("0000001,71667\n0000002,80000", [0, 71667, 80000]),
        ("", [0, 33333, 66666]),
        ("0000000,5000\n00000", [5000, 38333, 71666]),  # cut off
    ):
        (folder / "timestamps.csv").write_text(text)
        assert [frame.timestamp_us for frame in FolderCamera(folder)] == times
    broken_lines = ("0000000", "0000000,soon", "0,1,2", "\u00e9", "0,-1", f"0,{10**30}", f"0,{'9' * 5000}")
    for broken in broken_lines:
        (folder / "timestamps.csv").write_text(f"{broken}\n", encoding="utf-8")
        with pytest.raises(SourceError, match=r"timestamps\.csv cannot be used"):
            FolderCamera(folder)


def test_it_tells_how_many_frames_are_left(tmp_path: Path) -> None:
    with FolderCamera(write_folder(tmp_path / "f", count=3)) as source:
        assert length_hint(source) == 3
        next(source)
        assert length_hint(source) == 2


def test_numbers_sort_as_numbers_and_other_names_are_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=0)
    for name, value in (("10", 10), ("9", 9), ("0000100", 100), ("notes", 1)):
        write_image(folder / "depth_image" / f"{name}.png", value)
    assert [int(frame.depth[0, 0]) for frame in FolderCamera(folder)] == [9, 10, 100]


def test_missing_infrared_images_are_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=3)
    (folder / "ir_image" / "0000001.png").unlink()
    assert [frame.ir is None for frame in FolderCamera(folder)] == [False, True, False]
    depth_only = write_folder(tmp_path / "g", count=2, ir=False)
    (depth_only / "ir_image").rmdir()
    assert [frame.ir for frame in FolderCamera(depth_only)] == [None, None]


def test_camera_keeps_its_distortion_with_missing_terms_zero(tmp_path: Path) -> None:
    with FolderCamera(write_folder(tmp_path / "f", 1, distortion=[0.1, 0.2, 0.3, 0.4, 0.5])) as source:
        assert source.camera.distortion == (0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.0, 0.0)
        assert (source.camera.width, source.camera.height, source.camera.fx) == (64, 48, 60.0)


def test_lens_model_may_end_inside_the_image(tmp_path: Path) -> None:
    with FolderCamera(write_folder(tmp_path / "f", 1, metric_radius=0.3)) as source:
        assert source.camera.metric_radius == 0.3
        np.testing.assert_array_equal(next(source).depth > 0, source.camera.valid_pixels())
    with pytest.raises(SourceError, match="metric_radius must be positive"):
        FolderCamera(write_folder(tmp_path / "g", 1, metric_radius=-1))


@pytest.mark.parametrize(
    ("unit", "stored", "expected"), [(0.1, 12345, 1234), (0.25, 4003, 1001), (2, 40000, 65535)]
)
def test_depth_unit_scales_and_saturates(tmp_path: Path, unit: float, stored: int, expected: int) -> None:
    folder = write_folder(tmp_path / "f", count=0, depth_unit_mm=unit)
    write_image(folder / "depth_image" / "0000000.png", stored)
    frame = next(FolderCamera(folder))
    assert frame.depth.dtype == np.uint16
    assert np.abs(frame.depth.astype(int) - expected).max() <= (0 if unit == 2 else 1)


@settings(max_examples=30)
@given(st.floats(1e-6, 1e6), st.integers(0, 65535))
def test_every_depth_is_nearest_millimetre_or_the_largest(unit: float, stored: int) -> None:
    table = _millimetre_table(unit)
    assert abs(int(table[stored]) - min(stored * unit, 65535)) <= 0.5
    assert table[0] == 0


def test_closed_source_ends(tmp_path: Path) -> None:
    source = FolderCamera(write_folder(tmp_path / "f", count=2))
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_broken_image_in_the_middle_ends_with_the_number_of_frames(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=4)
    image = folder / "depth_image" / "0000002.png"
    image.write_bytes(image.read_bytes()[:-20])
    source = FolderCamera(folder)
    assert [next(source).index for _ in range(2)] == [0, 1]
    with pytest.raises(HandPoseError, match=r"0000002.png is broken.*frames read before: 2") as raised:
        next(source)
    assert raised.value.exit_code == 1
    assert list(source) == []


def _write(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((48, 64), np.uint8), "not a 16-bit gray image"),
        (np.ones((48, 64, 3), np.uint8), "not a 16-bit gray image"),
        (np.ones((48, 64, 3), np.uint16), "not a 16-bit gray image"),
        (np.ones((64, 48), np.uint16), "48x64 px, but camera.json says 64x48"),
    ],
)
@pytest.mark.parametrize("kind", ["depth_image", "ir_image"])
def test_images_of_another_kind_or_size_are_refused(
    tmp_path: Path, kind: str, image: np.ndarray, words: str
) -> None:
    folder = write_folder(tmp_path / "f", count=1)
    _write(folder / kind / "0000000.png", image)
    with pytest.raises(SourceError, match=words):
        FolderCamera(folder)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_files_that_are_no_image_are_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "f", count=1)
    (folder / "depth_image" / "0000000.png").write_bytes(content)
    with pytest.raises(SourceError, match="is not a PNG image"):
        FolderCamera(folder)


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no images named"):
        FolderCamera(write_folder(tmp_path / "f", count=0))


@pytest.mark.parametrize(
    "change",
    [
        {"width": None},
        {"width": 64.5},
        {"width": -1},
        {"fx": "60"},
        {"fx": float("nan")},
        {"fx": 10**400},
        {"fy": 0},
        {"cx": True},
        {"distortion": [0.1]},
        {"width": 10**9},
        {"distortion": ["a"] * 8},
        {"distortion": {}},
        {"depth_unit_mm": 0},
        {"depth_unit_mm": [1]},
    ],
)
def test_wrong_values_in_camera_json_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "f", count=1)
    (folder / "camera.json").write_text(json.dumps(CAMERA | change))
    with pytest.raises(SourceError, match=r"camera.json cannot be used"):
        FolderCamera(folder)


@pytest.mark.parametrize("key", ["width", "height", "fx", "fy", "cx", "cy", "depth_unit_mm"])
def test_missing_keys_in_camera_json_are_named(tmp_path: Path, key: str) -> None:
    folder = write_folder(tmp_path / "f", count=1)
    (folder / "camera.json").write_text(json.dumps({k: v for k, v in CAMERA.items() if k != key}))
    with pytest.raises(SourceError, match=f"it lacks {key}"):
        FolderCamera(folder)


@pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"{", b"\xff\xfe{", b"[" * 100_000])
def test_camera_json_that_is_no_object_is_refused(tmp_path: Path, content: bytes | None) -> None:
    folder = write_folder(tmp_path / "f", count=1)
    (folder / "camera.json").unlink()
    if content is not None:
        (folder / "camera.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"camera.json cannot be used"):
        FolderCamera(folder)

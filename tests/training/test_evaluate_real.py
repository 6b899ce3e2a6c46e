"""Real frames: what people drew is read, matched and drawn over."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.hand import HAND_21, Hand, Handedness
from pipeline.training.evaluate_real import TIPS, RealFrame, _count, _Tally, read_frames, write_pictures


def annotated(folder: Path) -> RealFrame:
    """One frame with a right hand whose little finger nobody saw and whose thumb is doubtful."""
    folder.mkdir()
    cv2.imwrite(str(folder / "frame_0000.png"), np.full((48, 64), 900, np.uint16))
    tips = {name: [10.0 + k, 12.0] for k, name in enumerate(TIPS)} | {"pinky_tip": None}
    hand = {
        "box": [8.0, 8.0, 28.0, 30.0],
        "handedness": "right",
        "tips_uv": tips,
        "tips_doubtful": ["thumb_tip"],
    }
    content = {
        "intrinsics": {"fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5},
        "frames": [{"file": "frame_0000.png", "hands": [hand]}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    (real,) = read_frames(folder)
    return real


def hand(real: RealFrame, tip_shift: float, box_shift: float = 0.0, side: Handedness = "right") -> Hand:
    joints = np.zeros((21, 3), np.float32)
    joints[list(TIPS.values()), :2] = np.nan_to_num(real.hands[0].tips)
    joints[:, 0] += tip_shift
    joints[4, 0] += 100.0  # the doubtful thumb
    box = (real.hands[0].box + box_shift).astype(np.float32)
    return Hand(None, box, 0.9, side, joints, joints, np.ones(21, np.float32), HAND_21.joint_names)


def test_tips_of_found_hands_are_compared(tmp_path: Path) -> None:
    real = annotated(tmp_path / "sr305")
    assert real.frame.camera.fx == 60.0
    assert np.isnan(real.hands[0].tips[4]).all()
    tally = _Tally()
    _count(tally, real, [hand(real, 3.0, 1.0), hand(real, 0.0, 40.0)], [hand(real, 2.0)])
    figures = tally.figures()
    assert (figures["found"], figures["false_hands"], figures["sides_right"]) == (1, 1, 1)
    assert figures["tips_px_sure"] == pytest.approx(3.0)
    assert figures["tips_px"] == pytest.approx((103 + 3 + 3 + 3) / 4)
    assert figures["tips_px_in_drawn_boxes"] == pytest.approx((102 + 2 + 2 + 2) / 4)


def test_nothing_found_gives_no_error_and_no_precision(tmp_path: Path) -> None:
    tally = _Tally()
    _count(tally, annotated(tmp_path / "sr305"), [], [])
    figures = tally.figures()
    assert figures["ap50"] == 0
    assert np.isnan(figures["tips_px"])


def test_folders_without_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no annotated frames"):
        list(read_frames(tmp_path))
    annotated(tmp_path / "sr305")
    (tmp_path / "sr305" / "frame_0000.png").write_bytes(b"cut off")
    with pytest.raises(UsageError, match="16-bit"):
        list(read_frames(tmp_path / "sr305"))


def test_pictures_and_their_sheet_are_written(tmp_path: Path) -> None:
    pictures = [(f"frame_{k}", np.full((48, 64, 3), 40 * k, np.uint8)) for k in range(4)]
    write_pictures(tmp_path / "pictures", pictures, columns=3)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "sheet.png",
        *(f"frame_{k}.png" for k in range(4)),
    }
    whole = cv2.imread(str(tmp_path / "pictures" / "sheet.png"))
    assert whole is not None
    assert whole.shape == (720, 1440, 3)

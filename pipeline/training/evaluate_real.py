"""The whole pipeline on annotated real frames: boxes, finger tips, sides, and pictures of every frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.cameras import open_camera
from pipeline.drawing import Image, draw_label, fixed_point, overlay
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Hand, Handedness
from pipeline.hand_pose import HandPosePipeline
from pipeline.training.contact_sheet import TRUTH, draw_box, sheet
from pipeline.training.metrics import ImageBoxes, match_boxes, precision_recall

SETS = ("sr305", "kinectv1")
TIPS = {"thumb_tip": 4, "index_tip": 8, "middle_tip": 12, "ring_tip": 16, "pinky_tip": 20}
NO_HANDS = Path("azure_kinect") / "recording.mkv"  # beside the folder of the sets


@dataclass(frozen=True, eq=False)
class RealHand:
    """What people drew.

    Args:
        box: (4,) x0 y0 x1 y1 px.
        handedness: the person's hand.
        tips: (5, 2) column, row px from thumb to little finger; NaN where not seen.
        doubtful: (5,) bool: tips good to a few pixels only.
    """

    box: NDArray[np.float64]
    handedness: Handedness
    tips: NDArray[np.float64]
    doubtful: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RealFrame:
    """A frame and its hands."""

    name: str
    frame: Frame
    hands: list[RealHand]


@dataclass
class _Tally:
    """What is counted over the frames of a set."""

    images: list[ImageBoxes] = field(default_factory=list)
    sides_right: int = 0
    found: int = 0
    tip_errors: list[NDArray[np.float64]] = field(default_factory=list)  # (5,) of each found hand
    boxed_errors: list[NDArray[np.float64]] = field(default_factory=list)  # the same in the drawn boxes
    doubtful: list[NDArray[np.bool_]] = field(default_factory=list)
    boxed_doubtful: list[NDArray[np.bool_]] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        hands = sum(len(image.truth) for image in self.images)
        return {
            "frames": len(self.images),
            "hands": hands,
            "found": self.found,
            "false_hands": sum(len(image.boxes) for image in self.images) - self.found,
            "sides_right": self.sides_right,
            "ap50": precision_recall(self.images, 0.5).average_precision,
            "tips_px": _mean(self.tip_errors, self.doubtful, keep_doubtful=True),
            "tips_px_sure": _mean(self.tip_errors, self.doubtful, keep_doubtful=False),
            "tips_px_in_drawn_boxes": _mean(self.boxed_errors, self.boxed_doubtful, keep_doubtful=True),
        }


def evaluate_real(
    folder: str | Path,
    centernet: str | Path | None = None,
    a2j: str | Path | None = None,
    pictures: str | Path | None = None,
    without_hands: str | Path | None = None,
    engine: str = "auto",
) -> dict[str, Any]:
    """Runs the pipeline on every annotated frame.

    Args:
        folder: holds `sr305` and `kinectv1`, each with 16-bit PNGs in mm and `annotations.json`.
        centernet, a2j: checkpoints; None for the shipped ones.
        pictures: folder for a picture of each frame with the prediction (and what people drew in white),
            and for `sheet.png` with all of them; None for no pictures.
        without_hands: a recording in which nothing may be found; None for the one beside the folder, if any.
        engine: one of `pipeline.engines.ENGINES`.

    Returns:
        For each set and for `both`: frames, hands, found (IoU >= 0.5), false_hands, sides_right (of the
        found ones), ap50, and mean errors of the finger tips in px: `tips_px`, `tips_px_sure` without
        doubtful ones, `tips_px_in_drawn_boxes` (every hand, detector and side given). `no_hands`: frames and
        false_hands of the recording.

    Raises:
        UsageError: the folder holds no annotated frames, or there can be no folder of pictures.
    """
    folder = Path(folder)
    if pictures is not None:
        _make_folder(Path(pictures))
    pose = HandPosePipeline(engine, centernet=centernet, a2j=a2j)
    total, drawn = _Tally(), []
    figures: dict[str, Any] = {}
    for name in SETS:
        tally = _Tally()
        for real in read_frames(folder / name):
            hands = pose(real.frame)
            boxes = np.array([hand.box for hand in real.hands]).reshape(-1, 4)
            given = pose.estimate(real.frame, boxes, [hand.handedness for hand in real.hands])
            for each in (tally, total):
                _count(each, real, hands, given)
            drawn.append((real.name, _picture(real, hands, pose)))
        figures[name] = tally.figures()
    figures["both"] = total.figures()
    recording = folder.parent / NO_HANDS if without_hands is None else Path(without_hands)
    if recording.exists():
        figures["no_hands"], more = _count_false(recording, pose)
        drawn += more
    if pictures is not None:
        write_pictures(Path(pictures), drawn)
    return figures


def read_frames(folder: Path) -> Iterable[RealFrame]:
    """The annotated frames of one set, in order.

    Raises:
        UsageError: there are none.
    """
    try:
        content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
        intrinsics = [float(content["intrinsics"][name]) for name in ("fx", "fy", "cx", "cy")]
        entries = [
            (entry["file"], [_real_hand(hand) for hand in entry["hands"]]) for entry in content["frames"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} holds no annotated frames ({type(error).__name__}: {error}); "
            "name a folder with sr305 and kinectv1."
        ) from error
    for index, (name, hands) in enumerate(entries):
        depth = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        if depth is None or depth.ndim != 2 or depth.dtype != np.uint16:
            raise UsageError(f"{folder / name} is no 16-bit depth image; fetch the folder again.")
        fx, fy, cx, cy = intrinsics
        camera = DepthCamera(depth.shape[1], depth.shape[0], fx, fy, cx, cy)
        frame = Frame(depth.astype(np.uint16, copy=False), None, camera, 0, index)
        yield RealFrame(f"{folder.name}_{Path(name).stem}", frame, hands)


def write_pictures(folder: Path, drawn: Sequence[tuple[str, Image]], columns: int = 6) -> None:
    """A file for each picture, and `sheet.png` with all of them."""
    _make_folder(folder)
    for name, picture in drawn:
        _write_picture(folder / f"{name}.png", picture)
    small = [
        np.asarray(cv2.resize(picture, (480, 360), interpolation=cv2.INTER_AREA), np.uint8)
        for _, picture in drawn
    ]
    _write_picture(folder / "sheet.png", sheet(small, columns))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): give another --pictures") from None


def _write_picture(path: Path, picture: Image) -> None:
    if not cv2.imwrite(str(path), picture):
        raise HandPoseError(f"{path} cannot be written: free some space, or give another --pictures")


def _real_hand(entry: dict[str, Any]) -> RealHand:
    points = entry["tips_uv"] or {}
    doubtful = entry.get("tips_doubtful") or []
    return RealHand(
        box=np.array(entry["box"], dtype=np.float64).reshape(4),
        handedness="left" if entry["handedness"] == "left" else "right",
        tips=np.array([points.get(name) or (np.nan, np.nan) for name in TIPS], dtype=np.float64),
        doubtful=np.array([name in doubtful for name in TIPS]),
    )


def _count(tally: _Tally, real: RealFrame, hands: list[Hand], given: list[Hand]) -> None:
    """Adds one frame: what the pipeline found, and what it says in the drawn boxes."""
    boxes = np.array([hand.box for hand in hands]).reshape(-1, 4)
    truth = np.array([hand.box for hand in real.hands]).reshape(-1, 4)
    image = ImageBoxes(boxes, np.array([hand.score for hand in hands]), truth)
    tally.images.append(image)
    for hand, number in zip(hands, match_boxes(image, 0.5), strict=True):
        if number < 0:
            continue
        true = real.hands[number]
        tally.found += 1
        tally.sides_right += hand.handedness == true.handedness
        tally.tip_errors.append(_tip_errors(hand, true))
        tally.doubtful.append(true.doubtful)
    for hand in given:
        true = min(real.hands, key=lambda one: float(np.abs(one.box - hand.box).sum()))
        tally.boxed_errors.append(_tip_errors(hand, true))
        tally.boxed_doubtful.append(true.doubtful)


def _tip_errors(hand: Hand, true: RealHand) -> NDArray[np.float64]:
    """(5,) px, NaN for tips that nobody drew."""
    found = hand.joints_uvd[list(TIPS.values()), :2].astype(np.float64)
    return np.linalg.norm(found - true.tips, axis=1)


def _mean(
    errors: list[NDArray[np.float64]], doubtful: list[NDArray[np.bool_]], *, keep_doubtful: bool
) -> float:
    if not errors:
        return float("nan")
    values, unsure = np.stack(errors), np.stack(doubtful)
    chosen = np.isfinite(values) & (keep_doubtful | ~unsure)
    return float(values[chosen].mean()) if chosen.any() else float("nan")


def _count_false(recording: Path, pose: HandPosePipeline) -> tuple[dict[str, int], list[tuple[str, Image]]]:
    """Frames and found hands of a recording without hands, and its first picture."""
    frames = hands = 0
    drawn: list[tuple[str, Image]] = []
    with open_camera(str(recording)) as source:
        for frame in source:
            found = pose(frame)
            frames, hands = frames + 1, hands + len(found)
            if not drawn:
                drawn.append(("no_hands", overlay(frame, found, pose.skeleton, depth=True)))
    return {"frames": frames, "false_hands": hands}, drawn


def _picture(real: RealFrame, hands: list[Hand], pose: HandPosePipeline) -> Image:
    """The prediction in colours, what people drew in white."""
    image = overlay(real.frame, hands, pose.skeleton, depth=True)
    for hand in real.hands:
        draw_box(image, hand.box, TRUTH)
        for point in fixed_point(hand.tips[np.isfinite(hand.tips).all(axis=1)]).tolist():
            cv2.circle(image, point, 5 << 4, TRUTH, 1, cv2.LINE_AA, 4)
    draw_label(image, f"{real.name}: {len(hands)} of {len(real.hands)}", 4, image.shape[0] - 6)
    return image

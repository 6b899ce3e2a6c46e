"""How good joints and boxes are: errors in millimetres, correct keypoints, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WORST_JOINT_THRESHOLDS_MM = tuple(range(10, 81, 10))
PCK_THRESHOLDS_MM = tuple(range(51))  # the area under the curve is taken over 0 to 50 mm

LEAST_VISIBLE = 0.3  # hands of which less shows need not be found, and cost nothing when they are
FALSE_POSITIVE = -1  # in `match_boxes`: the detection meets no hand
IGNORED = -2  # the detection meets a hand that does not count


# --- Joints --------------------------------------------------------------------------------------------
def joint_errors(predicted: ArrayLike, truth: ArrayLike) -> FloatArray:
    """Euclidean distance of each joint from its truth.

    Args:
        predicted, truth: (N, J, 3) mm.

    Returns:
        (N, J) mm.

    Raises:
        ValueError: arrays of different shapes, or without frames.
    """
    predicted, truth = _pair(predicted, truth)
    return np.linalg.norm(predicted - truth, axis=-1)


def centre(joints: ArrayLike, root: int | None = None) -> FloatArray:
    """(N, J, 3) joints moved so that joint `root`, or their mean if it is None, lies at the origin."""
    joints = np.asarray(joints, dtype=np.float64)
    origin = joints.mean(axis=-2, keepdims=True) if root is None else joints[..., root, None, :]
    return joints - origin


def align_similarity(predicted: ArrayLike, truth: ArrayLike) -> FloatArray:
    """Each predicted hand under the rotation, scale and shift that bring it closest to its truth.

    Least squares without reflections: Umeyama, "Least-squares estimation of transformation parameters
    between two point patterns", PAMI 1991, eq. 40-42.

    Args:
        predicted, truth: (N, J, 3) mm.

    Returns:
        (N, J, 3) mm. A prediction whose joints coincide lands on the mean of the truth.
    """
    predicted, truth = _pair(predicted, truth)
    source, target = centre(predicted), centre(truth)
    u, singular, vt = np.linalg.svd(np.einsum("nji,njk->nik", target, source))
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = np.einsum("nij,nj,njk->nik", u, signs, vt)
    spread = np.square(source).sum(axis=(1, 2))
    scale = np.divide((singular * signs).sum(axis=1), spread, out=np.zeros_like(spread), where=spread > 0)
    aligned = scale[:, None, None] * np.einsum("nik,njk->nji", rotation, source)
    return aligned + truth.mean(axis=1, keepdims=True)


def worst_joint_shares(errors: ArrayLike, thresholds: ArrayLike = WORST_JOINT_THRESHOLDS_MM) -> FloatArray:
    """(T,) share of the frames of (N, J) errors whose worst joint lies within each of T thresholds."""
    worst = np.asarray(errors, dtype=np.float64).max(axis=1)
    return (worst[:, None] <= np.asarray(thresholds)).mean(axis=0)


def pck_curve(errors: ArrayLike, thresholds: ArrayLike = PCK_THRESHOLDS_MM) -> FloatArray:
    """(T,) share of all joints of (N, J) errors within each of T thresholds (percentage of correct
    keypoints, as a fraction)."""
    ordered = np.sort(np.asarray(errors, dtype=np.float64), axis=None)
    return np.searchsorted(ordered, np.asarray(thresholds), side="right") / ordered.size


def area_under_curve(values: ArrayLike, thresholds: ArrayLike) -> float:
    """Area under a curve by the trapezoid rule, as a share of the thresholds' range: 0..1."""
    y, x = np.asarray(values, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def summarize_joints(
    predicted: ArrayLike,
    truth: ArrayLike,
    joint_names: Sequence[str] | None = None,
    root: int | None = None,
) -> dict[str, Any]:
    """Every figure for a set of hands, ready for JSON.

    Args:
        predicted, truth: (N, J, 3) mm.
        joint_names: J names, the keys of the errors per joint; None numbers them.
        root: the joint that "centred" figures are relative to; None takes the mean of the joints.

    Returns:
        `frames`, `joints`; `mean_mm`, `median_mm` of all joints' errors; `centred_mean_mm` after moving the
        root onto its truth; `aligned_mean_mm` after `align_similarity`; `per_joint_mm` (name -> mean);
        `frames_within` (threshold in mm -> share of frames whose worst joint lies within it);
        `pck` (`thresholds_mm`, `share`) and its `auc`.
    """
    predicted, truth = _pair(predicted, truth)
    errors = joint_errors(predicted, truth)
    names = [str(j) for j in range(errors.shape[1])] if joint_names is None else list(joint_names)
    if len(names) != errors.shape[1]:
        raise ValueError(f"{len(names)} joint names for {errors.shape[1]} joints")
    pck = pck_curve(errors)
    shares = worst_joint_shares(errors)
    return {
        "frames": errors.shape[0],
        "joints": errors.shape[1],
        "mean_mm": float(errors.mean()),
        "median_mm": float(np.median(errors)),
        "centred_mean_mm": float(joint_errors(centre(predicted, root), centre(truth, root)).mean()),
        "aligned_mean_mm": float(joint_errors(align_similarity(predicted, truth), truth).mean()),
        "per_joint_mm": dict(zip(names, errors.mean(axis=0).tolist(), strict=True)),
        "frames_within": dict(zip(map(str, WORST_JOINT_THRESHOLDS_MM), shares.tolist(), strict=True)),
        "pck": {"thresholds_mm": list(PCK_THRESHOLDS_MM), "share": pck.tolist()},
        "auc": area_under_curve(pck, PCK_THRESHOLDS_MM),
    }


def _pair(predicted: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, FloatArray]:
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted joints have shape {predicted.shape}, the truth {truth.shape}")
    if predicted.ndim != 3 or predicted.shape[2] != 3 or predicted.size == 0:
        raise ValueError(f"joints must be (N, J, 3) with at least one frame, found {predicted.shape}")
    return predicted, truth


# --- Boxes ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """What was found in one image, and what is there.

    Args:
        boxes: (K, 4) detections, x0 y0 x1 y1 px.
        scores: (K,).
        truth: (M, 4) hands, px.
        classes, truth_classes: (K,), (M,) numbers of the classes (0 left, 1 right), or None.
        ignored: (M,) bool: hands that need not be found, and cost nothing when they are; None for none.
    """

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]
    truth: NDArray[np.floating]
    classes: NDArray[np.integer] | None = None
    truth_classes: NDArray[np.integer] | None = None
    ignored: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall as the score threshold falls.

    Args:
        scores: (D,) falling scores of the detections that count.
        precision, recall: (D,) 0..1 of the detections up to there.
        average_precision: area under the precision envelope, NaN where there is no hand to find.
    """

    scores: FloatArray
    precision: FloatArray
    recall: FloatArray
    average_precision: float


def box_iou(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """(K, M) intersection over union of (K, 4) and (M, 4) boxes x0 y0 x1 y1; 0 for empty boxes."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, dtype=np.float64).reshape(1, -1, 4)
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = overlap.clip(min=0).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2]).clip(min=0).prod(axis=-1) for box in (a, b)]
    union = areas[0] + areas[1] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def match_boxes(image: ImageBoxes, iou_threshold: float = 0.5) -> IntArray:
    """The hand that each detection of an image finds.

    As in COCO's evaluation: detections choose by falling score, each the free hand that it overlaps most,
    if the overlap reaches the threshold. Hands to be ignored are only taken when no other is left, and by
    any number of detections.

    Returns:
        (K,) number of the hand, FALSE_POSITIVE or IGNORED.
    """
    matches = np.full(len(image.boxes), FALSE_POSITIVE, dtype=np.int64)
    if len(image.boxes) == 0 or len(image.truth) == 0:
        return matches
    overlap = box_iou(image.boxes, image.truth)
    overlap[overlap < iou_threshold] = 0
    ignored = _ignored(image)
    free = ~ignored
    for k in np.argsort(-np.asarray(image.scores), kind="stable"):
        candidates = np.where(free, overlap[k], 0)
        best = int(candidates.argmax())
        if candidates[best] > 0:
            matches[k] = best
            free[best] = False
        elif overlap[k, ignored].any():
            matches[k] = IGNORED
    return matches


def precision_recall(images: Sequence[ImageBoxes], iou_threshold: float = 0.5) -> PrecisionRecall:
    """Precision, recall and average precision over images, of all classes together.

    The average precision is the exact area under the precision envelope (all points, as in PASCAL VOC since
    2010; COCO samples the same curve at 101 recalls).
    """
    hands = int(sum((~_ignored(image)).sum() for image in images))
    matches = np.concatenate(
        [np.zeros(0, np.int64), *(match_boxes(image, iou_threshold) for image in images)]
    )
    scores = np.concatenate([np.zeros(0), *(image.scores for image in images)])
    counted = matches != IGNORED
    order = np.argsort(-scores[counted], kind="stable")
    scores, correct = scores[counted][order], (matches[counted] >= 0)[order]
    found = correct.cumsum()
    precision = found / np.arange(1, found.size + 1)
    recall = found / hands if hands else np.full(found.shape, np.nan)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    average = float(envelope[correct].sum() / hands) if hands else float("nan")
    return PrecisionRecall(scores, precision, recall, average)


def handedness_accuracy(images: Sequence[ImageBoxes], iou_threshold: float = 0.5) -> float:
    """Share of the found hands whose side is right; NaN where none was found or no classes are known."""
    right = []
    for image in images:
        if image.classes is None or image.truth_classes is None:
            continue
        matches = match_boxes(image, iou_threshold)
        found = matches >= 0
        right.append(np.asarray(image.classes)[found] == np.asarray(image.truth_classes)[matches[found]])
    outcome = np.concatenate(right) if right else np.zeros(0)
    return float(outcome.mean()) if outcome.size else float("nan")


def summarize_boxes(images: Sequence[ImageBoxes]) -> dict[str, Any]:
    """Every figure for a detector: `images`, `hands`, `ap50`, `ap75`, `handedness_accuracy` and, at IoU
    0.5, the curve `precision_recall` (`score`, `precision`, `recall`)."""
    at_half = precision_recall(images, 0.5)
    return {
        "images": len(images),
        "hands": int(sum((~_ignored(image)).sum() for image in images)),
        "ap50": at_half.average_precision,
        "ap75": precision_recall(images, 0.75).average_precision,
        "handedness_accuracy": handedness_accuracy(images),
        "precision_recall": {
            "score": at_half.scores.tolist(),
            "precision": at_half.precision.tolist(),
            "recall": at_half.recall.tolist(),
        },
    }


def _ignored(image: ImageBoxes) -> NDArray[np.bool_]:
    if image.ignored is None:
        return np.zeros(len(image.truth), dtype=bool)
    return np.asarray(image.ignored, dtype=bool)

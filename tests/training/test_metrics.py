"""Metrics against SciPy, torchvision, literal loops and cases small enough for the head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation
from torchvision.ops import box_iou as torchvision_iou

from pipeline.training import metrics
from pipeline.training.metrics import FALSE_POSITIVE, IGNORED, ImageBoxes

seeds = st.integers(0, 2**32 - 1)


def hands(seed: int, frames: int = 7, joints: int = 21) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 60, (frames, joints, 3)) + np.array([0, 0, 700])
    return truth + rng.normal(0, 15, truth.shape), truth


def random_image(seed: int) -> ImageBoxes:
    rng = np.random.default_rng(seed)
    count, found = int(rng.integers(0, 5)), int(rng.integers(0, 7))
    truth = _boxes(rng, count)
    boxes = np.concatenate([truth + rng.normal(0, 6, truth.shape), _boxes(rng, 6)])[:found]
    classes, truth_classes = rng.integers(0, 2, len(boxes)), rng.integers(0, 2, count)
    return ImageBoxes(boxes, rng.random(len(boxes)), truth, classes, truth_classes, rng.random(count) < 0.3)


def _boxes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    corner = rng.uniform(0, 200, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(20, 80, (count, 2))], axis=1)


def test_errors_equal_a_literal_loop() -> None:
    predicted, truth = hands(0)
    errors = metrics.joint_errors(predicted, truth)
    for n in range(7):
        for j in range(21):
            assert errors[n, j] == pytest.approx(math.dist(predicted[n, j], truth[n, j]))


def test_wrong_shapes_are_refused_with_both_shapes_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 3\).*\(2, 4, 3\)"):
        metrics.joint_errors(np.zeros((2, 3, 3)), np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="at least one frame"):
        metrics.joint_errors(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))


@settings(max_examples=25)
@given(seeds)
def test_alignment_agrees_with_scipy_procrustes(seed: int) -> None:
    # SciPy's disparity is the squared residual over the target's spread, and allows reflections; noisy
    # copies of one hand never want one.
    predicted, truth = hands(seed, frames=2)
    aligned = metrics.align_similarity(predicted, truth)
    for n in range(2):
        disparity = procrustes(truth[n], predicted[n])[2]
        spread = np.square(truth[n] - truth[n].mean(0)).sum()
        assert np.square(aligned[n] - truth[n]).sum() / spread == pytest.approx(disparity, rel=1e-9)


@settings(max_examples=25)
@given(seeds)
def test_alignment_undoes_any_similarity_but_no_reflection(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = hands(seed, frames=3)[1]
    rotation = Rotation.random(random_state=seed % 1000).as_matrix()
    moved = rng.uniform(0.5, 2) * truth @ rotation.T + rng.normal(0, 100, 3)
    np.testing.assert_allclose(metrics.align_similarity(moved, truth), truth, atol=1e-6)
    mirrored = metrics.align_similarity(moved * (-1, 1, 1), truth)
    assert metrics.joint_errors(mirrored, truth).mean() > 5


@settings(max_examples=25)
@given(seeds)
def test_alignment_of_a_mirrored_hand_is_the_best_without_reflection(seed: int) -> None:
    predicted, truth = hands(seed, frames=1)
    predicted *= (-1, 1, 1)
    source, target = (points[0] - points[0].mean(axis=0) for points in (predicted, truth))
    turned = Rotation.align_vectors(target, source)[0].apply(source)
    scale = (turned * target).sum() / np.square(turned).sum()
    aligned = metrics.align_similarity(predicted, truth)[0]
    np.testing.assert_allclose(aligned, scale * turned + truth[0].mean(axis=0), atol=1e-6)


def test_alignment_of_coinciding_joints_is_the_mean_of_the_truth() -> None:
    truth = hands(3)[1]
    aligned = metrics.align_similarity(np.ones_like(truth), truth)
    np.testing.assert_allclose(aligned, np.broadcast_to(truth.mean(1, keepdims=True), truth.shape))


def test_centring_forgives_a_shift_and_nothing_else() -> None:
    truth = hands(4)[1]
    shifted = truth + np.array([30.0, -40.0, 0.0])
    for root in (None, 0, 9):
        np.testing.assert_allclose(metrics.centre(shifted, root), metrics.centre(truth, root), atol=1e-9)
    assert metrics.centre(truth, 9)[:, 9].any() == 0
    np.testing.assert_allclose(metrics.centre(truth).mean(axis=1), 0, atol=1e-9)


def test_shares_and_curve_by_hand() -> None:
    errors = [[5.0, 12.0], [10.0, 10.0], [35.0, 90.0]]
    np.testing.assert_allclose(metrics.worst_joint_shares(errors, [10, 20, 80, 90]), [1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(metrics.pck_curve(errors, [0, 5, 10, 40]), [0, 1 / 6, 3 / 6, 5 / 6])
    # trapezoids of a curve that rises to 1 in the middle of its range
    assert metrics.area_under_curve([0, 1, 1], [0, 25, 50]) == pytest.approx(0.75)
    assert metrics.area_under_curve([0, 1, 1], [20, 30, 40]) == pytest.approx(0.75)


def test_summary_of_joints() -> None:
    truth = hands(5)[1]
    shift = np.zeros(3)
    shift[0] = 8.5
    figures = metrics.summarize_joints(truth + shift, truth, joint_names=[f"j{j}" for j in range(21)], root=0)
    assert figures["mean_mm"] == pytest.approx(8.5)
    assert figures["median_mm"] == pytest.approx(8.5)
    assert figures["centred_mean_mm"] == pytest.approx(0, abs=1e-9)
    assert figures["aligned_mean_mm"] == pytest.approx(0, abs=1e-6)
    assert figures["per_joint_mm"]["j20"] == pytest.approx(8.5)
    assert figures["frames_within"]["10"] == 1
    assert figures["auc"] == pytest.approx(41.5 / 50)  # half a trapezoid between 8 and 9 mm, then 1
    with pytest.raises(ValueError, match="2 joint names for 21 joints"):
        metrics.summarize_joints(truth, truth, joint_names=["a", "b"])


def test_centred_errors_are_relative_to_the_root() -> None:
    truth = hands(6)[1]
    predicted = truth.copy()
    predicted[:, 9] += np.array([0.0, 8.0, 0.0])
    for root, moved in ((9, 20 * 8), (0, 8), (None, 20 * 8 / 21 + 20 / 21 * 8)):
        figures = metrics.summarize_joints(predicted, truth, root=root)
        assert figures["centred_mean_mm"] == pytest.approx(moved / 21)


@settings(max_examples=25)
@given(seeds)
def test_iou_agrees_with_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = _boxes(rng, int(rng.integers(0, 5))), _boxes(rng, int(rng.integers(1, 5)))
    expected = torchvision_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(metrics.box_iou(a, b), expected, atol=1e-12)


def test_iou_of_empty_or_inside_out_boxes_is_zero() -> None:
    boxes = [[0, 0, 0, 0], [10, 10, 5, 5], [0, 0, 10, 10]]
    np.testing.assert_allclose(metrics.box_iou(boxes, boxes), np.diag([0, 0, 1]))


def test_each_hand_is_found_once_and_ignored_hands_cost_nothing() -> None:
    truth = np.array([[0, 0, 100, 100], [300, 0, 400, 100.0]])
    boxes = np.array(
        [[0, 0, 100, 95], [0, 0, 100, 100], [300, 0, 400, 99], [301, 0, 400, 99], [0, 300, 9, 309]]
    )
    image = ImageBoxes(boxes, np.array([0.9, 0.8, 0.7, 0.6, 0.5]), truth, ignored=np.array([False, True]))
    matches = metrics.match_boxes(image)
    np.testing.assert_array_equal(matches, [0, FALSE_POSITIVE, IGNORED, IGNORED, FALSE_POSITIVE])


def test_the_surest_detection_chooses_first() -> None:
    truth = np.array([[0, 0, 100, 100.0]])
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 80.0]])
    matches = metrics.match_boxes(ImageBoxes(boxes, np.array([0.4, 0.6]), truth))
    np.testing.assert_array_equal(matches, [FALSE_POSITIVE, 0])


def test_average_precision_by_hand() -> None:
    # Right, wrong, right of three hands: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    truth = np.array([[0, 0, 10, 10], [50, 0, 60, 10], [100, 0, 110, 10.0]])
    boxes = np.array([[0, 0, 10, 10], [0, 50, 10, 60], [50, 0, 60, 10.0]])
    curve = metrics.precision_recall([ImageBoxes(boxes, np.array([0.9, 0.8, 0.7]), truth)])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3])
    assert curve.average_precision == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)


@settings(max_examples=30)
@given(st.lists(seeds, min_size=1, max_size=6), st.sampled_from([0.5, 0.75]))
def test_average_precision_agrees_with_a_literal_integration(
    image_seeds: list[int], threshold: float
) -> None:
    images = [random_image(seed) for seed in image_seeds]
    outcomes, hands_there = [], 0
    for image in images:
        assert image.ignored is not None
        hands_there += sum(not skip for skip in image.ignored)
        taken: set[int] = set()
        for k in sorted(range(len(image.boxes)), key=lambda k: -image.scores[k]):
            pairs = [
                (_literal_iou(image.boxes[k], image.truth[m]), m, image.ignored[m])
                for m in range(len(image.truth))
            ]
            free = [p for p in pairs if p[0] >= threshold and not p[2] and p[1] not in taken]
            if free:
                taken.add(max(free)[1])
                outcomes.append((image.scores[k], True))
            elif not any(iou >= threshold and skip for iou, _, skip in pairs):
                outcomes.append((image.scores[k], False))
    average = metrics.precision_recall(images, threshold).average_precision
    if hands_there == 0:
        assert math.isnan(average)
        return
    outcomes.sort(key=lambda outcome: -outcome[0])
    points = [
        (sum(ok for _, ok in outcomes[:n]) / hands_there, sum(ok for _, ok in outcomes[:n]) / n)
        for n in range(1, len(outcomes) + 1)
    ]
    area, before = 0.0, 0.0
    for recall, _ in points:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    assert average == pytest.approx(area)


def _literal_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def test_handedness_counts_found_hands_only() -> None:
    truth = np.array([[0, 0, 10, 10], [50, 0, 60, 10.0]])
    boxes = np.array([[0, 0, 10, 10], [50, 0, 60, 10], [200, 0, 210, 10.0]])
    image = ImageBoxes(boxes, np.array([0.9, 0.8, 0.7]), truth, np.array([0, 0, 1]), np.array([0, 1]))
    assert metrics.handedness_accuracy([image]) == 0.5
    crossed = ImageBoxes(boxes[[1, 0]], np.ones(2), truth, np.array([1, 0]), np.array([0, 1]))
    assert metrics.handedness_accuracy([crossed]) == 1
    assert math.isnan(metrics.handedness_accuracy([ImageBoxes(boxes, np.ones(3), truth)]))


def test_summary_of_boxes_tells_loose_ones_from_tight_ones() -> None:
    truth = np.array([[0, 0, 100, 100.0]])
    loose, tight = (ImageBoxes(truth * (1, 1, 1, share), np.ones(1), truth) for share in (0.6, 0.8))
    figures = metrics.summarize_boxes([loose, tight])
    assert (figures["ap50"], figures["ap75"]) == (1.0, pytest.approx(0.25))


def test_summary_of_boxes_with_nothing_found_and_nothing_there() -> None:
    empty, one = np.zeros((0, 4)), np.array([[0, 0, 10, 10.0]])
    blind = metrics.summarize_boxes([ImageBoxes(empty, np.zeros(0), one)])
    assert (blind["ap50"], blind["ap75"], blind["hands"], blind["images"]) == (0, 0, 1, 1)
    assert math.isnan(metrics.summarize_boxes([])["ap50"])
    assert math.isnan(metrics.summarize_boxes([ImageBoxes(one, np.ones(1), empty)])["ap50"])

"""Heat maps, sizes and offsets say what the decoder reads."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.centernet import decode_detections
from pipeline.networks.contracts import DetectorInput
from pipeline.training.detector_targets import BoxBatch, detector_targets, gaussian_radius
from pipeline.training.metrics import box_iou

OURS = DetectorInput(size_scale=10.0, offset_scale=2.0, classes=("left", "right"))
sides = st.floats(1.0, 300.0)


def worst_iou(height: float, width: float, radius: float) -> float:
    """Of boxes whose two corners each moved by at most the radius in each coordinate."""
    moves = np.array(np.meshgrid(*[[-radius, radius]] * 4)).reshape(4, -1).T
    return float(box_iou([[0, 0, width, height]], np.array([0, 0, width, height]) + moves).min())


@settings(max_examples=60)
@given(sides, sides, st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_radius_is_the_largest_that_keeps_the_overlap(height: float, width: float, overlap: float) -> None:
    tensors = torch.tensor([height, width], dtype=torch.float64)
    radius = float(gaussian_radius(tensors[0], tensors[1], overlap))
    assert radius > 0
    assert worst_iou(height, width, radius) >= overlap - 1e-9
    assert worst_iou(height, width, radius * 1.01) < overlap


def test_the_decoder_gives_the_boxes_back() -> None:
    boxes = torch.tensor([[[30.0, 41.5, 63.0, 80.0], [100.2, 20.0, 120.0, 50.9], [0.0, 90.0, 22.0, 128.0]]])
    labels = BoxBatch(boxes, torch.tensor([[0, 1, 1]]), torch.ones(1, 3, dtype=torch.int64))
    targets = detector_targets(labels, OURS, 128)
    output = torch.cat([targets.heat, targets.boxes], dim=1)[0].numpy()
    found, scores, classes = decode_detections(output, OURS)
    order = np.argsort(found[:, 0])
    np.testing.assert_allclose(found[order], boxes[0].numpy()[[2, 0, 1]], atol=1e-4)
    np.testing.assert_array_equal(classes[order], [1, 0, 1])
    np.testing.assert_array_equal(scores, 1.0)


def test_a_peak_one_cell_off_still_gives_the_box() -> None:
    box = torch.tensor([[[40.0, 44.0, 70.0, 82.0]]])
    one = torch.ones(1, 1, dtype=torch.int64)
    targets = detector_targets(BoxBatch(box, 0 * one, one), OURS, 128)
    row, column = 31, 27  # the centre's cell
    assert targets.heat[0, 0, row, column] == 1
    for dy, dx in ((0, 1), (1, 0), (-1, 0), (0, -1)):
        assert targets.box_weight[0, 0, row + dy, column + dx] > 0.3
        height, width, y, x = targets.boxes[0, :, row + dy, column + dx]
        assert (float(height), float(width)) == pytest.approx((3.8, 3.0))
        assert 2 * (row + dy + float(y)) == pytest.approx(63)
        assert 2 * (column + dx + float(x)) == pytest.approx(55)


def test_ignored_boxes_cost_nothing_but_do_not_hide_others() -> None:
    boxes = torch.tensor([[[10.0, 10.0, 50.0, 50.0], [26.0, 26.0, 36.0, 36.0]]])
    labels = BoxBatch(boxes, torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[-1, 1]]))
    targets = detector_targets(labels, OURS, 64)
    assert targets.heat_weight[0, 0, 15, 15] == 1  # the centre of the hand inside
    assert targets.heat_weight[0, 0, 8, 8] == 0
    assert targets.heat_weight[0, 0, 30, 30] == 1
    assert int(targets.num_boxes) == 1


def test_images_without_hands_ask_for_nothing() -> None:
    none = BoxBatch(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0))
    padded = BoxBatch(
        torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)
    )
    for labels in (none, padded):
        targets = detector_targets(labels, OURS, 64)
        assert targets.heat.shape == (2, 2, 32, 32)
        assert not targets.heat.any()
        assert not targets.box_weight.any()
        assert targets.heat_weight.all()

"""The originals' losses agree with literal versions of their formulas, weights included."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.networks.a2j import AggregatedJoints
from pipeline.networks.contracts import DetectorInput
from pipeline.training.detector_targets import BoxBatch, DetectorTargets, detector_targets
from pipeline.training.original_losses import HeatLoss, a2j_loss, centernet_loss, file_stem, transfer

SIDES = DetectorInput(size_scale=10.0, offset_scale=4.0, classes=("left", "right"))


def smooth(error: float, reach: float) -> float:
    """Quadratic up to `reach`, then linear (Xiong et al. 2019, equation 5)."""
    return 0.5 * error * error / reach if abs(error) < reach else abs(error) - 0.5 * reach


def joints_case() -> tuple[AggregatedJoints, Tensor]:
    torch.manual_seed(0)
    positions, anchors, target = 4 * torch.randn(2, 5, 3), 3 * torch.randn(2, 5, 2), torch.randn(2, 5, 3)
    return AggregatedJoints(positions, anchors, torch.ones(2, 5)), target


def test_a2j_loss_is_the_authors_sum() -> None:
    joints, target = joints_case()
    place, depth, anchors = [], [], []
    for n in range(2):
        for j in range(5):
            for k in range(2):
                place.append(smooth(float(joints.positions[n, j, k] - target[n, j, k]), 1.0))
                anchors.append(smooth(float(joints.anchors_only[n, j, k] - target[n, j, k]), 1.0))
            depth.append(smooth(float(joints.positions[n, j, 2] - target[n, j, 2]), 3.0))
    main = 0.5 * np.mean(place) + np.mean(depth)
    found = a2j_loss(joints, target)
    assert float(found["joints"]) == pytest.approx(main, rel=1e-5)
    assert float(found["anchors"]) == pytest.approx(np.mean(anchors), rel=1e-5)
    assert float(found["total"]) == pytest.approx(3 * main + np.mean(anchors), rel=1e-5)


@pytest.mark.parametrize(
    ("column", "error", "expected"),
    [(0, 2.0, 0.5 * 1.5 / 2), (1, 0.5, 0.5 * 0.125 / 2), (2, 2.0, 2.0**2 / 6), (2, 5.0, 5.0 - 1.5)],
)
def test_one_wrong_coordinate_of_one_joint(column: int, error: float, expected: float) -> None:
    """A mean over rows and columns, half the weight; depths are quadratic up to 3."""
    target = torch.zeros(1, 1, 3)
    positions = target.clone()
    positions[..., column] = error
    found = a2j_loss(AggregatedJoints(positions, target[..., :2], torch.ones(1, 1)), target)
    assert float(found["joints"]) == pytest.approx(expected)
    assert float(found["total"]) == pytest.approx(3 * expected)


def detector_case() -> tuple[Tensor, DetectorTargets]:
    torch.manual_seed(1)
    boxes = torch.tensor([[[4.0, 6.0, 21.0, 19.0], [20.0, 14.0, 31.0, 30.0], [0.0, 20.0, 9.0, 31.0]]])
    labels = BoxBatch(boxes, torch.tensor([[0, 1, 1]]), torch.tensor([[1, 1, -1]]))
    output = 0.1 + 0.8 * torch.rand(1, 6, 16, 16)
    return output, detector_targets(labels, SIDES, 32)


@pytest.mark.parametrize("kind", ["Logistic", "MSE"])
def test_centernet_loss_is_the_authors_sum(kind: HeatLoss) -> None:
    output, targets = detector_case()
    heat = size = offset = 0.0
    for y in range(16):
        for x in range(16):
            for c in range(2):
                p, t = float(output[0, c, y, x]), float(targets.heat[0, c, y, x])
                weight = float(targets.heat_weight[0, 0, y, x])
                if kind == "MSE":
                    heat += weight * (p - t) ** 2
                elif t == 1:
                    heat -= weight * (1 - p) ** 2 * math.log(p)
                else:
                    heat -= weight * (1 - t) ** 4 * p**2 * math.log(1 - p)
    for x0, y0, x1, y1 in ((4, 6, 21, 19), (20, 14, 31, 30)):  # the third is ignored
        middle = ((y0 + y1) / 4, (x0 + x1) / 4)  # cells of 2 px
        row, column = (int(value) for value in middle)
        height, width, dy, dx = (float(value) for value in output[0, 2:, row, column])
        size += abs(10 * height - (y1 - y0)) + abs(10 * width - (x1 - x0))
        offset += abs(2 * dy - (middle[0] - row)) + abs(2 * dx - (middle[1] - column))
    found = centernet_loss(output, targets, SIDES, kind, targets.num_boxes)
    assert float(found["heat"]) == pytest.approx(heat / 2, rel=1e-4)
    assert float(found["size"]) == pytest.approx(size / 2, rel=1e-4)
    assert float(found["offset"]) == pytest.approx(offset / 2, rel=1e-4)
    assert float(found["total"]) == pytest.approx((10 * heat + 0.1 * size + offset) / 2, rel=1e-4)


@pytest.mark.parametrize("kind", ["Logistic", "MSE"])
def test_the_right_answer_costs_next_to_nothing(kind: HeatLoss) -> None:
    _, targets = detector_case()
    sharp = (targets.heat == 1).float()
    heat = targets.heat if kind == "MSE" else sharp
    exact = centernet_loss(torch.cat([heat, targets.boxes], 1), targets, SIDES, kind, targets.num_boxes)
    assert float(exact["total"]) == pytest.approx(0, abs=1e-3)


def test_files_are_named_as_the_original_names_them() -> None:
    assert file_stem("MSE", DetectorInput(channels="depth")) == "MSE_ResnetCenterNet_depth"
    assert file_stem("Logistic", DetectorInput()) == "Logistic_ResnetCenterNet_fused"


def test_weights_that_fit_are_taken_over_and_the_others_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = {
        "0.weight": torch.full((4, 3), 7.0),
        "0.bias": torch.full((4,), 8.0),
        "1.weight": torch.full((5, 4), 9.0),  # of another shape
        "1.bias": torch.full((1, 2), 9.0),  # would be broadcast
        "2.weight": torch.full((2, 4), 9.0),  # of no module
    }
    transfer(model, weights)
    after = model.state_dict()
    assert torch.equal(after["0.weight"], weights["0.weight"])
    assert torch.equal(after["0.bias"], weights["0.bias"])
    for name in ("1.weight", "1.bias"):
        assert torch.equal(after[name], before[name])

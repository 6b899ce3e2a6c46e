from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.networks.centernet import CenterNet, decode_detections
from pipeline.networks.contracts import DetectorInput
from tests.networks import literal


@pytest.mark.parametrize(("classes", "plain_head"), [(1, False), (2, True)])
def test_output_equals_the_published_network(classes: int, plain_head: bool) -> None:
    torch.manual_seed(0)
    network = literal.shaken(CenterNet(classes, plain_head=plain_head))
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        found, wanted = network(x), literal.centernet(network.state_dict(), x, classes, plain_head)
    assert found.shape == (2, classes + 4, 48, 48)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_published_network_has_the_original_names() -> None:
    with torch.device("meta"):
        names = set(CenterNet().state_dict())
    assert {"model.conv1.weight", "model.layer4.1.bn2.running_var", "model.fc.bias"} <= names
    for k in "1234":
        assert {f"up_sample{k}.layers.0.weight", f"up_sample{k}.layers.1.running_mean"} <= names


def test_own_network_starts_quiet() -> None:
    torch.manual_seed(0)
    network = CenterNet(2, width=0.25, plain_head=True)
    assert network.contract.classes == ("left", "right")
    with torch.no_grad():
        assert network(torch.randn(2, 3, 64, 64))[:, :2].max() < 0.05


def test_refuses_a_contract_of_other_classes() -> None:
    with pytest.raises(ValueError, match="2 heat maps"):
        CenterNet(2, contract=DetectorInput())


def literal_decode(
    output: NDArray[np.float32], contract: DetectorInput, threshold: float, iou_limit: float
) -> list[tuple[list[float], float, int]]:
    """Cell by cell, pair by pair."""
    classes = len(contract.classes)
    _, height, width = output.shape
    reach = contract.peak_window // 2
    best = np.zeros((height, width), np.float32)
    for i in range(height):
        for j in range(width):
            column = output[:classes, i, j]
            if not np.isnan(column).any() and column.max() <= 1:
                best[i, j] = column.max()
    peaks = []
    for i in range(height):
        for j in range(width):
            window = best[max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1]
            if best[i, j] == window.max() and best[i, j] > threshold:
                peaks.append((i, j))
    peaks = sorted(peaks, key=lambda place: -best[place])[:100]
    kept: list[tuple[list[float], float, int]] = []
    for i, j in peaks:
        h, w, dy, dx = (float(value) for value in output[classes:, i, j])
        y, x = 2 * i + dy * contract.offset_scale, 2 * j + dx * contract.offset_scale
        h, w = h * contract.size_scale, w * contract.size_scale
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if np.isfinite(box).all() and w > 0 and h > 0 and all(iou(box, k[0]) <= iou_limit for k in kept):
            kept.append((box, float(best[i, j]), int(np.argmax(output[:classes, i, j]))))
    return kept


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    levels=st.sampled_from([1, 2, 5, 1000]),
    broken=st.sampled_from([0.0, 0.05]),
    scales=st.sampled_from([(1.0, 1.0), (2.0, 4.0)]),
    window=st.sampled_from([1, 3, 11]),
)
def test_decoding_equals_the_slow_version(
    seed: int,
    shape: tuple[int, int, int],
    levels: int,
    broken: float,
    scales: tuple[float, float],
    window: int,
) -> None:
    rng = np.random.default_rng(seed)
    classes, height, width = shape
    scores = rng.integers(0, levels + 1, shape) / levels  # few levels: many ties
    sizes = rng.uniform(-1, 12, (2, height, width)).round(1)
    offsets = rng.uniform(-0.5, 1.5, (2, height, width)).round(2)
    output = np.concatenate([scores, sizes, offsets]).astype(np.float32)
    output[rng.random(output.shape) < broken] = np.nan
    output[rng.random(output.shape) < broken] = np.inf
    contract = DetectorInput(
        size_scale=scales[1], offset_scale=scales[0], classes=(None,) * classes, peak_window=window
    )
    # An irrational limit: no pair of rounded boxes lies on it.
    wanted = literal_decode(output, contract, 0.3, np.pi / 10)
    boxes, found_scores, found_classes = decode_detections(output, contract, 0.3, np.pi / 10)
    assert boxes.shape == (len(wanted), 4)
    assert boxes.dtype == found_scores.dtype == np.float32
    np.testing.assert_allclose(boxes, np.array([box for box, _, _ in wanted]).reshape(-1, 4), atol=1e-4)
    np.testing.assert_allclose(found_scores, [score for _, score, _ in wanted])
    assert found_classes.tolist() == [number for _, _, number in wanted]


def scene(*hands: tuple[int, int, int, float, float], classes: int = 2) -> NDArray[np.float32]:
    """Output with (class, row, column, score, side) peaks on a grid of 160 x 160 cells."""
    output = np.zeros((classes + 4, 160, 160), np.float32)
    for number, row, column, score, side in hands:
        output[number, row, column] = score
        output[classes:, row, column] = side, side / 2, 0.5, 0.25
    return output


def test_box_of_a_peak_in_both_units_of_offset() -> None:
    hand = scene((1, 40, 70, 0.9, 30.0))
    ours = DetectorInput(offset_scale=2.0, classes=("left", "right"))
    boxes, scores, classes = decode_detections(hand, ours)
    np.testing.assert_allclose(boxes, [[140.5 - 7.5, 81 - 15, 140.5 + 7.5, 81 + 15]])
    np.testing.assert_allclose(scores, [0.9], rtol=1e-6)
    assert classes.tolist() == [1]
    published = DetectorInput(classes=(None, None))
    boxes, _, _ = decode_detections(hand, published)
    np.testing.assert_allclose(boxes, [[140.25 - 7.5, 80.5 - 15, 140.25 + 7.5, 80.5 + 15]])


def test_better_score_wins_over_the_other_class_and_comes_first() -> None:
    contract = DetectorInput(classes=("left", "right"))
    hands = scene((0, 40, 40, 0.5, 60.0), (1, 48, 40, 0.8, 60.0), (0, 100, 100, 0.9, 60.0))
    _, scores, classes = decode_detections(hands, contract)
    np.testing.assert_allclose(scores, [0.9, 0.8], rtol=1e-6)
    assert classes.tolist() == [0, 1]
    assert all(a >= b for a, b in pairwise(scores))


@pytest.mark.parametrize("fill", [0.0, 0.3, np.nan, np.inf, -np.inf, 2.0])
def test_nothing_is_found_in_nothing(fill: float) -> None:
    output = np.full((5, 160, 160), fill, np.float32)
    boxes, scores, classes = decode_detections(output, DetectorInput())
    assert boxes.shape == (0, 4)
    assert scores.shape == classes.shape == (0,)


def test_a_flat_map_of_certain_hands_is_bounded() -> None:
    output = np.ones((5, 160, 160), np.float32)
    boxes, _, _ = decode_detections(output, DetectorInput())
    assert 0 < len(boxes) <= 100

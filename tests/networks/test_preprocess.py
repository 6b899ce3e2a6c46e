"""CenterNet's input is the same at run time and in training, and as the design says."""

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.networks.contracts import DetectorInput
from pipeline.networks.preprocess import detector_batch, detector_input, image_statistics, measured_input

OURS = DetectorInput(depth_max_mm=4000.0, ir_max=3000.0, ir_sqrt=True, classes=("left", "right"))
PUBLISHED = DetectorInput()


def frame(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    depth = rng.integers(0, 9000, (576, 640)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.3] = 0
    return depth, rng.integers(0, 65536, (576, 640)).astype(np.uint16)


def slow_channel(image: np.ndarray, size: int, largest: float | None, root: bool) -> np.ndarray:
    values = cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.float64)
    values = values if largest is None else np.minimum(values, largest)
    values = np.sqrt(values) if root else values
    return (values - values.mean()) / (values.std() or 1.0)


@pytest.mark.parametrize("contract", [OURS, PUBLISHED])
def test_each_image_is_clipped_and_normalised_by_itself(contract: DetectorInput) -> None:
    depth, ir = frame()
    near = slow_channel(depth, 320, contract.depth_max_mm, False)
    bright = slow_channel(ir, 320, contract.ir_max, contract.ir_sqrt)
    expected = np.stack([near, bright, (near + bright) / 2])
    np.testing.assert_allclose(detector_input(depth, ir, contract), expected, atol=2e-5)


@given(
    height=st.integers(1, 1100),
    width=st.integers(1, 1100),
    size=st.sampled_from([32, 64, 320]),
    seed=st.integers(),
)
@example(height=576, width=640, size=320, seed=0)  # the depth modes of an Azure Kinect
@example(height=288, width=320, size=320, seed=0)
@example(height=512, width=512, size=320, seed=0)
@example(height=1024, width=1024, size=320, seed=0)
@settings(max_examples=50)
def test_pixels_are_opencvs_nearest_neighbours(height: int, width: int, size: int, seed: int) -> None:
    depth = np.random.default_rng(abs(seed)).integers(0, 9000, (height, width)).astype(np.uint16)
    contract = DetectorInput(size=size, channels="depth")
    found = measured_input(depth, None, contract)[0]
    np.testing.assert_allclose(found, slow_channel(depth, size, None, False), atol=2e-5)


@pytest.mark.parametrize("contract", [OURS, PUBLISHED, DetectorInput(channels="depth", depth_max_mm=4000.0)])
def test_training_batches_equal_frames_at_run_time(contract: DetectorInput) -> None:
    frames = [frame(seed) for seed in range(3)]
    small = [
        [cv2.resize(image, (320, 320), interpolation=cv2.INTER_NEAREST).astype(np.float32) for image in pair]
        for pair in frames
    ]
    depth, ir = (torch.from_numpy(np.stack([pair[k] for pair in small])) for k in (0, 1))
    batch = detector_batch(depth, ir, contract).numpy()
    for answer, pair in zip(batch, frames, strict=True):
        np.testing.assert_allclose(answer, detector_input(*pair, contract), atol=1e-4)


def test_missing_infrared_and_flat_images_are_zero() -> None:
    depth, ir = frame()
    without = detector_input(depth, None, OURS)
    assert not without[1].any()
    np.testing.assert_allclose(without[2], without[0] / 2)
    np.testing.assert_array_equal(detector_input(depth, np.zeros_like(ir), OURS), without)
    assert not detector_input(np.full_like(depth, 700), None, OURS).any()
    flat = torch.full((1, 32, 32), 700.0)
    assert not detector_batch(flat, torch.zeros_like(flat), OURS).any()


def test_windows_are_normalised_by_the_whole_image() -> None:
    depth, ir = (torch.rand(2, 64, 64) * 5000 for _ in range(2))
    whole = detector_batch(depth, ir, OURS)
    window = detector_batch(depth[:, 8:40, 8:40], ir[:, 8:40, 8:40], OURS, image_statistics(depth, ir, OURS))
    torch.testing.assert_close(window, whole[:, :, 8:40, 8:40])


@pytest.mark.parametrize(("channels", "count"), [("fused", 2), ("depth", 1)])
def test_engines_are_given_what_is_measured(channels: Literal["fused", "depth"], count: int) -> None:
    depth, ir = frame()
    contract = replace(OURS, channels=channels)
    whole, measured = (make(depth, ir, contract) for make in (detector_input, measured_input))
    assert (len(whole), len(measured)) == (3, count)
    np.testing.assert_array_equal(measured, whole[:count])

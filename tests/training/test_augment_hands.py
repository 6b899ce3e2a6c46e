"""Labels of hand crops follow the pixels."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.hand import Skeleton
from pipeline.training.augment_hands import HandAugmentation

FINGER = Skeleton(("wrist", "index_mcp"), ((0, 1),), (-1, 1))
QUIET: dict[str, Any] = {"noise_mm": 0.0, "erase": 0.0, "torn": 0.0, "skeleton": FINGER}


def blobs(count: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops that are far but for a disc at each of two joints, as deep as the joint (1 unit = 150 mm)."""
    rng = np.random.default_rng(seed)
    images = np.ones((count, 1, size, size), np.float32)
    joints = np.zeros((count, 2, 3), np.float32)
    rows, columns = np.mgrid[:size, :size]
    for n in range(count):
        for j, side in enumerate((0.38, 0.62)):
            u, v = (side + rng.uniform(-0.06, 0.06)) * size, rng.uniform(0.4, 0.6) * size
            depth = rng.uniform(-0.4, 0.4)
            images[n, 0, (columns - u) ** 2 + (rows - v) ** 2 < 25] = depth
            joints[n, j] = u, v, depth * 150.0 / 2.0  # px of 2 mm
    return torch.from_numpy(images), torch.from_numpy(joints)


@pytest.mark.parametrize(("size", "resolution"), [(128, 1.0), (96, 0.75), (64, 0.5)])
def test_joints_move_with_what_is_seen_there(size: int, resolution: float) -> None:
    images, joints = blobs(24, 160)
    augment = HandAugmentation(150.0, 2.0, **QUIET)
    moved, labels = augment(images, joints, size, torch.Generator().manual_seed(3), resolution)
    assert moved.shape == (24, 1, size, size)
    for image, both in zip(moved[:, 0], labels, strict=True):
        near = (image < 1).nonzero().float()  # row, column
        nearest = torch.cdist(near[:, [1, 0]], both[:, :2]).argmin(1)
        for j, (u, v, z) in enumerate(both):
            disc = near[nearest == j]
            assert len(disc) > 10
            assert float(disc[:, 1].mean()) == pytest.approx(float(u), abs=0.5)
            assert float(disc[:, 0].mean()) == pytest.approx(float(v), abs=0.5)
            row, column = disc[len(disc) // 2].long()
            assert float(image[row, column]) * 150.0 / 2.0 * resolution == pytest.approx(float(z), abs=1e-3)


def test_a_roll_keeps_distances_and_depth() -> None:
    images, joints = blobs(8, 128)
    augment = HandAugmentation(150.0, 2.0, scale=0.0, shift_px=0.0, depth_mm=0.0, **QUIET)
    _, labels = augment(images, joints, 128, torch.Generator().manual_seed(0))
    before, after = (j[:, 0, :2] - j[:, 1, :2] for j in (joints, labels))
    torch.testing.assert_close(before.norm(dim=1), after.norm(dim=1), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(labels[..., 2], joints[..., 2])
    turned = torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[:, 1], before[:, 0])
    assert float(turned.remainder(2 * math.pi).std()) > 1.0  # any angle


def test_nothing_to_do_changes_nothing() -> None:
    images, joints = blobs(4, 128)
    still = HandAugmentation(150.0, 2.0, roll=0.0, scale=0.0, shift_px=0.0, depth_mm=0.0, **QUIET)
    same, labels = still(images, joints, 128, torch.Generator())
    torch.testing.assert_close(same, images, rtol=0, atol=1e-6)
    torch.testing.assert_close(labels, joints, rtol=0, atol=1e-4)


def test_far_stays_far_and_values_stay_in_range() -> None:
    images, joints = blobs(16, 128)
    far = images >= 1
    augment = HandAugmentation(
        150.0, 2.0, roll=0.0, scale=0.0, shift_px=0.0, erase=0.0, noise_mm=30.0, skeleton=FINGER
    )
    varied, _ = augment(images, joints, 128, torch.Generator().manual_seed(1))
    assert (varied[far] == 1).all()
    assert varied.abs().max() <= 1
    covered, _ = HandAugmentation(150.0, 2.0, erase=1.0, skeleton=FINGER)(
        images, joints, 128, torch.Generator()
    )
    assert covered.abs().max() <= 1
    assert ((covered < 1).flatten(1).sum(1) > 400).any()  # rectangles that cover


def test_upright_hands_point_up_but_for_the_spread() -> None:
    images, joints = blobs(200, 64)
    augment = HandAugmentation(150.0, 2.0, upright=1.0, upright_std=0.2, **QUIET)
    _, labels = augment(images, joints, 64, torch.Generator().manual_seed(0))
    right, down = (labels[:, 1, :2] - labels[:, 0, :2]).unbind(1)
    angle = torch.atan2(right, -down)
    assert abs(float(angle.mean())) < 0.06
    assert float(angle.std()) == pytest.approx(0.2, rel=0.2)


def test_torn_crops_lose_parts_and_change_in_nothing_else() -> None:
    images, joints = blobs(64, 128)
    still = {"roll": 0.0, "scale": 0.0, "shift_px": 0.0, "depth_mm": 0.0, **QUIET, "torn": 0.5}
    augment = HandAugmentation(150.0, 2.0, **still)
    torn, labels = augment(images, joints, 128, torch.Generator().manual_seed(2))
    lost = (torn == 1) & (images < 1)
    torch.testing.assert_close(torn[~lost], images[~lost], rtol=0, atol=1e-6)
    torch.testing.assert_close(labels, joints, rtol=0, atol=1e-4)
    share = lost.flatten(1).sum(1) / (images < 1).flatten(1).sum(1)
    assert 16 < int((share > 0).sum()) < 48
    assert 0.1 < float(share[share > 0].mean()) < 0.6  # something is left of most

"""Boxes of scenes follow the pixels, and mirrored hands change sides."""

import numpy as np
import pytest
import torch

from pipeline.training.augment_scenes import SceneAugmentation
from pipeline.training.detector_targets import BoxBatch

AUGMENT = SceneAugmentation()


def scenes(count: int = 12, size: int = 320) -> tuple[torch.Tensor, BoxBatch]:
    """Two filled boxes each, left hands of value 1, right hands of value 2."""
    rng = np.random.default_rng(0)
    images = torch.zeros(count, 1, size, size)
    boxes = torch.zeros(count, 2, 4)
    for n in range(count):
        for k, column in enumerate((40, 190)):
            x, y = column + rng.integers(0, 60), rng.integers(30, 250)
            w, h = rng.integers(16, 40, 2)
            boxes[n, k] = torch.tensor([x, y, x + w, y + h])
            images[n, 0, y : y + h, x : x + w] = k + 1
    classes = torch.tensor([[0, 1]]).expand(count, -1)
    return images, BoxBatch(boxes, classes, torch.ones(count, 2, dtype=torch.int64))


def seen_box(image: torch.Tensor, value: int) -> torch.Tensor | None:
    rows, columns = (image == value).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("size", [128, 192, 320])
def test_boxes_follow_zoomed_windows(size: int) -> None:
    images, labels = scenes()
    windows, moved = AUGMENT.windows(images, labels, size, torch.Generator().manual_seed(2))
    assert windows.shape == (12, 1, size, size)
    wanted = 0
    for n in range(12):
        for k in range(2):
            seen = seen_box(windows[n, 0], k + 1)
            state = int(moved.state[n, k])
            if seen is None:
                assert state <= 0
                continue
            assert state != 0
            assert (seen - moved.boxes[n, k]).abs().max() <= 1.0
            wanted += state == 1
    assert wanted >= 8


def test_mirrored_left_hands_are_right_hands() -> None:
    images, labels = scenes()
    flipped, moved = AUGMENT.flipped(images, labels, torch.Generator().manual_seed(0))
    mirrored = 0
    for n in range(12):
        for k in range(2):
            seen = seen_box(flipped[n, 0], k + 1)
            assert seen is not None
            torch.testing.assert_close(seen, moved.boxes[n, k])
        changed = not torch.equal(flipped[n], images[n])
        mirrored += changed
        assert moved.classes[n].tolist() == ([1, 0] if changed else [0, 1])
    assert 0 < mirrored < 12


def test_what_hardly_shows_is_ignored() -> None:
    boxes = torch.tensor([[[-30.0, 10.0, 10.0, 50.0], [60.0, 60.0, 64.0, 66.0], [10.0, 60.0, 50.0, 90.0]]])
    labels = BoxBatch(boxes, torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3, dtype=torch.int64))
    inside = AUGMENT.in_view(labels, 128)
    assert inside.state.tolist() == [[-1, -1, 1]]
    torch.testing.assert_close(inside.boxes[0, 0], torch.tensor([0.0, 10.0, 10.0, 50.0]))
    gone = AUGMENT.in_view(BoxBatch(boxes - 200.0, labels.classes, labels.state), 128)
    assert gone.state.tolist() == [[0, 0, 0]]


def test_cameras_differ_but_missing_depth_stays_missing() -> None:
    generator = torch.Generator().manual_seed(0)
    depth = torch.where(torch.rand(64, 32, 32, generator=generator) < 0.2, 0.0, 2000.0)
    ir = torch.full_like(depth, 500.0)
    camera = AUGMENT.conditions(64, torch.device("cpu"), generator)
    near, bright = camera.seen(depth, ir)
    grained = camera.grained(near, generator)
    assert (grained[depth == 0] == 0).all()
    assert grained[grained > 0].sub(2000).abs().max() < 60
    dark = (bright.flatten(1) == 0).all(1).float().mean()
    assert 0.15 < float(dark) < 0.55
    assert 200 < float(bright[bright > 0].min()) < 500 < float(bright.max()) < 1000


def test_torn_hands_are_ignored_and_nothing_else_changes() -> None:
    images, labels = scenes(120)
    depth = torch.where(images[:, 0] > 0, 900.0, 0.0)
    torn, left = SceneAugmentation(torn=0.5).tear(
        depth, torch.zeros_like(depth), labels, torch.Generator().manual_seed(1)
    )
    assert ((torn == depth) | (torn == 0)).all()
    assert torch.equal(left.boxes, labels.boxes)
    changed = (torn != depth).flatten(1).any(1)
    assert 40 < int(changed.sum()) < 80
    for n in range(120):
        for k in range(2):
            x0, y0, x1, y1 = labels.boxes[n, k].int().tolist()
            kept = float((torn[n, y0:y1, x0:x1] > 0).float().mean())
            assert left.state[n, k] == (1 if kept >= 0.6 else -1)
    assert 0 < int((left.state == -1).sum()) < 60


def test_images_with_infrared_are_torn_less_often() -> None:
    images, labels = scenes(200, size=320)
    depth = torch.where(images[:, 0] > 0, 900.0, 1500.0)
    share = []
    for ir in (torch.zeros_like(depth), torch.ones_like(depth)):
        torn, _ = SceneAugmentation(torn=1.0).tear(depth, ir, labels, torch.Generator().manual_seed(1))
        share.append(float((torn != depth).flatten(1).any(1).float().mean()))
    assert share[0] > 0.9
    assert 0.15 < share[1] < 0.45


def test_tearing_takes_scenes_without_hands() -> None:
    nobody = BoxBatch(torch.zeros(4, 0, 4), *(torch.zeros(4, 0, dtype=torch.int64) for _ in range(2)))
    depth = torch.full((4, 64, 64), 1000.0)
    torn, left = SceneAugmentation(torn=1.0).tear(
        depth, torch.zeros_like(depth), nobody, torch.Generator().manual_seed(0)
    )
    assert 0 < int((torn == 0).sum()) < torn.numel()
    assert left.state.shape == (4, 0)

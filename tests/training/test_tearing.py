"""Tearing loses coherent, ragged parts, and edges before flat places."""

import torch

from pipeline.training.tearing import lost_places, steepness


def test_steepness_is_the_step_between_neighbours_up_to_its_limit() -> None:
    depth = torch.tensor([1000.0, 1000.0, 1000.0, 1015.0, 1400.0, 1400.0]).expand(1, 6, 6)
    expected = torch.tensor([0.0, 0.0, 0.25, 1.0, 1.0, 0.0])
    torch.testing.assert_close(steepness(depth, 60.0), expected.expand(1, 6, 6))


def test_edges_are_lost_before_flat_places() -> None:
    steep = torch.zeros(64, 96, 96)
    steep[..., 48:] = 1.0
    lost = lost_places(steep, 7, 32, torch.Generator().manual_seed(0)).float()
    flat, edge = lost[..., :48].mean(), lost[..., 48:].mean()
    assert 0.02 < float(flat) < 0.3
    assert float(edge) > 1.5 * float(flat)


def test_neighbours_are_lost_together() -> None:
    lost = lost_places(torch.zeros(64, 96, 96), 7, 32, torch.Generator().manual_seed(0))
    share = lost.float().mean()
    both = (lost[..., 1:] & lost[..., :-1]).float().mean()
    assert float(both) > 0.7 * float(share)  # single pixels by chance: share squared


def test_images_differ_in_how_much_is_lost() -> None:
    share = lost_places(torch.zeros(64, 96, 96), 7, 32, torch.Generator().manual_seed(0)).float().mean((1, 2))
    assert float(share.min()) < 0.01
    assert float(share.max()) > 0.25

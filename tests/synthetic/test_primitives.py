import math

import torch
from torch import Tensor

from pipeline.synthetic.primitives import Rays, box_depth, ellipsoid_depth, plane_depth
from pipeline.synthetic.sampling import Sampler


def camera(count: int) -> Rays:
    slope = torch.linspace(-0.4, 0.4, 33).expand(count, 33)
    return Rays(slope, slope[:, :25])


def points(rays: Rays, z: Tensor) -> Tensor:
    """(B, H, W, 3)."""
    across, down = rays.across.expand_as(z), rays.down.expand_as(z)
    return torch.stack([across * z, down * z, z], -1)


def local(surface: Tensor, centre: Tensor, rotation: Tensor) -> Tensor:
    return torch.einsum("bij,bhwi->bhwj", rotation, surface - centre[:, None, None])


def test_points_of_a_plane_satisfy_its_equation() -> None:
    sampler, rays = Sampler("cpu", 1), camera(8)
    normal, point = sampler.direction(8), torch.tensor([0.1, 0.0, 1.0]).expand(8, 3)
    z = plane_depth(rays, normal, point)
    offset = ((points(rays, z) - point[:, None, None]) * normal[:, None, None]).sum(-1)
    seen = torch.isfinite(z) & (z < 50)
    assert seen.any()
    assert offset[seen].abs().max() < 1e-3


def test_ellipsoid_shows_its_near_surface() -> None:
    sampler, rays = Sampler("cpu", 2), camera(8)
    centre, rotation = torch.tensor([0.05, -0.05, 1.0]).expand(8, 3), sampler.rotation(8)
    radii = sampler.uniform(8, 3, low=0.05, high=0.3)
    z = ellipsoid_depth(rays, centre, rotation, radii)
    hit = torch.isfinite(z)
    assert hit.any((1, 2)).all()
    where = local(points(rays, torch.where(hit, z, 0.0)), centre, rotation) / radii[:, None, None]
    torch.testing.assert_close(where.norm(dim=-1)[hit], torch.ones(int(hit.sum())), rtol=0, atol=2e-3)
    nearer = local(points(rays, torch.where(hit, z - 0.003, 0.0)), centre, rotation) / radii[:, None, None]
    assert (nearer.norm(dim=-1)[hit] > 0.999).all()


def test_box_shows_its_near_surface() -> None:
    sampler, rays = Sampler("cpu", 3), camera(8)
    centre, rotation = torch.tensor([0.0, 0.02, 0.9]).expand(8, 3), sampler.rotation(8)
    radii = sampler.uniform(8, 3, low=0.04, high=0.2)
    z = box_depth(rays, centre, rotation, radii)
    hit = torch.isfinite(z)
    assert hit.any((1, 2)).all()
    where = local(points(rays, torch.where(hit, z, 0.0)), centre, rotation) / radii[:, None, None]
    torch.testing.assert_close(where.abs().amax(-1)[hit], torch.ones(int(hit.sum())), rtol=0, atol=1e-3)
    missed = local(points(rays, torch.where(hit, 0.0, 0.9)), centre, rotation) / radii[:, None, None]
    assert (missed.abs().amax(-1)[~hit] > 1).all()


def test_random_rotations_are_rotations_and_seeds_mix() -> None:
    sampler = Sampler("cpu", 4)
    rotation = sampler.rotation(500)
    identity = torch.eye(3).expand(500, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(500), rtol=0, atol=1e-5)
    assert rotation.mean(0).abs().max() < 4 / math.sqrt(3 * 500)

    def first(*numbers: int) -> float:
        sampler.reseed(*numbers)
        return float(sampler.uniform(1))

    assert first(1, 2) == first(1, 2)
    assert len({first(a, b) for a in range(10) for b in range(10)}) == 100

import math

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.synthetic.raster import rasterize


def literal_raster(uvz: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """One pixel and one triangle at a time, in double precision; and which pixels lie on no edge."""
    z = torch.full((height, width), math.inf, dtype=torch.float64)
    face = torch.full((height, width), -1)
    decided = torch.ones(height, width, dtype=torch.bool)
    for number, corners in enumerate(uvz.double()[faces]):
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = corners.tolist()
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0:
            continue
        for row in range(height):
            for column in range(width):
                first = ((x1 - column) * (y2 - row) - (x2 - column) * (y1 - row)) / area
                second = ((x2 - column) * (y0 - row) - (x0 - column) * (y2 - row)) / area
                third = 1 - first - second
                inside = min(first, second, third)
                decided[row, column] &= abs(inside) > 1e-4  # float32 may see it on the other side
                if inside < 0:
                    continue
                depth = 1 / (first / z0 + second / z1 + third / z2)
                if depth < z[row, column]:
                    z[row, column], face[row, column] = depth, number
    return z, face, decided


@given(seed=st.integers(0, 10_000))
@example(seed=482)
@example(seed=3612)
@settings(max_examples=15)
def test_agrees_with_a_loop_over_pixels_and_triangles(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    uvz = torch.rand(12, 3, generator=generator) * torch.tensor([22.0, 18.0, 1.0]) + torch.tensor(
        [-3, -3, 0.3]
    )
    faces = torch.randint(12, (8, 3), generator=generator)
    faces = faces[(faces != faces.roll(1, 1)).all(1)]
    faces = torch.unique(faces.sort(dim=1).values, dim=0)  # the same corners twice: any of the two may win
    faces = torch.cat([faces, faces.flip(1)])  # of both orientations one is seen
    z, face = rasterize(uvz[None], faces, 12, 16)
    expected_z, expected_face, decided = literal_raster(uvz, faces, 12, 16)
    assert decided.float().mean() > 0.9
    assert torch.equal((face[0] >= 0)[decided], (expected_face >= 0)[decided])
    hit = (expected_face >= 0) & decided
    torch.testing.assert_close(z[0][hit].double(), expected_z[hit], rtol=1e-4, atol=1e-5)
    assert (face[0] == expected_face)[decided].float().mean() > 0.99  # equal depths may go to either face


def test_tilted_plane_is_interpolated_in_perspective() -> None:
    focal, centre = 60.0, 20.0
    corners = torch.tensor([[-1.0, -1, 1.0], [1, -1, 2.0], [1, 1, 2.0], [-1, 1, 1.0]])  # z = 1.5 + 0.5 x
    uvz = torch.cat([corners[:, :2] / corners[:, 2:] * focal + centre, corners[:, 2:]], 1)
    z, face = rasterize(uvz[None], torch.tensor([[0, 2, 1], [0, 3, 2]]), 40, 40)
    column = torch.arange(40)
    expected = 1.5 / (1 - 0.5 * (column - centre) / focal)
    assert (face >= 0).all()
    torch.testing.assert_close(z[0], expected.expand(40, 40), rtol=1e-5, atol=0)


def sphere(rings: int = 40, sectors: int = 80) -> tuple[Tensor, Tensor]:
    """Unit sphere with faces counter-clockwise from outside."""
    theta, phi = torch.linspace(0, math.pi, rings + 1), torch.arange(sectors) * 2 * math.pi / sectors
    vertices = torch.stack(
        [
            theta.sin()[:, None] * phi.cos(),
            theta.sin()[:, None] * phi.sin(),
            theta.cos()[:, None].expand(-1, sectors),
        ],
        -1,
    )
    row, column = torch.meshgrid(torch.arange(rings), torch.arange(sectors), indexing="ij")
    a, b = row * sectors + column, row * sectors + (column + 1) % sectors
    faces = torch.stack(
        [torch.stack([a, a + sectors, b + sectors], -1), torch.stack([a, b + sectors, b], -1)]
    )
    return vertices.reshape(-1, 3), faces.reshape(-1, 3)


def test_sphere_shows_its_near_side_with_and_without_culling() -> None:
    vertices, faces = sphere()
    centre, radius, focal = torch.tensor([0.05, -0.02, 0.8]), 0.1, 400.0
    points = radius * vertices + centre
    uvz = torch.cat([points[:, :2] / points[:, 2:] * focal + 64, points[:, 2:]], 1)[None]
    z, _ = rasterize(uvz, faces, 128, 128)
    both_sides, _ = rasterize(uvz, faces, 128, 128, cull=False)
    torch.testing.assert_close(z, both_sides)

    row, column = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    ray = torch.stack([(column - 64) / focal, (row - 64) / focal, torch.ones_like(row)], -1)
    a, b = ray.square().sum(-1), ray @ centre
    root = b * b - a * (centre.square().sum() - radius**2)
    expected = (b - root.clamp(min=0).sqrt()) / a
    well_inside = root > 1e-3
    assert torch.isfinite(z[0][well_inside]).all()
    assert not torch.isfinite(z[0][root < 0]).any()
    assert (z[0] - expected)[well_inside].abs().max() < 0.0005


def test_neighbouring_triangles_leave_no_gap() -> None:
    grid = torch.linspace(-2, 34, 14)
    generator = torch.Generator().manual_seed(3)
    row, column = torch.meshgrid(grid, grid, indexing="ij")
    jitter = 0.6 * torch.rand(2, 14, 14, generator=generator)
    uvz = torch.stack([column + jitter[0], row + jitter[1], torch.ones_like(row)], -1).reshape(1, -1, 3)
    a = (torch.arange(13)[:, None] * 14 + torch.arange(13)).reshape(-1)
    faces = torch.cat([torch.stack([a, a + 15, a + 1], 1), torch.stack([a, a + 14, a + 15], 1)])
    _, face = rasterize(uvz, faces, 32, 32)
    assert (face >= 0).all()


def test_images_of_a_batch_are_independent() -> None:
    generator = torch.Generator().manual_seed(5)
    uvz = torch.rand(3, 30, 3, generator=generator) * torch.tensor([40.0, 30.0, 1.0]) + torch.tensor(
        [0, 0, 0.2]
    )
    faces = torch.randint(30, (40, 3), generator=generator)
    together = rasterize(uvz, faces, 30, 40, cull=False)
    for number in range(3):
        alone = rasterize(uvz[number : number + 1], faces, 30, 40, cull=False)
        assert all(torch.equal(one[0], many[number]) for one, many in zip(alone, together, strict=True))


def test_nothing_to_draw_gives_an_empty_image() -> None:
    uvz = torch.tensor([[[0.0, 0, 0.01], [5, 0, 1], [0, 5, 1]]])  # reaches nearer than `near`
    z, face = rasterize(uvz, torch.tensor([[0, 2, 1]]), 6, 7)
    assert z.shape == face.shape == (1, 6, 7)
    assert torch.isinf(z).all()
    assert (face == -1).all()

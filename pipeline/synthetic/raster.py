"""Triangles to depth images: a batched z-buffer in plain tensor operations, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

# Triangles are handled in groups by the side of their bounding box in pixels, so that all triangles of a
# group are tested against equally many pixels.
_SIDES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Pixel tests at once: bounds memory, and keeps a CPU's working set near its caches.
_CHUNK = {"cpu": 2_000_000, "cuda": 64_000_000}
_EDGE_TOLERANCE = 1e-5  # in barycentric units: pixels on a shared edge belong to both of its triangles


def rasterize(
    vertices_uvz: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    *,
    cull: bool = True,
    near: float = 0.05,
) -> tuple[Tensor, Tensor]:
    """Depth and face number of the nearest triangle at each pixel's centre.

    Depth is interpolated perspectively (1/z is affine in the image). Pixel (0, 0) has its centre at
    coordinate (0, 0). Triangles that reach nearer than `near` are left out whole, not clipped.

    Args:
        vertices_uvz: (B, V, 3) float32: column px, row px, z in metres.
        faces: (F, 3) int64 vertex numbers, the same for the whole batch; counter-clockwise as seen from
            outside the surface, in a right-handed frame such as x right, y down, z forward.
        height, width: size of the image, px.
        cull: leave out triangles seen from inside; False draws both sides.
        near: metres.

    Returns:
        z (B, H, W) float32 metres, infinite where nothing is; face (B, H, W) int64, -1 where nothing is.
    """
    batch, num_faces, device = len(vertices_uvz), len(faces), vertices_uvz.device
    triangles = vertices_uvz[:, faces.reshape(-1)].reshape(batch * num_faces, 3, 3)  # (T, corner, uvz)
    kept, low, side = _visible(triangles, height, width, cull, near)
    triangles, low, side = triangles[kept], low[kept], side[kept]
    image, face = kept // num_faces, kept % num_faces
    empty = torch.iinfo(torch.int64).max
    nearest = torch.full((batch * height * width,), empty, dtype=torch.int64, device=device)

    most = _CHUNK.get(device.type, _CHUNK["cpu"])
    smallest = 0
    for largest in (*_SIDES, 128, 256, 512, max(height, width)):
        group = ((side > smallest) & (side <= largest)).nonzero().squeeze(1)
        smallest = max(smallest, largest)
        if not len(group):
            continue
        for chunk in group.split(max(1, most // largest**2)):
            triangle, column, row, z = _fragments(triangles[chunk], low[chunk], largest, height, width)
            triangle = chunk[triangle]
            pixel = (image[triangle] * height + row) * width + column
            # The bits of a positive float order as its value does: depth first, then the face number.
            key = (z.view(torch.int32).long() << 32) | face[triangle]
            nearest.scatter_reduce_(0, pixel, key, "amin")

    nearest = nearest.view(batch, height, width)
    hit = nearest != empty
    z = (nearest >> 32).to(torch.int32).view(torch.float32)
    return torch.where(hit, z, torch.inf), torch.where(hit, nearest & 0xFFFFFFFF, -1)


def _visible(
    triangles: Tensor, height: int, width: int, cull: bool, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the triangles that may cover a pixel; of all: first column and row, side of the box."""
    column, row, z = triangles.unbind(2)  # (T, 3) each
    low = torch.stack([column.amin(1).ceil().clamp(0, width), row.amin(1).ceil().clamp(0, height)], 1)
    high = torch.stack(
        [column.amax(1).floor().clamp(-1, width - 1), row.amax(1).floor().clamp(-1, height - 1)], 1
    )
    area = _doubled_area(triangles)
    facing = area < -1e-9 if cull else area.abs() > 1e-9
    kept = ((high >= low).all(1) & (z.amin(1) > near) & facing).nonzero().squeeze(1)
    return kept, low, (high - low).amax(1) + 1


def _doubled_area(triangles: Tensor) -> Tensor:
    """(T,) signed: negative for counter-clockwise faces towards the camera, as rows grow downwards."""
    edges = triangles[:, 1:, :2] - triangles[:, :1, :2]
    return edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 1, 0] * edges[:, 0, 1]


def _fragments(
    triangles: Tensor, low: Tensor, side: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels inside each triangle among the side x side ones from its `low` corner.

    Returns:
        (K,) each: triangle number, column, row, z.
    """
    offset = torch.arange(side, device=triangles.device)
    local = torch.stack(
        [
            offset.repeat(side).float(),
            offset.repeat_interleave(side).float(),
            torch.ones(side * side, device=triangles.device),
        ]
    )  # (3, P) column, row, 1
    u = triangles[:, :, 0] - low[:, :1]
    v = triangles[:, :, 1] - low[:, 1:]
    per_area = 1 / _doubled_area(triangles)
    # Affine forms over the image, as coefficients of (column, row, 1): two barycentric coordinates, 1/z.
    weights = [
        torch.stack([v[:, j] - v[:, k], u[:, k] - u[:, j], u[:, j] * v[:, k] - u[:, k] * v[:, j]], 1)
        * per_area[:, None]
        for j, k in ((1, 2), (2, 0))
    ]
    inverse = 1 / triangles[:, :, 2:]  # (T, 3, 1)
    inverse_z = weights[0] * (inverse[:, 0] - inverse[:, 2]) + weights[1] * (inverse[:, 1] - inverse[:, 2])
    inverse_z[:, 2] += inverse[:, 2, 0]
    first, second = weights[0] @ local, weights[1] @ local  # (T, P)
    inside = torch.minimum(torch.minimum(first, second), 1 - first - second) >= -_EDGE_TOLERANCE
    triangle, pixel = inside.nonzero(as_tuple=True)
    corner = low[triangle].long()
    column, row = corner[:, 0] + pixel % side, corner[:, 1] + pixel // side
    z = 1 / (inverse_z[triangle] * local.T[pixel]).sum(1)
    in_image = (column < width) & (row < height)
    return triangle[in_image], column[in_image], row[in_image], z[in_image]

"""Things that are not hands: mugs, bottles, balls, lamps and the like, as meshes of one topology."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.synthetic.sampling import Sampler

_SECTORS = 14
_RING_SECTIONS, _RING_STEPS = 6, 9  # of the handle
# Radius at seven heights from bottom to top, relative to the largest.
PROFILES = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),  # mug, box of crisps, can
    (0.75, 0.8, 0.84, 0.88, 0.92, 0.96, 1.0),  # tumbler
    (1.0, 1.0, 1.0, 1.0, 0.75, 0.35, 0.33),  # bottle
    (0.26, 0.71, 0.95, 1.0, 0.95, 0.71, 0.26),  # ball
    (0.55, 0.9, 1.0, 0.85, 0.6, 0.5, 0.65),  # vase
    (0.55, 0.06, 0.06, 0.06, 1.0, 0.75, 0.45),  # lamp
)
MUG, TUMBLER, BOTTLE, BALL, VASE, LAMP = range(len(PROFILES))


class ThingModel:
    """Solids of revolution, some with a handle; all have the same faces.

    Args:
        device: where the tensors live.

    Attributes:
        faces: (F, 3) int64, counter-clockwise seen from outside.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        levels = len(PROFILES[0])
        self._profiles = torch.tensor(PROFILES, device=device)
        angle = torch.arange(_SECTORS, device=device) * (2 * math.pi / _SECTORS)
        self._circle = torch.stack([angle.cos(), angle.sin()], 1)  # (S, 2) x, z
        self._heights = torch.linspace(0.5, -0.5, levels, device=device)  # y points down
        body = _grid(levels, _SECTORS)
        caps = [[levels * _SECTORS, (k + 1) % _SECTORS, k] for k in range(_SECTORS)]
        last = (levels - 1) * _SECTORS
        caps += [[levels * _SECTORS + 1, last + k, last + (k + 1) % _SECTORS] for k in range(_SECTORS)]
        handle = _grid(_RING_STEPS, _RING_SECTIONS).flip(1) + levels * _SECTORS + 2
        self.faces = torch.cat([body, torch.tensor(caps), handle]).to(device)

        bow = torch.linspace(-0.5, 0.5, _RING_STEPS, device=device) * math.pi
        section = torch.arange(_RING_SECTIONS, device=device) * (2 * math.pi / _RING_SECTIONS)
        out = torch.stack([bow.cos(), bow.sin(), torch.zeros_like(bow)], 1)  # (steps, 3)
        aside = torch.tensor([0.0, 0.0, 1.0], device=device)
        self._bow = out
        self._tube = section.cos()[:, None] * out[:, None] + section.sin()[:, None] * aside

    def vertices(self, kind: Tensor, radius: Tensor, height: Tensor, handle: Tensor) -> Tensor:
        """(N, V, 3) metres, upright around the origin (y down).

        Args:
            kind: (N,) int64, row of PROFILES.
            radius, height: (N,) metres.
            handle: (N,) bool.
        """
        count = len(kind)
        rings = self._profiles[kind] * radius[:, None]  # (N, L)
        across = rings[:, :, None, None] * self._circle  # (N, L, S, 2)
        level = (self._heights * height[:, None])[:, :, None].expand(across.shape[:3])
        body = torch.stack([across[..., 0], level, across[..., 1]], 3).flatten(1, 2)
        ends = torch.zeros(count, 2, 3, device=kind.device)
        ends[:, 0, 1], ends[:, 1, 1] = height / 2, -height / 2

        size = torch.where(handle, 0.33 * height, 0.0)[:, None, None, None]
        bow = self._bow * torch.tensor([0.75, 1.0, 1.0], device=kind.device)
        grip = size * bow[:, None] + 0.15 * size * self._tube
        grip = grip + torch.tensor([0.97, 0.0, 0.0], device=kind.device) * radius[:, None, None, None]
        return torch.cat([body, ends, grip.flatten(1, 2)], 1)


def sample_sizes(kind: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """(N,) radius and (N,) height, metres, usual for the kind."""
    radius = torch.tensor([0.042, 0.036, 0.036, 0.07, 0.07, 0.13], device=kind.device)[kind]
    ratio = torch.tensor([2.3, 2.8, 6.0, 2.0, 3.5, 3.2], device=kind.device)[kind]
    scale = sampler.log_uniform(len(kind), low=0.75, high=1.4)
    radius = radius * scale
    return radius, radius * ratio * sampler.log_uniform(len(kind), low=0.85, high=1.2)


def _grid(rows: int, columns: int) -> Tensor:
    """(F, 3) faces of a tube: `columns` around, `rows` along."""
    faces = []
    for row in range(rows - 1):
        for column in range(columns):
            a, b = row * columns + column, row * columns + (column + 1) % columns
            c, d = a + columns, b + columns
            faces += [[a, b, c], [b, d, c]]
    return torch.tensor(faces)

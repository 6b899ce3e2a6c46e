"""Random numbers and rotations for batches of synthetic scenes, from one explicit generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


class Sampler:
    """Draws on one device from one seeded generator: the same seed gives the same numbers.

    Args:
        device: where the tensors live.
        seed: of the generator.
    """

    def __init__(self, device: torch.device | str, seed: int = 0) -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def reseed(self, *numbers: int) -> None:
        """Starts anew from a seed mixed from all the numbers (for example a seed and a batch's index)."""
        mixed = 0x9E3779B97F4A7C15
        for number in numbers:  # splitmix64: neighbouring numbers give unrelated seeds
            mixed = (mixed ^ (number & (2**64 - 1))) + 0x9E3779B97F4A7C15 & (2**64 - 1)
            mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
            mixed ^= mixed >> 31
        self.generator.manual_seed(mixed >> 1)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, device=self.device, generator=self.generator) * (high - low) + low

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform in the logarithm: each doubling is as likely."""
        return low * (high / low) ** self.uniform(*shape)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        return torch.randn(*shape, device=self.device, generator=self.generator) * std

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with the given probability."""
        return torch.rand(*shape, device=self.device, generator=self.generator) < probability

    def integers(self, high: int, *shape: int) -> Tensor:
        """0 <= n < high."""
        return torch.randint(high, shape, device=self.device, generator=self.generator)

    def choice(self, weights: Tensor | Sequence[float], *shape: int) -> Tensor:
        """Numbers 0 <= n < len(weights), as often as the weights (of any sum) say."""
        steps = torch.as_tensor(weights, device=self.device, dtype=torch.float32).cumsum(0)
        drawn = torch.searchsorted(steps, self.uniform(*shape) * steps[-1], right=True)
        return drawn.clamp(max=len(steps) - 1)

    def subset(self, probability: float, count: int) -> Tensor:
        """(K,) int64: the numbers below `count`, each kept with the given probability."""
        return self.chance(probability, count).nonzero().squeeze(1)

    def direction(self, *shape: int) -> Tensor:
        """(*shape, 3) unit vectors, uniform on the sphere."""
        return functional.normalize(self.normal(*shape, 3), dim=-1)

    def rotation(self, count: int) -> Tensor:
        """(count, 3, 3), uniform over all rotations."""
        return quaternion_matrix(functional.normalize(self.normal(count, 4), dim=1))

    def smooth_field(self, count: int, height: int, width: int, cell: int) -> Tensor:
        """(count, height, width) noise of about unit variance that varies over `cell` pixels."""
        coarse = self.normal(count, 1, height // cell + 2, width // cell + 2)
        # Interpolating halves the variance or so: 1.5 makes up for it.
        return (
            1.5 * functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)[:, 0]
        )


def axis_angle_matrix(axis: Tensor | Sequence[float], angle: Tensor) -> Tensor:
    """Rotation by `angle` radians about unit vectors (Rodrigues' formula).

    Args:
        axis: broadcastable to (..., 3).
        angle: (...).

    Returns:
        (..., 3, 3).
    """
    x, y, z = torch.as_tensor(axis, dtype=angle.dtype, device=angle.device).expand(*angle.shape, 3).unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    rest = 1 - cosine
    entries = [
        cosine + x * x * rest,
        x * y * rest - z * sine,
        x * z * rest + y * sine,
        y * x * rest + z * sine,
        cosine + y * y * rest,
        y * z * rest - x * sine,
        z * x * rest - y * sine,
        z * y * rest + x * sine,
        cosine + z * z * rest,
    ]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def quaternion_matrix(wxyz: Tensor) -> Tensor:
    """Unit quaternions (..., 4), real part first, to rotations (..., 3, 3)."""
    w, x, y, z = wxyz.unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - z * w),
        2 * (x * z + y * w),
        2 * (x * y + z * w),
        1 - 2 * (x * x + z * z),
        2 * (y * z - x * w),
        2 * (x * z - y * w),
        2 * (y * z + x * w),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))

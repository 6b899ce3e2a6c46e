"""Keeps a hand's fingers out of each other: capsules around the bones that push apart."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.synthetic.hand_model import Bones, HandModel
from pipeline.synthetic.hand_rig import LEVELS, bone
from pipeline.synthetic.shapes import HandShape

# Radii, mm: thumb to pinky, from the metacarpal out (the thumb has no first one).
_RADII_MM = (
    (0.0, 13.0, 11.0, 9.0),
    (11.0, 9.5, 8.0, 7.0),
    (11.0, 9.5, 8.2, 7.2),
    (11.0, 9.0, 8.0, 7.0),
    (11.0, 8.0, 7.0, 6.0),
)
_FLESH = 0.82  # flesh gives way: capsules may come this near, as a share of their radii's sum
_KNUCKLE_FLESH = 0.62  # neighbouring fingers touch along their first phalanges


def _pairs() -> tuple[list[tuple[int, int]], list[float]]:
    """Pairs of finger bones (numbers 0..19) that must stay apart, and their least distances in mm."""
    capsules = [(f, level) for f in range(5) for level in range(LEVELS) if _RADII_MM[f][level] > 0]
    pairs, distances = [], []
    for index, (finger, level) in enumerate(capsules):
        for other, other_level in capsules[index + 1 :]:
            metacarpals = (finger > 0 and level == 0) + (other_level == 0)
            beside_palm = metacarpals == 1 and (level == 1 or (finger == 0 and level == 2))
            if finger == other or metacarpals == 2 or beside_palm or (other_level == 1 and metacarpals == 1):
                continue
            flesh = _KNUCKLE_FLESH if level == other_level == 1 and finger > 0 else _FLESH
            pairs.append((bone(finger, level) - 1, bone(other, other_level) - 1))
            distances.append(flesh * (_RADII_MM[finger][level] + _RADII_MM[other][other_level]))
    return pairs, distances


_PAIRS, _DISTANCES_MM = _pairs()


def penetration_mm(bones: Bones) -> Tensor:
    """(B, P) mm by which each pair of capsules is too near, 0 where it is not; for hands of median size."""
    starts = bones.position[:, 1:-1].unflatten(1, (5, LEVELS))
    ends = torch.cat([starts[:, :, 1:], bones.tips[:, :, None]], 2).flatten(1, 2)
    starts = starts.flatten(1, 2)
    first, second = torch.tensor(_PAIRS, device=starts.device).T
    distance = segment_distance(starts[:, first], ends[:, first], starts[:, second], ends[:, second])
    return (torch.tensor(_DISTANCES_MM, device=starts.device) - 1000 * distance).clamp(min=0)


def segment_distance(start_a: Tensor, end_a: Tensor, start_b: Tensor, end_b: Tensor) -> Tensor:
    """(...) distance between segments given by (..., 3) points (Ericson 2005, section 5.1.9)."""
    along_a, along_b, between = end_a - start_a, end_b - start_b, start_a - start_b
    a, e = along_a.square().sum(-1) + 1e-12, along_b.square().sum(-1) + 1e-12
    b, c, f = (along_a * along_b).sum(-1), (along_a * between).sum(-1), (along_b * between).sum(-1)
    s = ((b * f - c * e) / (a * e - b * b).clamp(min=1e-12)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    s = ((b * t - c) / a).clamp(0, 1)
    gap = between + s[..., None] * along_a - t[..., None] * along_b
    return (gap.square().sum(-1) + 1e-12).sqrt()


def remove_penetration(
    model: HandModel, angles: Tensor, lower: Tensor, upper: Tensor, steps: int = 25
) -> tuple[Tensor, Tensor]:
    """Moves fingers apart by gradient descent on their angles.

    Args:
        model: the hand.
        angles: (B, 27) radians.
        lower, upper: (27,) limits of the angles.
        steps: of Adam.

    Returns:
        angles (B, 27) within the limits; the deepest penetration that is left (B,) mm.
    """
    angles = angles.clone()

    def deepest(some: Tensor) -> Tensor:
        with torch.no_grad():
            shape = HandShape.median(len(some), model.device)
            return penetration_mm(model.bones(some, shape)).amax(1)

    left = deepest(angles)
    deep = (left > 1.0).nonzero().squeeze(1)
    if not len(deep):
        return angles, left
    shape = HandShape.median(len(deep), model.device)
    free = angles[deep].requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.05)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            penetration_mm(model.bones(free, shape)).square().sum().backward()
            optimizer.step()
            with torch.no_grad():
                free.copy_(torch.minimum(torch.maximum(free, lower), upper))
    angles[deep] = free.detach()
    left[deep] = deepest(free.detach())
    return angles, left

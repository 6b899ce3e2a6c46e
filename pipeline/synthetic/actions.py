"""What people in synthetic scenes do: random postures of whole bodies, arm by arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.synthetic.people import Posture
from pipeline.synthetic.poses import PoseBank
from pipeline.synthetic.sampling import Sampler

_DEGREE = math.pi / 180


@dataclass(frozen=True)
class ArmAction:
    """Where a hand is held.

    Args:
        share: how often, relative to the other actions.
        reach, spread: mean and standard deviation of `Posture.reach`: outwards, down, forward.
        pronation, variation: mean and standard deviation of the forearm's pronation, degrees.
    """

    share: float
    reach: tuple[float, float, float]
    spread: tuple[float, float, float]
    pronation: float
    variation: float


ACTIONS = (
    ArmAction(2.2, (0.30, -0.20, 0.45), (0.20, 0.20, 0.15), 70, 35),  # raised, mostly palm forward
    ArmAction(1.6, (0.05, 0.25, 0.45), (0.22, 0.17, 0.14), 30, 45),  # before the chest
    ArmAction(0.7, (-0.30, -0.45, 0.30), (0.15, 0.14, 0.10), 30, 45),  # at the face or head
    ArmAction(1.3, (0.05, 0.55, 0.50), (0.22, 0.12, 0.14), 65, 30),  # on a table or in the lap
    ArmAction(0.6, (0.15, 0.95, 0.08), (0.10, 0.06, 0.12), 20, 30),  # hanging
    ArmAction(0.9, (0.05, 0.05, 0.85), (0.22, 0.25, 0.15), 45, 50),  # stretched forward
    ArmAction(0.4, (-0.48, 0.35, 0.30), (0.14, 0.10, 0.08), 20, 35),  # crossed before the body
    ArmAction(0.3, (0.20, -0.85, 0.15), (0.22, 0.10, 0.20), 45, 50),  # over the head
    ArmAction(0.6, (0.75, -0.05, 0.20), (0.15, 0.30, 0.22), 45, 45),  # to the side
    ArmAction(0.3, (0.15, 0.65, -0.10), (0.12, 0.12, 0.15), 20, 40),  # at the hip, behind the back
)
_TOGETHER_SHARE = 0.1  # both hands at one place before the body
_ALIKE_SHARE = 0.45  # both arms do the same


def sample_posture(count: int, bank: PoseBank, sampler: Sampler) -> Posture:
    """Random people, sitting or standing, most of them turned to the camera."""
    reach, pronation = _arms(count, sampler)
    sitting = sampler.chance(0.6, count, 1)
    hips = torch.where(
        sitting,
        sampler.uniform(count, 2, low=60 * _DEGREE, high=110 * _DEGREE),
        sampler.uniform(count, 2, low=-5 * _DEGREE, high=25 * _DEGREE).square() * 2,
    )
    bent = torch.where(
        sitting, hips + 0.35 * sampler.normal(count, 2), 1.5 * hips * sampler.uniform(count, 2)
    )
    turn = 0.35 * sampler.normal(count)
    turn = torch.where(sampler.chance(0.15, count), 1.1 * sampler.normal(count), turn)
    limits = torch.tensor([0.22, 0.15, 0.10], device=sampler.device)
    back = limits * sampler.normal(count, 3)
    back[:, 0] = back[:, 0].abs() - 0.1
    head = torch.tensor([0.25, 0.4, 0.12], device=sampler.device) * sampler.normal(count, 3)
    head[:, 1] -= 0.6 * turn  # people look to the camera
    angles = bank.draw(2 * count, sampler)
    return Posture(
        turn=turn,
        back=back,
        head=head,
        hips=hips,
        knees=bent.clamp(0, 130 * _DEGREE),
        spread=sampler.uniform(count, 2, low=-4 * _DEGREE, high=25 * _DEGREE),
        reach=reach,
        elbow=(25 * sampler.normal(count, 2)).clamp(-60, 70) * _DEGREE,
        pronation=pronation.clamp(-80 * _DEGREE, 100 * _DEGREE),
        hand_angles=angles.unflatten(0, (count, 2)),
    )


def _arms(count: int, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """`Posture.reach` and `Posture.pronation` of random actions."""
    device = sampler.device

    def table(name: str) -> Tensor:
        return torch.tensor([getattr(action, name) for action in ACTIONS], device=device)

    action = sampler.choice(table("share"), count, 2)
    alike = sampler.chance(_ALIKE_SHARE, count)
    action[alike, 1] = action[alike, 0]
    reach = table("reach")[action] + table("spread")[action] * sampler.normal(count, 2, 3)
    pronation = table("pronation")[action] + table("variation")[action] * sampler.normal(count, 2)

    together = sampler.chance(_TOGETHER_SHARE, count)
    middle = torch.tensor([-0.32, 0.25, 0.45], device=device) + torch.tensor(
        [0.0, 0.22, 0.12], device=device
    ) * sampler.normal(count, 3)
    gap = torch.tensor([0.05, 0.04, 0.04], device=device) * sampler.normal(count, 2, 3)
    reach[together] = (middle[:, None] + gap)[together]
    return reach, pronation * _DEGREE

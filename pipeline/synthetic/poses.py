"""Poses of a hand: gestures, random fingers, recorded statistics, within the joints' limits.

A pose is 27 angles in radians. For index, middle, ring and pinky in turn: MCP flexion, spread, PIP flexion,
DIP flexion (0-15). Thumb: CMC flexion, palmar abduction, pronation, MCP flexion, IP flexion (16-20). Wrist:
flexion, deviation, twist of the forearm (21-23). Metacarpals of ring and pinky (24, 25), thumb MCP abduction
(26). All zero is the mesh's flat hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.hand_rig import NUM_ANGLES
from pipeline.synthetic.penetration import remove_penetration
from pipeline.synthetic.sampling import Sampler

RECORDED_POSES = Path(__file__).parent / "assets" / "poses" / "recorded.npz"

_DEGREE = math.pi / 180
_LOWER_DEG = 4 * (-25, -18, -5, -8) + (-25, -20, -15, -15, -20) + (-65, -25, -35) + (0, 0, -10)
_UPPER_DEG = 4 * (95, 18, 108, 75) + (40, 48, 40, 65, 80) + (65, 25, 35) + (12, 20, 10)

# Gestures are put together from postures of a finger (degrees: MCP flexion, spread, PIP, DIP) ...
_FINGER_DEG = {
    "straight": (0, 4, 5, 3),
    "spread": (0, 14, 2, 2),
    "closed": (82, 0, 98, 60),
    "hooked": (5, 0, 95, 60),
    "relaxed": (20, 2, 30, 18),
    "bent": (85, 0, 5, 3),  # at the knuckle only
    "claw": (-5, 8, 70, 45),
    "round": (45, 2, 50, 30),
    "back": (-15, 6, 0, 0),
    "loose1": (30, 2, 20, 10),
    "loose2": (35, 2, 25, 14),
    "loose3": (45, 0, 35, 20),
    "loose4": (55, 0, 45, 28),
    "grip": (72, 0, 60, 30),
}
# ... and of the thumb (CMC flexion, palmar abduction, pronation, MCP, IP).
_THUMB_DEG = {
    "out": (-15, 0, 0, 0, 0),
    "up": (-22, -5, 0, -5, -10),
    "folded": (30, 18, 20, 60, 62),  # across the palm
    "over": (4, 30, 12, 61, 61),  # across the bent fingers beside a straight index
    "fist": (-4, 30, 11, 60, 65),  # across the fingers of a fist
    "beside": (-17, 24, 22, 50, 60),  # along the side of a fist
    "pinching": (11, 25, 12, 35, 35),
    "relaxed": (0, 10, 5, 12, 15),
    "opposed": (12, 38, 20, 20, 15),
    "across": (20, 40, 28, 25, 20),
}
_COMMON_GESTURES = (
    "straight straight straight straight out",  # flat hand
    "spread spread spread spread up",  # five
    "closed closed closed closed fist",
    "closed closed closed closed beside",
    "straight closed closed closed over",  # pointing
    "spread spread closed closed over",  # victory
    "closed closed closed closed up",  # thumb up
    "round straight straight straight pinching",  # ok
    "straight straight straight straight folded",  # four
    "relaxed relaxed relaxed relaxed relaxed",
    "round round round round opposed",  # holding a ball
    "grip grip grip grip opposed",  # holding a bar
    "loose1 loose2 loose3 loose4 relaxed",
)
_RARE_GESTURES = (
    "straight straight straight closed folded",
    "straight closed closed straight up",
    "straight closed closed straight over",  # horns
    "closed closed closed straight up",  # shaka
    "closed closed closed straight fist",
    "round round round round relaxed",
    "claw claw claw claw up",
    "hooked hooked hooked hooked out",
    "hooked hooked hooked hooked relaxed",
    "bent bent bent bent out",
    "bent bent bent bent opposed",
    "straight closed closed closed up",  # L
    "straight closed closed closed beside",
    "straight round straight straight opposed",
    "straight straight round straight opposed",
    "straight straight straight round across",
    "round closed closed closed pinching",  # pinch
    "round round closed closed pinching",  # holding a pen
    "grip grip grip grip relaxed",
    "back back back back up",
    "hooked closed closed closed fist",
    "closed straight straight straight folded",
    "straight straight closed closed over",  # two, together
    "straight straight straight straight opposed",
    "straight straight straight closed up",
)

_COMMON_TIMES = 3  # common gestures count as often as this many rare ones
_RECORDED_SHARE = 0.35
_RANDOM_SHARE = 0.4  # of the rest: random fingers rather than gestures
_VARIATION_DEG = 4 * (7, 4, 7, 6) + (5, 5, 4, 6, 7) + 6 * (0,)
_DIP_PER_PIP, _DIP_FREE = 0.9, 0.2  # the last joint bends little beyond what the one before it does
_MAX_PENETRATION_MM = 4.0


def angle_limits(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(27,) lower and (27,) upper limits, radians."""
    limits = torch.tensor([_LOWER_DEG, _UPPER_DEG], device=device) * _DEGREE
    return limits[0], limits[1]


def gesture_angles(device: torch.device | str = "cpu") -> Tensor:
    """(G, 27) radians: the hand-written gestures, common ones several times."""
    rows = []
    for gesture in _COMMON_TIMES * _COMMON_GESTURES + _RARE_GESTURES:
        *fingers, thumb = gesture.split()
        angles = [angle for finger in fingers for angle in _FINGER_DEG[finger]]
        rows.append([*angles, *_THUMB_DEG[thumb], *(0,) * 6])
    return torch.tensor(rows, dtype=torch.float32, device=device) * _DEGREE


def recorded_angles(device: torch.device | str = "cpu") -> Tensor:
    """(R, 27) radians: poses of a real hand, distilled by `pipeline.training.distil_poses`."""
    with np.load(RECORDED_POSES) as archive:
        degrees = archive["angles_deg"]
    return torch.tensor(degrees, dtype=torch.float32, device=device) * _DEGREE


def sample_angles(count: int, sampler: Sampler) -> Tensor:
    """(count, 27) random poses within the limits; fingers may still run into each other."""
    device = sampler.device
    gestures = _mix(gesture_angles(device), count, sampler)
    random = _random_fingers(count, sampler)
    recorded = _mix(recorded_angles(device), count, sampler)
    angles = torch.where(sampler.chance(_RANDOM_SHARE, count, 1), random, gestures)
    angles = torch.where(sampler.chance(_RECORDED_SHARE, count, 1), recorded, angles)
    variation = torch.tensor(_VARIATION_DEG, device=device) * _DEGREE
    angles = angles + variation * sampler.normal(count, NUM_ANGLES) * sampler.uniform(count, 1, high=1.3)
    return _plausible(angles, sampler)


def _mix(poses: Tensor, count: int, sampler: Sampler) -> Tensor:
    """Poses between (and a little beyond) two given ones, some fingers taken from a third."""
    first, second, third = (poses[sampler.integers(len(poses), count)] for _ in range(3))
    share = sampler.uniform(count, 1, low=-0.2, high=1.2).clamp(0, 1)
    other = sampler.chance(0.1, count, 5)
    mask = torch.cat([other[:, :4].repeat_interleave(4, 1), other[:, 4:].repeat(1, 5)], 1)
    mask = torch.nn.functional.pad(mask, (0, NUM_ANGLES - mask.shape[1]))
    return torch.where(mask, third, torch.lerp(first, second, share))


def _random_fingers(count: int, sampler: Sampler) -> Tensor:
    """Each finger curls as the others do, more or less; the thumb anywhere."""
    curl = 0.55 * sampler.uniform(count, 1) + 0.45 * sampler.uniform(count, 4)
    curl = torch.where(sampler.chance(0.2, count, 4), sampler.uniform(count, 4), curl)
    knuckle, middle = (curl + 0.18 * sampler.normal(count, 4) for _ in range(2))
    angles = torch.zeros(count, NUM_ANGLES, device=sampler.device)
    angles[:, 0:16:4] = (-20 + 110 * knuckle) * _DEGREE
    angles[:, 2:16:4] = (-3 + 108 * middle) * _DEGREE
    angles[:, 3:16:4] = 0.6 * angles[:, 2:16:4] + 0.12 * sampler.normal(count, 4)
    lower, upper = angle_limits(sampler.device)
    angles[:, 16:21] = torch.lerp(lower[16:21], upper[16:21], sampler.uniform(count, 5))
    return angles


def _plausible(angles: Tensor, sampler: Sampler) -> Tensor:
    """Couples joints that move together, turns the wrist at random, and keeps the limits."""
    count = len(angles)
    lower, upper = angle_limits(sampler.device)
    flexion, pip = angles[:, 0:16:4], angles[:, 2:16:4]
    spread = angles[:, 1:16:4] + sampler.normal(count, 1, std=6 * _DEGREE)
    angles[:, 1:16:4] = spread * (1 - flexion.clamp(0, 1.2) / 1.4)  # bent fingers cannot spread
    angles[:, 3:16:4] = torch.minimum(angles[:, 3:16:4], _DIP_PER_PIP * pip.clamp(min=0) + _DIP_FREE)
    angles[:, 24] = 0.08 * angles[:, 8].clamp(min=0)
    angles[:, 25] = 0.15 * angles[:, 12].clamp(min=0)
    wrist = torch.tensor((26.0, 10.0, 12.0), device=sampler.device) * _DEGREE
    angles[:, 21:24] = wrist * sampler.normal(count, 3)
    return torch.minimum(torch.maximum(angles, lower), upper)


class PoseBank:
    """A store of poses without self-penetration, made once and drawn from many times.

    Args:
        model: the hand.
        seed: same seed, same poses.
        size: number of poses made; the few whose fingers cannot be parted are left out.
    """

    def __init__(self, model: HandModel, seed: int, size: int = 8192) -> None:
        sampler = Sampler(model.device, seed)
        lower, upper = angle_limits(model.device)
        angles, left = remove_penetration(model, sample_angles(size, sampler), lower, upper)
        self.angles = angles[left < _MAX_PENETRATION_MM]  # (N, 27)

    def draw(self, count: int, sampler: Sampler) -> Tensor:
        """(count, 27) radians: stored poses, each varied by a degree or two."""
        angles = self.angles[sampler.integers(len(self.angles), count)]
        lower, upper = angle_limits(sampler.device)
        angles = angles + sampler.normal(count, NUM_ANGLES, std=1.5 * _DEGREE)
        return torch.minimum(torch.maximum(angles, lower), upper)

"""What people in synthetic videos do with their hands: key frames, and smooth ways between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.synthetic.people import Posture
from pipeline.synthetic.poses import gesture_angles
from pipeline.synthetic.sampling import Sampler

FLAT, FIVE, RELAXED = 0, 1, 9  # rows of `gesture_angles`
_SHOWN = (0, 1, 2, 4, 5, 7, 8, 9)
_MIDLINE = -0.31  # outwards, from a shoulder to the middle of the body, in lengths of the arm


@dataclass(frozen=True)
class Arm:
    """How an arm is held: `Posture.reach`, pronation in degrees, and a row of `gesture_angles`."""

    outwards: float
    down: float
    forward: float
    pronation: float = 40.0
    gesture: int = RELAXED


@dataclass(frozen=True)
class Key:
    """Both arms at a moment.

    Args:
        seconds: after the key before.
        left, right: arms.
        even: whether the hands come here with even speed, rather than gently off and on.
    """

    seconds: float
    left: Arm
    right: Arm
    even: bool = False


class Act:
    """What one person does, over and over: from key to key, and from the last one to the first.

    Args:
        keys: at least one.
        start: seconds into the act at which it begins.
    """

    def __init__(self, keys: Sequence[Key], start: float = 0.0) -> None:
        gestures = gesture_angles()
        rows = [[_row(arm, gestures) for arm in (key.left, key.right)] for key in keys]
        self._keys, self._start = tuple(keys), start
        self._arms = torch.stack([torch.stack(row) for row in rows])  # (K, 2, 31)

    def arms(self, seconds: float) -> Tensor:
        """(2, 31) left and right: reach, pronation in radians, 27 angles of the hand."""
        left = (seconds + self._start) % sum(key.seconds for key in self._keys)
        for k, key in enumerate(self._keys):
            if left < key.seconds:
                share = left / key.seconds
                share = share if key.even else share * share * (3 - 2 * share)
                return torch.lerp(self._arms[k - 1], self._arms[k], share)
            left -= key.seconds
        return self._arms[-1]


def _row(arm: Arm, gestures: Tensor) -> Tensor:
    place = torch.tensor([arm.outwards, arm.down, arm.forward, math.radians(arm.pronation)])
    return torch.cat([place, gestures[arm.gesture]])


def posture(acts: Sequence[Act], seconds: float) -> Posture:
    """Of people who sit, breathe and act, one act each."""
    count = len(acts)
    arms = torch.stack([act.arms(seconds) for act in acts])  # (P, 2, 31)
    breath = 0.01 * math.sin(2 * math.pi * seconds / 4)
    return Posture(
        turn=torch.zeros(count),
        back=torch.tensor([[breath, 0.0, 0.0]]).repeat(count, 1),
        head=torch.zeros(count, 3),
        hips=torch.full((count, 2), math.pi / 2),
        knees=torch.full((count, 2), math.pi / 2),
        spread=torch.full((count, 2), 0.2),
        reach=arms[..., :3],
        elbow=torch.zeros(count, 2),
        pronation=arms[..., 3],
        hand_angles=arms[..., 4:],
    )


# --- Acts --------------------------------------------------------------------------------------------------
_RAISED = Arm(0.1, -0.1, 0.6, 60.0, FIVE)
_HANGING = Arm(0.12, 1.0, 0.05, 20.0)


def _gestures(sampler: Sampler) -> list[Act]:
    """Both hands here and there before the body, in ever other gestures."""

    def arm() -> Arm:
        across, down, forward = (sampler.normal(3) * torch.tensor([0.13, 0.17, 0.1])).tolist()
        gesture = _SHOWN[int(sampler.integers(len(_SHOWN), 1))]
        return Arm(0.1 + across, down, 0.65 + forward, float(sampler.uniform(1, low=20, high=90)), gesture)

    keys = [Key(0.8, arm(), arm()) for _ in range(5)]
    held = [replace(key, seconds=0.5) for key in keys]
    return [Act([key for pair in zip(keys, held, strict=True) for key in pair])]


def _entering(sampler: Sampler) -> list[Act]:
    """Hands come from below and go there, together and one by one."""
    down, left, right, both = (
        (_HANGING, _HANGING),
        (_RAISED, _HANGING),
        (_HANGING, _RAISED),
        (_RAISED, _RAISED),
    )
    moves = [down, left, down, both, right, down, both]
    keys = [Key(seconds, *move) for move in moves for seconds in (0.6, 1.0)]
    return [Act(keys, start=float(sampler.uniform(1, high=8)))]


def _crossing(sampler: Sampler) -> list[Act]:
    """Each hand to the other side and back, one before the other."""
    near, far = 0.75, float(sampler.uniform(1, low=0.4, high=0.55))
    apart = (Arm(0.1, 0.0, near, 60.0, FLAT), Arm(0.1, 0.0, far, 60.0, FIVE))
    crossed = (replace(apart[0], outwards=-0.62), replace(apart[1], outwards=-0.6))
    seconds = float(sampler.uniform(1, low=0.6, high=1.2))
    keys = [Key(seconds, *crossed), Key(0.3, *crossed), Key(seconds, *apart), Key(0.3, *apart)]
    return [Act(keys)]


def _clapping(sampler: Sampler) -> list[Act]:
    gap = float(sampler.uniform(1, low=0.2, high=0.35))
    together = Arm(_MIDLINE + 0.05, 0.1, 0.55, 0.0, FLAT)
    apart = replace(together, outwards=together.outwards + gap)
    return [Act([Key(0.25, apart, apart), Key(0.25, together, together)] * 5 + [Key(1.0, apart, apart)])]


def _resting(sampler: Sampler) -> list[Act]:
    """Hands lie on a table, and leave it now and then."""
    lying = Arm(float(sampler.uniform(1, low=-0.15, high=0.05)), 0.5, 0.6, 88.0, FLAT)
    lifted = replace(lying, down=0.2, gesture=RELAXED)
    moves = [(1.5, lying, lying), (0.6, lifted, lying), (0.6, lying, lying), (1.2, lying, lying)]
    return [Act([Key(*move) for move in [*moves, (0.6, lying, lifted), (0.6, lying, lying)]])]


def _fast(sampler: Sampler) -> list[Act]:
    """Waving with both hands, at up to two metres a second."""
    seconds = float(sampler.uniform(1, low=0.25, high=0.4))
    inside, outside = Arm(-0.1, -0.15, 0.6, 75.0, FIVE), Arm(0.35, -0.15, 0.55, 75.0, FIVE)
    waving = [Key(seconds, outside, inside), Key(seconds, inside, outside)] * 6
    return [Act([*waving, Key(1.0, inside, inside)])]


def _hidden(sampler: Sampler) -> list[Act]:
    """One hand goes behind the other, stays there, and comes back."""
    before = Arm(_MIDLINE, -0.02, 0.8, 70.0, FIVE)
    aside, behind = Arm(0.1, 0.0, 0.45, 60.0, FIVE), Arm(_MIDLINE, 0.0, 0.45, 60.0, FIVE)
    stay = float(sampler.uniform(1, low=0.2, high=0.8))
    keys = [Key(0.7, before, aside), Key(0.6, before, aside), Key(0.7, before, behind)]
    return [Act([*keys, Key(stay, before, behind)])]


def _people(sampler: Sampler) -> list[Act]:
    return [*_gestures(sampler), *_entering(sampler)]


def _steady(sampler: Sampler) -> list[Act]:
    """Held still for two seconds, then from side to side at about a metre a second."""
    start, end = Arm(0.2, -0.05, 0.6, 70.0, FIVE), Arm(-0.3, -0.05, 0.6, 70.0, FIVE)
    sweep = [Key(0.3, end, start, even=True), Key(0.3, start, end, even=True)] * 3
    still = Key(2.0, start, end)
    return [Act([still, *sweep], start=float(sampler.uniform(1, high=0.2)))]


ACTS: dict[str, Callable[[Sampler], list[Act]]] = {
    "gestures": _gestures,
    "entering": _entering,
    "crossing": _crossing,
    "clapping": _clapping,
    "resting": _resting,
    "fast": _fast,
    "hidden": _hidden,
    "people": _people,
    "steady": _steady,
}

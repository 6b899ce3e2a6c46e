"""The demo: a person in a room who shows gestures with both hands, smoothly, endlessly, as a seed says."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.synthetic.bodies import bone_number
from pipeline.synthetic.people import PeopleModel, Posture
from pipeline.synthetic.poses import gesture_angles
from pipeline.synthetic.rooms import Boxes, Room
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix
from pipeline.synthetic.scene_view import Scene, Things
from pipeline.synthetic.things import MUG, VASE

# Rows of `gesture_angles`: flat, five, fist, pointing, victory, thumb up, ok, three, four, relaxed, a ball,
# pinch; those that people show most often stand twice.
_SHOWN = (0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 13, 13, 23, 24)
_HOLD_S, _CHANGE_S = 0.9, 0.7  # a gesture is held, then changes to the next
_APPEARANCE_SEED = 6
_CHEST = (0.02, 0.22, 1.24)  # metres from the camera, where the person's chest is
_WRIST_FLEXION, _WRIST_DEVIATION = 21, 22

# Means, amplitudes and periods (s) of slow swings of the left hand; the right one's are a little longer.
_REACH = ((-0.02, 0.06, 0.66), (0.20, 0.19, 0.13), (7.3, 5.1, 9.7))
_TURNS = ((0.05, 1.15, 0.0, 0.0), (0.25, 0.55, 0.30, 0.15), (6.1, 8.3, 4.3, 5.9))


class Performance:
    """What the person does at any time.

    Args:
        seed: chooses the gestures and where the swings begin.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler = Sampler("cpu", seed)
        self._gestures = gesture_angles()
        self._phase = self._sampler.uniform(2, 7, high=2 * math.pi)
        middle, amplitude, period = (
            torch.tensor([reach + turns] * 2) for reach, turns in zip(_REACH, _TURNS, strict=True)
        )
        self._middle, self._amplitude = middle, amplitude
        self._period = period * torch.tensor([[1.0], [1.13]])

    def posture(self, seconds: float) -> Posture:
        """One person sitting, hands moving before the body."""
        swing = (2 * math.pi * seconds / self._period + self._phase).sin()
        numbers = self._middle + self._amplitude * swing  # (2, 7)
        angles = self._fingers(seconds)
        angles[:, _WRIST_FLEXION], angles[:, _WRIST_DEVIATION] = numbers[:, 5], numbers[:, 6]
        zero = torch.zeros(1, 3)
        return Posture(
            turn=zero[:, 0],
            back=zero,
            head=zero,
            hips=torch.full((1, 2), math.pi / 2),
            knees=torch.full((1, 2), math.pi / 2),
            spread=torch.full((1, 2), 0.2),
            reach=numbers[None, :, :3],
            elbow=numbers[None, :, 3],
            pronation=numbers[None, :, 4],
            hand_angles=angles[None],
        )

    def _fingers(self, seconds: float) -> Tensor:
        """(2, 27) angles of left and right hand; they change by turns."""
        hands = []
        for side in range(2):
            beat = seconds / (_HOLD_S + _CHANGE_S) + 0.5 * side
            number = math.floor(beat)
            into = (beat - number) * (_HOLD_S + _CHANGE_S) - _HOLD_S
            share = min(max(into / _CHANGE_S, 0.0), 1.0)
            share = share * share * (3 - 2 * share)  # gently off and gently on
            hands.append(torch.lerp(self._gesture(side, number), self._gesture(side, number + 1), share))
        return torch.stack(hands)

    def _gesture(self, side: int, number: int) -> Tensor:
        self._sampler.reseed(self._seed, side, number)
        return self._gestures[_SHOWN[int(self._sampler.integers(len(_SHOWN), 1))]]


def stage(people: PeopleModel, posture: Posture) -> Scene:
    """The person sitting in a room, in the given posture."""
    appearance = people.sample_appearance(1, Sampler("cpu", _APPEARANCE_SEED))
    chest = people.pose(appearance, posture).body_joints[:, bone_number("chest")]
    return Scene(
        appearance=appearance,
        posture=posture,
        image=torch.zeros(1, dtype=torch.int64),
        place=torch.tensor([_CHEST]) - chest,
        camera=torch.eye(3)[None],
        room=Room(
            turn=torch.tensor([0.12]),
            low=torch.tensor([[-1.5, -1.5, -1.0]]),
            high=torch.tensor([[1.9, 1.0, 2.35]]),
            albedo=torch.tensor([[0.55, 0.7, 0.6, 0.65, 0.35, 0.75]]),
            furniture=Boxes(
                centre=torch.tensor([[[0.85, -0.35, 2.1], [-0.75, 0.55, 2.0], [0.0, 0.75, 0.62]]]),
                radii=torch.tensor([[[0.35, 0.03, 0.15], [0.3, 0.5, 0.25], [0.7, 0.02, 0.28]]]),
                turn=torch.tensor([[0.12, 0.12, 0.0]]),
                albedo=torch.tensor([[0.4, 0.3, 0.5]]),
                present=torch.ones(1, 3, dtype=torch.bool),
            ),
        ),
        things=Things(
            kind=torch.tensor([[VASE, MUG]]),
            radius=torch.tensor([[0.07, 0.042]]),
            height=torch.tensor([[0.24, 0.1]]),
            handle=torch.tensor([[False, True]]),
            rotation=axis_angle_matrix((0.0, 1.0, 0.0), torch.tensor([[0.0, 0.6]])),
            position=torch.tensor([[[0.85, -0.5, 2.1], [0.3, 0.68, 0.75]]]),
            albedo=torch.tensor([[0.6, 0.9]]),
            present=torch.ones(1, 2, dtype=torch.bool),
        ),
    )

"""A skinned hand with forearm: joint angles and bone sizes to surface and joints, batched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.hand_rig import FOREARM, LEVELS, PALM, load_hand_rig
from pipeline.synthetic.sampling import axis_angle_matrix
from pipeline.synthetic.shapes import HandShape

_WRIST_FLEXION, _WRIST_DEVIATION, _WRIST_TWIST = 21, 22, 23


@dataclass(frozen=True, eq=False)
class Bones:
    """Where the bones are.

    Args:
        rotation: (B, 22, 3, 3) from rest.
        position: (B, 22, 3) metres, where each bone begins.
        tips: (B, 5, 3) metres.
        stretch: (B, 22, 3, 3) symmetric, of each bone at rest: its length and thickness.
    """

    rotation: Tensor
    position: Tensor
    tips: Tensor
    stretch: Tensor

    @property
    def joints(self) -> Tensor:
        """(B, 21, 3) metres in the order of `pipeline.hand.HAND_21`."""
        fingers = self.position[:, 1:FOREARM].unflatten(1, (5, LEVELS))[:, :, 1:]  # (B, 5, 3, 3)
        fingers = torch.cat([fingers, self.tips[:, :, None]], 2).flatten(1, 2)
        return torch.cat([self.position[:, :1], fingers], 1)


@dataclass(frozen=True, eq=False)
class PosedHand:
    """A batch of hands.

    Args:
        vertices: (B, V, 3) metres.
        joints: (B, 21, 3) metres, in the order of `pipeline.hand.HAND_21`.
        bones: where the bones are.
    """

    vertices: Tensor
    joints: Tensor
    bones: Bones


class HandModel:
    """A right hand in its own frame: x to the thumb, y to the fingers, z out of the palm, wrist at 0, metres.

    For a left hand negate x of vertices and joints and use `left_faces`.

    Args:
        device: where the tensors live.

    Attributes:
        faces: (F, 3) int64, counter-clockwise seen from outside.
        left_faces: (F, 3) the same for mirrored vertices.
        face_is_hand: (F,) bool: on the hand, from the wrist's crease to the finger tips; not on the forearm.
        forearm_distance: (V,) metres from the wrist along the forearm, 0 on the hand.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        rig = load_hand_rig()
        self.device = torch.device(device)

        def constant(array: object) -> Tensor:
            tensor = torch.as_tensor(array, device=self.device)
            return tensor.float() if tensor.is_floating_point() else tensor

        self.faces = constant(rig.faces)
        self.left_faces = self.faces.flip(1)
        self.forearm_distance = constant(rig.forearm_distance)
        self.face_is_hand = (self.forearm_distance[self.faces] == 0).sum(1) >= 2
        self._vertices = constant(rig.vertices)
        self._weights = constant(rig.weights)
        self._positions = constant(rig.positions)
        self._directions = constant(rig.directions)
        self._axes = constant(rig.axes)
        self._angle_of_turn = constant(rig.angle_of_turn)
        self._turn_sign = constant(rig.turn_sign)
        # From the begin of each finger bone to the next one's, or to the tip.
        starts = self._positions[1:FOREARM].unflatten(0, (5, LEVELS))
        self._starts = starts[:, 0]
        self._steps = torch.cat([starts, constant(rig.tips)[:, None]], 1).diff(dim=1).flatten(0, 1)  # (20, 3)

    def pose(self, angles: Tensor, shape: HandShape) -> PosedHand:
        """Surface and joints.

        Args:
            angles: (B, 27) radians, see `pipeline.synthetic.poses`.
            shape: sizes of the bones of B hands.
        """
        bones = self.bones(angles, shape)
        return PosedHand(self.skin(bones), bones.joints, bones)

    def bones(self, angles: Tensor, shape: HandShape) -> Bones:
        """Forward kinematics; arguments as those of `pose`. Differentiable."""
        stretch = self._stretch(shape)
        padded = functional.pad(angles, (0, 1))[:, self._angle_of_turn] * self._turn_sign  # (B, 20, 3)
        turns = axis_angle_matrix(self._axes, padded)  # (B, 20, 3, 3, 3)
        turn = (turns[:, :, 0] @ turns[:, :, 1] @ turns[:, :, 2]).unflatten(1, (5, LEVELS))
        step = (stretch[:, 1:FOREARM] @ self._steps[..., None]).unflatten(1, (5, LEVELS))  # (B, 5, 4, 3, 1)

        position = (stretch[:, PALM, None] @ self._starts[..., None])[..., 0]  # (B, 5, 3)
        rotation = turn[:, :, 0]
        rotations, positions = [rotation], [position]
        for level in range(1, LEVELS):
            position = position + (rotation @ step[:, :, level - 1])[..., 0]
            rotation = rotation @ turn[:, :, level]
            rotations.append(rotation)
            positions.append(position)
        tips = position + (rotation @ step[:, :, -1])[..., 0]

        wrist = angles.new_zeros(len(angles), 1, 3)
        palm = torch.eye(3, device=angles.device).expand(len(angles), 1, 3, 3)
        return Bones(
            rotation=torch.cat(
                [palm, torch.stack(rotations, 2).flatten(1, 2), self._forearm_rotation(angles)[:, None]], 1
            ),
            position=torch.cat([wrist, torch.stack(positions, 2).flatten(1, 2), wrist], 1),
            tips=tips,
            stretch=stretch,
        )

    def skin(self, bones: Bones) -> Tensor:
        """(B, V, 3) vertices by linear blend skinning."""
        linear = bones.rotation @ bones.stretch  # (B, 22, 3, 3)
        shift = bones.position - (linear @ self._positions[..., None])[..., 0]
        transforms = torch.cat([linear, shift[..., None]], 3).flatten(2)  # (B, 22, 12)
        blended = (self._weights @ transforms).unflatten(2, (3, 4))  # (B, V, 3, 4)
        return (blended[..., :3] * self._vertices[:, None]).sum(3) + blended[..., 3]

    def _stretch(self, shape: HandShape) -> Tensor:
        along = self._directions[:, :, None] * self._directions[:, None]  # (22, 3, 3)
        across = torch.eye(3, device=self.device) - along
        return shape.length[..., None, None] * along + shape.thickness[..., None, None] * across

    @staticmethod
    def _forearm_rotation(angles: Tensor) -> Tensor:
        """(B, 3, 3): the hand stays, so that the forearm turns the other way."""
        hand = axis_angle_matrix((1.0, 0.0, 0.0), angles[:, _WRIST_FLEXION]) @ axis_angle_matrix(
            (0.0, 0.0, 1.0), angles[:, _WRIST_DEVIATION]
        )
        return hand.transpose(1, 2) @ axis_angle_matrix((0.0, 1.0, 0.0), angles[:, _WRIST_TWIST])

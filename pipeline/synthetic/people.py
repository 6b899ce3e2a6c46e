"""People with articulated hands: what they wear, what they do, and where that puts every vertex and joint."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.bodies import BONES, SIDES, BodyModel, BodyShape, bone_number
from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.hand_rig import FOREARM
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix
from pipeline.synthetic.shapes import HandShape, sample_shapes

_FOREARM_SHOWN_M = 0.05  # of the hand model's own forearm; the rest is the body's
_WRIST_M = 0.006  # added to the body's thin wrists, so that the hand's fit
_BODY_PALM_M = 0.105  # palm of the mean adult body; of the hand model of size 1 it is the same palm
_OUT_OF = {"L": 1.0, "R": -1.0}  # direction away from the body along x
_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
SKIN, SHIRT, TROUSERS, SHOES, HAIR = range(5)  # materials of a body


@dataclass(frozen=True, eq=False)
class Posture:
    """What N people do; every field may be interpolated over time. Angles in radians.

    Args:
        turn: (N,) of the whole body about the vertical, 0 facing a camera in front.
        back: (N, 3) bend forward, twist, sideways, of the back.
        head: (N, 3) the same, of the head against the back.
        hips, knees: (N, 2) flexion, left and right.
        spread: (N, 2) of the thighs outwards.
        reach: (N, 2, 3) from shoulder to wrist in the chest's frame, in lengths of the arm: outwards, down,
            forward.
        elbow: (N, 2) turn of the elbow about the line from shoulder to wrist, 0 is down and a little out.
        pronation: (N, 2) of the forearm, 0 with the thumb up when the elbow is bent before the body.
        hand_angles: (N, 2, 27) see `pipeline.synthetic.poses`.
    """

    turn: Tensor
    back: Tensor
    head: Tensor
    hips: Tensor
    knees: Tensor
    spread: Tensor
    reach: Tensor
    elbow: Tensor
    pronation: Tensor
    hand_angles: Tensor


@dataclass(frozen=True, eq=False)
class Appearance:
    """Who N people are.

    Args:
        dressed: bodies with clothes and hair.
        hand_shape: sizes of 2 N hands: person 0 left, right, person 1 left, ...
        albedo: (N, F) infrared reflectivity of each face of `PeopleModel.faces`.
    """

    dressed: BodyShape
    hand_shape: HandShape
    albedo: Tensor


@dataclass(frozen=True, eq=False)
class PosedPeople:
    """N people around their own pelvis, turned but not placed. Metres.

    Args:
        vertices: (N, V, 3) body, left hand, right hand: see `PeopleModel.faces`.
        hand_joints: (N, 2, 21, 3) left and right hand, in the order of `pipeline.hand.HAND_21`.
        body_joints: (N, bones, 3).
        arm_lengths: (N,) shoulder to wrist.
    """

    vertices: Tensor
    hand_joints: Tensor
    body_joints: Tensor
    arm_lengths: Tensor


class PeopleModel:
    """Bodies with the articulated hands at their wrists.

    Args:
        device: where the tensors live.

    Attributes:
        faces: (F, 3) int64 of body, left hand and right hand together, counter-clockwise from outside.
        face_hand: (F,) int64: 0 on the left hand, 1 on the right hand (from the wrist's crease on), else -1.
        hand_faces: (G, 3) int64 of a right hand alone, without forearm, into its own vertices.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.body = BodyModel(device)
        self.hand = HandModel(device)
        shown = (self.hand.forearm_distance[self.hand.faces] <= _FOREARM_SHOWN_M).all(1)
        is_hand = self.hand.face_is_hand[shown]
        self.hand_faces = self.hand.faces[self.hand.face_is_hand]
        hand_vertices = len(self.hand.forearm_distance)
        first = self.body.num_vertices
        self.faces = torch.cat(
            [
                self.body.faces,
                self.hand.left_faces[shown] + first,
                self.hand.faces[shown] + first + hand_vertices,
            ]
        )
        none = torch.full_like(self.body.faces[:, 0], -1)
        self.face_hand = torch.cat([none, torch.where(is_hand, 0, -1), torch.where(is_hand, 1, -1)])

    def hand_vertices(self, vertices: Tensor, person: Tensor, side: Tensor) -> Tensor:
        """(K, V, 3) vertices of `self.hand` of some hands, from `PosedPeople.vertices`."""
        hands = vertices[:, self.body.num_vertices :].unflatten(1, (2, -1))
        return hands[person, side]

    # --- Appearance ------------------------------------------------------------------------------------

    def sample_appearance(self, count: int, sampler: Sampler) -> Appearance:
        """Random bodies, clothes, hair, hands and their reflectivities."""
        shape = self.body.sample_shape(count, sampler)
        hand_shape = sample_shapes(count, sampler)
        own = hand_shape.length[:, :1]  # the palm's size: replaced by the body's, but for a few percent
        scale = shape.palm_length()[:, None] / _BODY_PALM_M * (1 + sampler.normal(count, 1, std=0.03)) / own
        both = [(part * scale).repeat_interleave(2, 0) for part in (hand_shape.length, hand_shape.thickness)]

        kinds = torch.tensor([0.05, 0.25, 0.55, 0.97], device=self.device)  # sleeves: how far down the arm
        sleeve = kinds[sampler.integers(4, count)] + sampler.normal(count, std=0.02)
        sleeve = torch.where(sampler.chance(0.25, count), 0.97, sleeve)
        material = self._materials(sleeve)  # (N, V)
        thickness = self._thickness(material, sampler)
        vertices = shape.vertices + thickness[..., None] * self.body.normals
        vertices = vertices + self._long_hair(count, sampler)
        dressed = BodyShape(vertices, shape.joints, shape.knuckles)

        albedo = torch.empty(count, 5, device=self.device)
        albedo[:, SKIN] = sampler.uniform(count, low=0.5, high=0.95)
        dark = sampler.chance(0.2, count, 3)
        cloth = sampler.uniform(count, 3, low=0.15, high=0.95)
        albedo[:, SHIRT:HAIR] = torch.where(dark, sampler.uniform(count, 3, low=0.02, high=0.12), cloth)
        albedo[:, HAIR] = sampler.log_uniform(count, low=0.04, high=0.7)
        body_material = material[:, self.body.faces[:, 0]]
        hand_face = self.face_hand[len(self.body.faces) :] >= 0
        arm_material = torch.where(hand_face | (sleeve < 0.9)[:, None], SKIN, SHIRT)
        return Appearance(
            dressed=dressed,
            hand_shape=HandShape(*both),
            albedo=albedo.gather(1, torch.cat([body_material, arm_material], 1)),
        )

    def _materials(self, sleeve: Tensor) -> Tensor:
        """(N, V) material of each vertex."""
        body = self.body
        covered: dict[int, tuple[str, ...]] = {
            SHIRT: ("pelvis", "spine", "chest", "clavicle", "upperarm", "lowerarm", "wrist")
        }
        covered |= {TROUSERS: ("upperleg", "lowerleg"), SHOES: ("foot",)}
        material = torch.full_like(body.vertex_bone, SKIN)
        for number, bones in covered.items():
            members = [k for k, bone in enumerate(BONES) if bone.startswith(bones)]
            material[torch.isin(body.vertex_bone, torch.tensor(members, device=self.device))] = number
        material[body.scalp] = HAIR
        bare = body.sleeve > sleeve[:, None]
        return torch.where(bare & (material == SHIRT), SKIN, material)

    def _thickness(self, material: Tensor, sampler: Sampler) -> Tensor:
        """(N, V) metres of cloth or hair on each vertex, with folds."""
        count = len(material)
        thickness = torch.zeros(count, 5, device=self.device)
        thickness[:, SHIRT] = sampler.log_uniform(count, low=0.003, high=0.03)
        thickness[:, TROUSERS] = sampler.log_uniform(count, low=0.004, high=0.03)
        thickness[:, SHOES] = sampler.uniform(count, low=0.0, high=0.02)
        thickness[:, HAIR] = sampler.log_uniform(count, low=0.004, high=0.06)
        waves = 2 * math.pi / sampler.log_uniform(count, 1, 4, low=0.06, high=0.3)
        phase = self.body.rest @ (sampler.direction(count, 4).transpose(1, 2) * waves)
        folds = (phase + 2 * math.pi * sampler.uniform(count, 1, 4)).sin().mean(2)  # (N, V)
        strength = sampler.uniform(count, 1, high=1.2)
        wrist = _WRIST_M * ((self.body.sleeve - 0.75) / 0.25).clamp(0, 1)
        return wrist + thickness.gather(1, material) * (1 + strength * folds)

    def _long_hair(self, count: int, sampler: Sampler) -> Tensor:
        """(N, V, 3) metres: the lower back of the hair drawn down to the shoulders, for some."""
        body = self.body
        low = body.rest[body.scalp, 1].max()
        weight = ((body.rest[:, 1] - low + 0.12) / 0.12).clamp(0, 1) * body.scalp
        length = torch.where(sampler.chance(0.3, count), sampler.uniform(count, low=0.05, high=0.3), 0.0)
        down = torch.tensor([0.0, 1.0, 0.15], device=self.device)
        return length[:, None, None] * weight[:, None] * down

    # --- Posture ---------------------------------------------------------------------------------------

    def pose(self, appearance: Appearance, posture: Posture) -> PosedPeople:
        """Surface and joints of N people."""
        shape = appearance.dressed
        rotations = self._trunk_and_legs(posture)
        joints = self.body.joints(shape, rotations)
        arm_lengths = torch.zeros(len(joints), device=self.device)
        hand_turns = []
        for side in range(len(SIDES)):
            rotations, frame, length = self._arm(shape, posture, rotations, joints, side)
            hand_turns.append(frame)
            arm_lengths = arm_lengths + length / len(SIDES)
        joints = self.body.joints(shape, rotations)

        angles = posture.hand_angles.flatten(0, 1)
        hands = self.hand.pose(angles, appearance.hand_shape)
        forearm = hands.bones.rotation[:, FOREARM].unflatten(0, (-1, 2))
        parts, hand_joints = [self.body.skin(shape, rotations, joints)], []
        mirror = torch.tensor([-1.0, 1.0, 1.0], device=self.device)
        for side, name in enumerate(SIDES):
            flip = mirror if name == "L" else mirror.abs()
            arm = forearm[:, side] * flip * flip[:, None]  # of the mirrored hand
            turn = hand_turns[side] @ arm.transpose(1, 2)
            wrist = joints[:, None, bone_number(f"wrist.{name}")]
            parts.append((hands.vertices[side::2] * flip) @ turn.transpose(1, 2) + wrist)
            hand_joints.append((hands.joints[side::2] * flip) @ turn.transpose(1, 2) + wrist)
        return PosedPeople(torch.cat(parts, 1), torch.stack(hand_joints, 1), joints, arm_lengths)

    def _trunk_and_legs(self, posture: Posture) -> Tensor:
        """(N, bones, 3, 3), arms as if they were part of the chest."""
        root = axis_angle_matrix(_Y, posture.turn)
        half = _bend(posture.back / 2)
        spine = root @ half
        chest = spine @ half
        neck = chest @ _bend(posture.head / 2)
        rotations = chest[:, None].repeat(1, len(BONES), 1, 1)
        rotations[:, bone_number("pelvis")] = root
        rotations[:, bone_number("spine")] = spine
        rotations[:, bone_number("neck")] = neck
        rotations[:, bone_number("head")] = neck @ _bend(posture.head / 2)
        for side, name in enumerate(SIDES):
            outward = axis_angle_matrix(_Z, -_OUT_OF[name] * posture.spread[:, side])
            thigh = root @ outward @ axis_angle_matrix(_X, -posture.hips[:, side])
            shin = thigh @ axis_angle_matrix(_X, posture.knees[:, side])
            rotations[:, bone_number(f"upperleg.{name}")] = thigh
            rotations[:, bone_number(f"lowerleg.{name}")] = shin
            upright = posture.hips[:, side] - posture.knees[:, side]  # the sole stays level
            rotations[:, bone_number(f"foot.{name}")] = shin @ axis_angle_matrix(_X, upright)
        return rotations

    def _arm(
        self, shape: BodyShape, posture: Posture, rotations: Tensor, joints: Tensor, side: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Two-bone inverse kinematics.

        Returns:
            rotations with this arm's bones set; (N, 3, 3) frame of the forearm at the wrist: its columns are
            the axes of the hand model (mirrored for a left hand); (N,) length of the arm, m.
        """
        name = SIDES[side]
        outward = _OUT_OF[name]
        numbers = [bone_number(f"{limb}.{name}") for limb in ("upperarm", "lowerarm", "wrist")]
        shoulder, elbow, wrist = (shape.joints[:, number] for number in numbers)
        upper, fore = (elbow - shoulder).norm(dim=1), (wrist - elbow).norm(dim=1)
        length = upper + fore

        axes = torch.tensor([outward, 1.0, -1.0], device=self.device)  # outwards, down, forward
        chest = rotations[:, bone_number("chest")]
        wanted = (chest @ (posture.reach[:, side] * axes)[..., None])[..., 0] * length[:, None]
        distance = wanted.norm(dim=1).clamp(min=1e-3)
        line = wanted / distance[:, None]
        distance = torch.minimum(torch.maximum(distance, 0.3 * length), 0.985 * length)
        rest = torch.tensor([0.45 * outward, 1.0, 0.35], device=self.device)
        pole = _perpendicular((chest @ rest[:, None])[..., 0], line)
        pole = (axis_angle_matrix(line, outward * posture.elbow[:, side]) @ pole[..., None])[..., 0]

        cosine = ((upper.square() + distance.square() - fore.square()) / (2 * upper * distance)).clamp(-1, 1)
        sine = (1 - cosine.square()).sqrt()
        arm = cosine[:, None] * line + sine[:, None] * pole  # direction of the upper arm
        forearm = functional.normalize(distance[:, None] * line - upper[:, None] * arm, dim=1)
        hinge = torch.linalg.cross(pole, line)
        rest_arm, rest_forearm = (
            functional.normalize(elbow - shoulder, dim=1),
            functional.normalize(wrist - elbow, dim=1),
        )
        rest_hinge = functional.normalize(torch.linalg.cross(rest_forearm, rest_arm), dim=1)
        rotations = rotations.clone()
        rotations[:, numbers[0]] = _turn_between(rest_arm, rest_hinge, arm, hinge)
        rotations[:, numbers[1]] = _turn_between(rest_forearm, rest_hinge, forearm, hinge)
        rotations[:, numbers[2]] = rotations[:, numbers[1]]

        thumb = torch.linalg.cross(hinge, forearm)
        thumb = (axis_angle_matrix(forearm, outward * posture.pronation[:, side]) @ thumb[..., None])[..., 0]
        across = -outward * thumb  # the hand model's x: to the thumb of a right hand
        return rotations, torch.stack([across, forearm, torch.linalg.cross(across, forearm)], 2), length


def _bend(angles: Tensor) -> Tensor:
    """(N, 3) forward, twist, sideways to (N, 3, 3)."""
    forward, twist, sideways = angles.unbind(1)
    return axis_angle_matrix(_Y, twist) @ axis_angle_matrix(_X, forward) @ axis_angle_matrix(_Z, sideways)


def _perpendicular(vector: Tensor, line: Tensor) -> Tensor:
    """(N, 3) unit vector: the part of `vector` across the unit vector `line`."""
    aside = torch.tensor([1e-3, 0.0, 1e-3], device=line.device)  # so that parallel ones give an answer
    vector = vector + aside
    return functional.normalize(vector - (vector * line).sum(1, keepdim=True) * line, dim=1)


def _turn_between(along: Tensor, across: Tensor, to_along: Tensor, to_across: Tensor) -> Tensor:
    """(N, 3, 3) rotation that takes one pair of perpendicular unit vectors to another."""

    def frame(first: Tensor, second: Tensor) -> Tensor:
        second = _perpendicular(second, first)
        return torch.stack([first, second, torch.linalg.cross(first, second)], 2)

    return frame(to_along, to_across) @ frame(along, across).transpose(1, 2)

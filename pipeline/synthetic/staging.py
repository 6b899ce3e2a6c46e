"""Puts random people, furniture and things before a camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.synthetic.actions import sample_posture
from pipeline.synthetic.bodies import bone_number
from pipeline.synthetic.people import PeopleModel, PosedPeople, Posture
from pipeline.synthetic.poses import PoseBank
from pipeline.synthetic.rooms import (
    Room,
    furnished,
    sample_chairs,
    sample_clutter,
    sample_room,
    sample_tables,
)
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix
from pipeline.synthetic.scene_view import Scene, Things
from pipeline.synthetic.things import LAMP, MUG, PROFILES, sample_sizes

_PEOPLE_SHARES = (0.04, 0.52, 0.19, 0.25)  # of scenes with 0, 1, 2, 3 people
_OWN_VIEW_SHARE = 0.05  # cameras on a person's head, or over the table
_ANCHOR_SHARES = (0.16, 0.16, 0.56, 0.12)  # left hand, right hand, between them, chest
_MIDDLE_MCP = 9


@dataclass(frozen=True, eq=False)
class _Cast:
    """The people of B scenes, P in all.

    Args:
        posed: (P) around their pelvises.
        image: (P,) scene of each.
        leads: (B,) number of the scene's first person; any where nobody is.
        peopled: (B,) bool.
        own_view: (B,) bool: the first person's own view.
    """

    posed: PosedPeople
    image: Tensor
    leads: Tensor
    peopled: Tensor
    own_view: Tensor

    @property
    def first(self) -> Tensor:
        """(P,) bool: the first of the scene."""
        return self.leads[self.image] == torch.arange(len(self.image), device=self.image.device)

    def of_lead(self, values: Tensor, otherwise: Tensor) -> Tensor:
        """(B, ...) the first person's rows of (P, ...), and `otherwise` (B, ...) where nobody is."""
        if not len(values):
            return otherwise
        peopled = self.peopled.view(-1, *(1,) * (values.ndim - 1))
        return torch.where(peopled, values[self.leads.clamp(max=len(values) - 1)], otherwise)


def sample_scene(
    count: int, people: PeopleModel, bank: PoseBank, sampler: Sampler
) -> tuple[Scene, PosedPeople]:
    """`count` random scenes, and their people as `people.pose` gives them."""
    device = sampler.device
    number = sampler.choice(_PEOPLE_SHARES, count)
    image = torch.arange(count, device=device).repeat_interleave(number)
    own_view = sampler.chance(_OWN_VIEW_SHARE, count)
    leads = number.cumsum(0) - number
    appearance = people.sample_appearance(len(image), sampler)
    posture = sample_posture(len(image), bank, sampler)
    is_lead = leads[image] == torch.arange(len(image), device=device)
    posture = _looking_at_own_hands(posture, own_view[image] & is_lead, sampler)
    posed = people.pose(appearance, posture)

    cast = _Cast(posed, image, leads, number > 0, own_view)
    camera = _sample_camera(own_view, sampler)
    place, floor = _sample_places(cast, camera, sampler)
    room, table_top = _sample_room(cast, posture, place, floor, sampler)
    scene = Scene(
        appearance=appearance,
        posture=posture,
        image=image,
        place=place,
        camera=camera,
        room=room,
        things=_sample_things(cast, place, table_top, room, sampler),
    )
    return scene, posed


def _sample_camera(own_view: Tensor, sampler: Sampler) -> Tensor:
    """(B, 3, 3) from the world's frame to the camera's: pitch, and a little roll."""
    count = len(own_view)
    pitch = 0.04 + 0.17 * sampler.normal(count)
    pitch = torch.where(own_view, sampler.uniform(count, low=0.3, high=1.35), pitch)
    roll = torch.where(sampler.chance(0.1, count), 0.3, 0.04) * sampler.normal(count)
    return axis_angle_matrix((0.0, 0.0, 1.0), roll) @ axis_angle_matrix((1.0, 0.0, 0.0), pitch)


def _looking_at_own_hands(posture: Posture, chosen: Tensor, sampler: Sampler) -> Posture:
    """The chosen people (P,) look the way the camera does, and hold their hands where they see them."""
    count, device = len(chosen), sampler.device
    turn = torch.pi + 0.15 * sampler.normal(count)
    middle = torch.tensor([-0.1, 0.4, 0.65], device=device)
    spread = torch.tensor([0.17, 0.2, 0.14], device=device)
    reach = middle + spread * sampler.normal(count, 2, 3)
    head = 0.1 * sampler.normal(count, 3)
    return replace(
        posture,
        turn=torch.where(chosen, turn, posture.turn),
        reach=torch.where(chosen[:, None, None], reach, posture.reach),
        head=torch.where(chosen[:, None], head, posture.head),
    )


def _sample_places(cast: _Cast, camera: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """The first person stands where a hand is well placed in the image, the others near by.

    Returns:
        (P, 3) metres, where the pelvises are; (B,) metres, y of the floor.
    """
    posed, image, count, device = cast.posed, cast.image, len(cast.image), sampler.device
    hands = posed.hand_joints[:, :, _MIDDLE_MCP]
    chest = posed.body_joints[:, bone_number("chest")]
    points = torch.stack([hands[:, 0], hands[:, 1], hands.mean(1), chest], 1)
    picked = sampler.choice(_ANCHOR_SHARES, count)
    anchor = points[torch.arange(count, device=device), picked]
    z = 1.38 * torch.exp((0.34 * sampler.normal(count)).clamp(-1.4, 0.55))
    z = torch.where(sampler.chance(0.08, count), sampler.uniform(count, low=0.3, high=0.7), z)
    slope = torch.stack([0.15 * sampler.normal(count), 0.03 + 0.12 * sampler.normal(count)], 1)
    target = torch.cat([slope, torch.ones_like(slope[:, :1])], 1) * z[:, None]
    place = (camera[image].transpose(1, 2) @ target[..., None])[..., 0] - anchor
    place[:, 2] = place[:, 2].clamp(min=0.55)  # not with the body at the lens

    # A camera at the eyes, or some way before and above them.
    low, high = (torch.tensor(v, device=device) for v in ((-0.15, -0.05, -0.3), (0.15, 0.35, 0.05)))
    own_head = torch.lerp(low, high, sampler.uniform(count, 3))
    from_own_eyes = own_head - posed.body_joints[:, bone_number("head")]
    place = torch.where(cast.own_view[image][:, None], from_own_eyes, place)

    lowest = posed.vertices[..., 1].amax(1)  # y points down
    scenes = len(cast.leads)
    anywhere = sampler.uniform(scenes, low=0.5, high=1.6)
    floor = cast.of_lead(place[:, 1] + lowest, anywhere).clamp(min=0.3)
    lead = cast.of_lead(place, torch.zeros(scenes, 3, device=device))[image]
    side = torch.where(sampler.chance(0.5, count), 1.0, -1.0)
    x = lead[:, 0] + side * sampler.uniform(count, low=0.42, high=0.8)
    back = lead[:, 2] + 0.3 * sampler.normal(count)
    own = cast.own_view[image]
    x = torch.where(own, 0.6 * sampler.normal(count), x)
    back = torch.where(own, sampler.uniform(count, low=0.9, high=2.4), back)
    beside = torch.stack([x, floor[image] - lowest, back.clamp(min=0.8)], 1)
    return torch.where(cast.first[:, None], place, beside), floor


def _sample_room(
    cast: _Cast, posture: Posture, place: Tensor, floor: Tensor, sampler: Sampler
) -> tuple[Room, Tensor]:
    """Rooms around the people, with tables and chairs that suit them.

    Returns:
        the rooms; (B, 3) metres, a place at the table's top.
    """
    scenes, device = len(floor), sampler.device

    def farthest(values: Tensor, start: float) -> Tensor:
        out = torch.full((scenes,), start, device=device)
        return out.scatter_reduce(0, cast.image, values, "amax")

    depth = farthest(place[:, 2] + 0.25, 0.8)
    room = sample_room(floor, depth, farthest(place[:, 0].abs() + 0.3, 0.4), sampler)
    room = furnished(room, sample_clutter(room, depth + 0.15, sampler))

    vertices = cast.posed.hand_joints[..., 1].amax((1, 2)) + 0.012 + place[:, 1]  # the lowest of the hands
    middle = cast.of_lead(place, torch.tensor([0.0, 0.0, 1.2], device=device).expand(scenes, 3))
    own = cast.own_view
    top = cast.of_lead(vertices, sampler.uniform(scenes, low=0.1, high=0.5))
    top = top + sampler.uniform(scenes, low=0.0, high=0.06)
    near_edge = middle[:, 2] - sampler.uniform(scenes, low=0.45, high=1.1)
    near_edge = torch.where(own, sampler.uniform(scenes, low=0.0, high=0.25), near_edge)
    x = middle[:, 0] + 0.25 * sampler.normal(scenes)
    high_enough = (top > 0.06) & (top < floor - 0.3)
    present = high_enough & (sampler.chance(0.35, scenes) | own & sampler.chance(0.5, scenes))
    room = furnished(room, sample_tables(top, near_edge, x, present, sampler))

    sits = cast.of_lead(posture.hips.mean(1) > 0.9, torch.zeros(scenes, dtype=torch.bool, device=device))
    seat = middle + torch.tensor([0.0, 0.11, 0.0], device=device)
    turn = cast.of_lead(posture.turn, torch.zeros(scenes, device=device))
    chair = sits & ~own & sampler.chance(0.8, scenes)
    room = furnished(room, sample_chairs(seat, chair, turn, sampler))
    return room, torch.stack([x, top, near_edge + 0.2], 1)


def _sample_things(cast: _Cast, place: Tensor, table_top: Tensor, room: Room, sampler: Sampler) -> Things:
    """On the table, in a hand, near the camera, and a lamp or ball anywhere."""
    scenes, device = len(table_top), sampler.device
    kind = sampler.integers(LAMP, scenes, 4)
    kind[:, 3] = sampler.integers(len(PROFILES), scenes)
    kind = torch.where(sampler.chance(0.35, scenes, 4), MUG, kind)
    radius, height = (v.view(scenes, 4) for v in sample_sizes(kind.flatten(), sampler))
    rotation = axis_angle_matrix((0.0, 1.0, 0.0), sampler.uniform(scenes, 4, high=2 * torch.pi))
    position = torch.zeros(scenes, 4, 3, device=device)

    position[:, 0] = table_top + torch.tensor([0.3, 0.0, 0.12], device=device) * sampler.normal(scenes, 3)
    position[:, 0, 1] = table_top[:, 1] - height[:, 0] / 2
    tables = room.furniture.present[:, 4]

    # Held: along the knuckles, between palm and finger tips.
    if len(cast.image):
        side = sampler.integers(2, len(cast.image))
        joints = cast.posed.hand_joints[torch.arange(len(side), device=device), side] + place[:, None]
        grip = (joints[:, [5, 9, 13, 17]].mean(1) + joints[:, [8, 12, 16, 4]].mean(1)) / 2
        along = torch.nn.functional.normalize(joints[:, 5] - joints[:, 17], dim=1)
        zero = torch.zeros(scenes, 3, device=device)
        position[:, 1] = cast.of_lead(grip, zero)
        across = torch.linalg.cross(along, torch.tensor([[0.31, 0.24, 0.92]], device=device).expand_as(along))
        across = torch.nn.functional.normalize(across, dim=1)
        frame = torch.stack([across, along, torch.linalg.cross(across, along)], 2)
        rotation[:, 1] = cast.of_lead(frame, torch.eye(3, device=device).expand(scenes, 3, 3))
        radius[:, 1], height[:, 1] = radius[:, 1] * 0.55, height[:, 1] * 0.8

    # Near the camera, on whatever it stands on itself.
    z = sampler.uniform(scenes, low=0.22, high=0.7)
    position[:, 2] = torch.stack([0.3 * z * sampler.normal(scenes), 0.25 * z, z], 1)
    spread = torch.tensor([0.8, 0.4, 0.9], device=device)
    position[:, 3] = table_top + spread * sampler.normal(scenes, 3)
    position[..., 2] = torch.where(position[..., 2] < 0.2, 0.2 + position[..., 2].abs(), position[..., 2])
    chances = torch.tensor([0.0, 0.15, 0.07, 0.35], device=device)
    present = torch.rand(scenes, 4, device=device, generator=sampler.generator) < chances
    present[:, 0] = tables & sampler.chance(0.6, scenes)
    present[:, 1] &= cast.peopled
    return Things(
        kind=kind,
        radius=radius,
        height=height,
        handle=(kind == MUG) & sampler.chance(0.8, scenes, 4),
        rotation=rotation,
        position=position,
        albedo=sampler.uniform(scenes, 4, low=0.1, high=1.0),
        present=present,
    )

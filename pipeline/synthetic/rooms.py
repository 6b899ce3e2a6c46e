"""Rooms: walls, floor and ceiling around the camera, and box-shaped furniture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.synthetic.primitives import Rays
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix

_NEAR_M = 0.1


@dataclass(frozen=True, eq=False)
class Boxes:
    """Furniture of B scenes: K boxes that stand upright, in the world's frame (y down, camera at 0).

    Args:
        centre: (B, K, 3) metres.
        radii: (B, K, 3) half sides, metres.
        turn: (B, K) radians about the vertical.
        albedo: (B, K).
        present: (B, K) bool.
    """

    centre: Tensor
    radii: Tensor
    turn: Tensor
    albedo: Tensor
    present: Tensor


@dataclass(frozen=True, eq=False)
class Room:
    """Rooms of B scenes, in the world's frame (y down, camera at 0).

    Args:
        turn: (B,) radians about the vertical, of the walls.
        low, high: (B, 3) metres, left, ceiling, wall behind the camera; right, floor, wall in front.
        albedo: (B, 6) of the walls at low x, y, z and high x, y, z.
        furniture: what stands there.
    """

    turn: Tensor
    low: Tensor
    high: Tensor
    albedo: Tensor
    furniture: Boxes


def room_surface(room: Room, rays: Rays, camera: Tensor, textured: Sampler | None) -> tuple[Tensor, Tensor]:
    """z (B, H, W) metres of walls and furniture, and their reflectivity.

    Args:
        rays: of the camera's pixels.
        camera: (B, 3, 3) rotation from the world's frame to the camera's.
        textured: draws uneven walls; None leaves them plain.
    """
    z, albedo = _walls(room, rays, camera)
    if textured is not None:
        count, height, width = z.shape
        uneven = textured.uniform(count, 1, 1, high=0.25) * textured.smooth_field(count, height, width, 20)
        albedo = albedo * (1 + uneven).clamp(min=0.3)
    _add_boxes(z, albedo, room.furniture, rays, camera)
    return z, albedo


def _walls(room: Room, rays: Rays, camera: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays from inside a box leave it, and which reflectivity is there."""
    axes = camera @ axis_angle_matrix((0.0, 1.0, 0.0), room.turn)  # columns: the room's axes
    shape = (len(camera), rays.y.shape[1], rays.x.shape[1])
    z = torch.full(shape, torch.inf, device=camera.device)
    albedo = torch.zeros(shape, device=camera.device)
    for axis in range(3):
        per_slope = 1 / rays.dot(axes[:, :, axis])
        forward = per_slope > 0
        wall = torch.where(forward, room.high[:, axis, None, None], room.low[:, axis, None, None])
        reached = wall.mul_(per_slope)
        tone = torch.where(forward, room.albedo[:, 3 + axis, None, None], room.albedo[:, axis, None, None])
        albedo = torch.where(reached < z, tone, albedo)
        z = torch.minimum(z, reached)
    return z, albedo


def _add_boxes(z: Tensor, albedo: Tensor, boxes: Boxes, rays: Rays, camera: Tensor) -> None:
    """Draws boxes into z and albedo (B, H, W), in place; only the pixels around each are looked at."""
    image, number = boxes.present.nonzero(as_tuple=True)  # (M,)
    turn = camera[image] @ axis_angle_matrix((0.0, 1.0, 0.0), boxes.turn[image, number])
    centre = (camera[image] @ boxes.centre[image, number, :, None])[..., 0]
    radii = boxes.radii[image, number]
    signs = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0], device=z.device),) * 3)
    corners = centre[:, None] + (radii[:, None] * signs) @ turn.transpose(1, 2)  # (M, 8, 3)
    slopes = corners[..., :2] / corners[..., 2:]
    beside = (corners[..., 2] < _NEAR_M).any(1)[:, None]  # reaches behind the camera: may be anywhere
    low = torch.where(beside, -torch.inf, slopes.amin(1))
    high = torch.where(beside, torch.inf, slopes.amax(1))
    columns = (rays.x[image] >= low[:, :1]) & (rays.x[image] <= high[:, :1])
    rows = (rays.y[image] >= low[:, 1:]) & (rays.y[image] <= high[:, 1:])
    box, row, column = (rows[:, :, None] & columns[:, None]).nonzero(as_tuple=True)  # (N,)

    x, y = rays.x[image[box], column], rays.y[image[box], row]
    start = (turn.transpose(1, 2) @ centre[..., None])[..., 0]  # the box as seen along its own axes
    enter, leave = torch.full_like(x, _NEAR_M), torch.full_like(x, torch.inf)
    for axis in range(3):
        a, b, c, middle, reach = torch.cat([turn[:, :, axis], start[:, axis, None], radii[:, axis, None]], 1)[
            box
        ].unbind(1)
        slope = a * x + b * y + c
        per_slope = 1 / torch.where(slope == 0, 1e-12, slope)
        middle, reach = middle * per_slope, reach * per_slope.abs()
        enter, leave = torch.maximum(enter, middle - reach), torch.minimum(leave, middle + reach)
    hit = ((enter <= leave) & (enter > _NEAR_M)).nonzero().squeeze(1)
    pixel = ((image[box] * z.shape[1] + row) * z.shape[2] + column)[hit]
    enter, tone = enter[hit], boxes.albedo[image, number][box[hit]]
    flat = z.view(-1)
    flat.scatter_reduce_(0, pixel, enter, "amin")
    front = enter == flat[pixel]
    albedo.view(-1)[pixel[front]] = tone[front]


def sample_room(floor: Tensor, depth: Tensor, width: Tensor, sampler: Sampler) -> Room:
    """Random empty rooms without furniture.

    Args:
        floor: (B,) metres, y of the floor.
        depth: (B,) metres, z that the wall in front must lie behind.
        width: (B,) metres to both sides of the camera that must be free.
    """
    count = len(floor)
    beyond = torch.where(
        sampler.chance(0.3, count),
        sampler.uniform(count, low=0.05, high=0.4),
        sampler.log_uniform(count, low=0.4, high=4.0),
    )
    left, right = (width + sampler.log_uniform(count, low=0.15, high=4.0) for _ in range(2))
    ceiling = torch.minimum(floor - sampler.uniform(count, low=2.3, high=3.2), torch.full_like(floor, -0.4))
    low = torch.stack([-left, ceiling, torch.full_like(floor, -1.5)], 1)
    high = torch.stack([right, floor, depth + beyond], 1)
    turn = torch.where(sampler.chance(0.5, count), 0.12, 0.5) * sampler.normal(count)
    albedo = sampler.uniform(count, 6, low=0.25, high=0.95)
    none = torch.zeros(count, 0, device=sampler.device)
    empty = Boxes(
        none[..., None].expand(-1, -1, 3), none[..., None].expand(-1, -1, 3), none, none, none.bool()
    )
    return Room(turn.clamp(-0.8, 0.8), low, high, albedo, empty)


def furnished(room: Room, more: Boxes) -> Room:
    """The same rooms with these boxes too."""
    old = room.furniture
    both = Boxes(
        torch.cat([old.centre, more.centre], 1),
        torch.cat([old.radii, more.radii], 1),
        torch.cat([old.turn, more.turn], 1),
        torch.cat([old.albedo, more.albedo], 1),
        torch.cat([old.present, more.present], 1),
    )
    return replace(room, furniture=both)


def sample_tables(top: Tensor, near_edge: Tensor, x: Tensor, present: Tensor, sampler: Sampler) -> Boxes:
    """One table a scene.

    Args:
        top: (B,) metres, y of the table's top.
        near_edge: (B,) metres, z of its edge at the camera's side.
        x: (B,) metres, of its middle.
        present: (B,) bool.
    """
    count = len(top)
    radii = torch.stack(
        [
            sampler.uniform(count, low=0.35, high=1.0),
            sampler.uniform(count, low=0.01, high=0.03),
            sampler.uniform(count, low=0.25, high=0.6),
        ],
        1,
    )
    centre = torch.stack([x, top + radii[:, 1], near_edge + radii[:, 2]], 1)
    turn = 0.2 * sampler.normal(count)
    albedo = sampler.uniform(count, low=0.1, high=0.95)
    return Boxes(centre[:, None], radii[:, None], turn[:, None], albedo[:, None], present[:, None])


def sample_chairs(seat: Tensor, present: Tensor, turn: Tensor, sampler: Sampler) -> Boxes:
    """Seat and back of one chair a scene.

    Args:
        seat: (B, 3) metres, the middle of who sits there, at the height of the seat.
        present: (B,) bool.
        turn: (B,) of who sits there.
    """
    count = len(seat)
    half = sampler.uniform(count, low=0.2, high=0.45)
    thick = sampler.uniform(count, low=0.02, high=0.07)
    tall = sampler.uniform(count, low=0.2, high=0.5)
    deep = torch.full_like(half, 0.22)
    centre = torch.stack([seat[:, 0], seat[:, 1] + thick, seat[:, 2]], 1)
    back = torch.stack([torch.zeros_like(half), -tall, torch.full_like(half, 0.27)], 1)
    back = (axis_angle_matrix((0.0, 1.0, 0.0), turn) @ back[..., None])[..., 0] + seat
    return Boxes(
        centre=torch.stack([centre, back], 1),
        radii=torch.stack([torch.stack([half, thick, deep], 1), torch.stack([half, tall, thick], 1)], 1),
        turn=turn[:, None].expand(-1, 2),
        albedo=sampler.uniform(count, 1, low=0.05, high=0.9).expand(-1, 2),
        present=present[:, None] & torch.stack([present, sampler.chance(0.75, count)], 1),
    )


def sample_clutter(room: Room, clear: Tensor, sampler: Sampler, count: int = 3) -> Boxes:
    """Cupboards, shelves, screens and the like behind `clear`, and sometimes something near the camera.

    Args:
        clear: (B,) metres: depth behind which most of the furniture stands.
        count: boxes a scene, beside the near one.
    """
    scenes = len(clear)
    floor = room.high[:, None, 1]
    radii = torch.stack(
        [
            sampler.log_uniform(scenes, count, low=0.06, high=0.9),
            sampler.log_uniform(scenes, count, low=0.06, high=1.0),
            sampler.log_uniform(scenes, count, low=0.03, high=0.4),
        ],
        2,
    )
    reach = (room.high[:, None, 2] - clear[:, None]).clamp(min=0.1)
    z = clear[:, None] + sampler.uniform(scenes, count) * reach
    x = 0.6 * z * sampler.normal(scenes, count)
    raised = torch.where(
        sampler.chance(0.45, scenes, count), sampler.uniform(scenes, count, low=0.2, high=2.0), 0.0
    )
    centre = torch.stack([x, floor - radii[..., 1] - raised, z + radii[..., 2]], 2)
    far = Boxes(
        centre=centre,
        radii=radii,
        turn=room.turn[:, None] + 0.3 * sampler.normal(scenes, count),
        albedo=sampler.uniform(scenes, count, low=0.05, high=0.95),
        present=sampler.chance(0.6, scenes, count),
    )
    # A sofa's back, a screen, a box: low in the picture, before the people.
    near_radii = torch.stack(
        [
            sampler.uniform(scenes, 1, low=0.1, high=0.5),
            sampler.uniform(scenes, 1, low=0.1, high=0.3),
            sampler.uniform(scenes, 1, low=0.02, high=0.15),
        ],
        2,
    )
    z = sampler.uniform(scenes, 1, low=0.35, high=1.0)
    top = z * sampler.uniform(scenes, 1, low=0.28, high=0.5)
    near_centre = torch.stack(
        [0.4 * z * sampler.normal(scenes, 1), top + near_radii[..., 1], z + near_radii[..., 2]], 2
    )
    near = Boxes(
        centre=near_centre,
        radii=near_radii,
        turn=0.3 * sampler.normal(scenes, 1),
        albedo=sampler.uniform(scenes, 1, low=0.05, high=0.95),
        present=sampler.chance(0.12, scenes, 1),
    )
    both = furnished(replace(room, furniture=far), near)
    return both.furniture

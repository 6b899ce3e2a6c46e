"""Crops around hands of whole people in rooms, and around places where no hand is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.synthetic.bodies import PARENTS, bone_number
from pipeline.synthetic.crops import DEPTH_RANGE_MM, FOCAL_PX, enlarged
from pipeline.synthetic.people import PosedPeople
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.scene_view import Scene, View, measure
from pipeline.synthetic.scenes import POSE_SEED, pose_bank, scene_renderer
from pipeline.synthetic.staging import sample_scene

_HAND_SHARE = 0.55  # of the crops that are centred on a hand
_BODY_SHARE = 0.65  # of the others that are centred on a person, not on the room
_HEAD_SHARE = 0.3  # of these that are centred on a head: a part of a face is as large as a fist
_HEAD_REACH = 2.0  # a head ends so many necks above the neck's end
_NEAREST_M = 0.25
_FEWEST_PX = 16
_BEHIND_M = 0.011  # joints lie so far behind the surface, as `pipeline.constants.FLESH_MM`
_FLESH_M = 0.022  # the surface lies at most this far before a visible joint
_AWAY_M = 0.14  # a crop whose middle is further from every hand shows none
_SEEN = 0.4  # share of the joints: if fewer are seen it cannot be told whether a hand is there
_LEAST_MEASURED = 0.02  # share of the pixels, or there is nothing to tell


@dataclass(frozen=True, eq=False)
class SceneCropBatch:
    """Crops of right hands, and of none.

    Args:
        images: (N, 1, S, S) as those of `CropBatch`; crops of left hands are mirrored.
        joints: (N, 21, 3) as those of `CropBatch`; zero where no hand is.
        present: (N,) int64: 1 a hand is in the middle, 0 none, -1 it cannot be told.
    """

    images: Tensor
    joints: Tensor
    present: Tensor


@dataclass(frozen=True, eq=False)
class _Aim:
    """What N crops look at, in the camera's frame.

    Args:
        point: (N, 3) m, the middle.
        hand: (N,) int64: 2 * person + side, or -1.
        joints: (N, 21, 3) m of that hand.
        away: (N,) m from the point to the nearest hand's middle.
    """

    point: Tensor
    hand: Tensor
    joints: Tensor
    away: Tensor


class SceneCropGenerator:
    """Endless crops out of random scenes, one of each.

    Args:
        device: where they are made.
        size: side of the crops, px.
        crop_mm: their metric side.
        poses: different poses of hands, made once for each device.
        pose_seed: of these poses; another one gives others.
    """

    def __init__(
        self,
        device: torch.device | str,
        size: int = 128,
        crop_mm: float = 260.0,
        poses: int = 4096,
        pose_seed: int = POSE_SEED,
    ) -> None:
        self.device, self.size, self.crop_mm = torch.device(device), size, crop_mm
        self._renderer = scene_renderer(self.device)
        self._bank = pose_bank(self.device, poses, pose_seed)

    @torch.no_grad()
    def batch(self, count: int, seed: int) -> SceneCropBatch:
        """`count` crops: the same seed, device and count give the same ones."""
        sampler = Sampler(self.device, seed)
        scene, posed = sample_scene(count, self._renderer.people, self._bank, sampler)
        aim = _aimed(scene, posed, sampler)
        view, cells = self._view(aim, sampler)
        surface, _ = self._renderer.surface(scene, posed, view, textured=sampler)
        centre = self._centre(aim, surface.z, cells) + sampler.normal(count, std=0.012)
        depth, _ = measure(surface, view, sampler)
        depth = enlarged(depth, cells, self.size)
        relative = (depth - 1000 * centre[:, None, None]) / DEPTH_RANGE_MM
        images = torch.where(depth > 0, relative.clamp(-1, 1), 1.0)

        grid = view.project(aim.joints, torch.arange(count, device=self.device))
        seen = self._seen(grid, surface.z, cells)
        known = aim.hand >= 0
        present = torch.where(seen >= _SEEN, 1, -1)
        present = torch.where(known, present, torch.where(aim.away > _AWAY_M, 0, -1))
        present = torch.where((depth > 0).float().mean((1, 2)) > _LEAST_MEASURED, present, -1)

        scale = (self.size / cells)[:, None, None]
        place = (grid[..., :2] + 0.5) * scale - 0.5
        behind = (grid[..., 2:] - centre[:, None, None]) * (1000 * self.size / self.crop_mm)
        left = known & (aim.hand % 2 == 0)
        images = torch.where(left[:, None, None], images.flip(2), images)
        place[..., 0] = torch.where(left[:, None], self.size - 1 - place[..., 0], place[..., 0])
        joints = torch.where(known[:, None, None], torch.cat([place, behind], 2), 0.0)
        return SceneCropBatch(images[:, None], joints, present)

    def _view(self, aim: _Aim, sampler: Sampler) -> tuple[View, Tensor]:
        """Cameras that see the crops alone, and (N,) how many of their pixels a crop's side has."""
        count, device = len(aim.point), self.device
        z = aim.point[:, 2]
        side = FOCAL_PX * self.crop_mm / 1000 / z * (1 + 0.1 * sampler.normal(count)).clamp(0.75, 1.4)
        cells = side.round().clamp(_FEWEST_PX, self.size)
        focal = FOCAL_PX * cells / side
        off = (0.035 * sampler.normal(count, 2)).clamp(-0.1, 0.1) * cells[:, None]
        slope = aim.point[:, :2] / z[:, None]
        principal = (cells - 1)[:, None] / 2 - focal[:, None] * slope + off
        structured = sampler.chance(0.3, count)
        no = torch.zeros(count, dtype=torch.bool, device=device)
        view = View(
            width=self.size,
            height=self.size,
            fx=focal,
            fy=focal,
            cx=principal[:, 0],
            cy=principal[:, 1],
            hexagon=no,
            structured=structured,
            infrared=no,
            reach=torch.maximum(sampler.log_uniform(count, low=1.2, high=6.0), z + 0.1),
            gain=torch.full((count,), 1000.0, device=device),
        )
        return view, cells

    def _centre(self, aim: _Aim, z: Tensor, cells: Tensor) -> Tensor:
        """(N,) m: a hand's median depth; elsewhere that of a hand whose surface is the one amid the crop."""
        middle = (cells / 2).long()
        surface = z[torch.arange(len(z), device=z.device), middle, middle] + _BEHIND_M
        on_surface = (aim.hand < 0) & torch.isfinite(surface)
        return torch.where(on_surface, surface, aim.point[:, 2])

    def _seen(self, grid: Tensor, z: Tensor, cells: Tensor) -> Tensor:
        """(N,) share of the joints that are in the crop and behind nothing."""
        place = grid[..., :2].round().long()
        inside = ((place >= 0) & (place < cells[:, None, None])).all(2)
        column, row = place.clamp(0, self.size - 1).unbind(2)
        image = torch.arange(len(z), device=z.device)[:, None]
        return (inside & (z[image, row, column] > grid[..., 2] - _FLESH_M)).float().mean(1)


def _aimed(scene: Scene, posed: PosedPeople, sampler: Sampler) -> _Aim:
    """A hand of each scene, a part of a body, or any place in the room."""
    count, people, device = len(scene), len(scene.image), sampler.device
    z = sampler.log_uniform(count, low=0.4, high=3.0)
    slope = torch.stack([0.45 * sampler.normal(count), 0.35 * sampler.normal(count)], 1)
    point = torch.cat([slope, torch.ones_like(slope[:, :1])], 1) * z[:, None]
    hand = torch.full((count,), -1, dtype=torch.int64, device=device)
    joints = torch.ones(count, 21, 3, device=device)
    away = torch.full((count,), torch.inf, device=device)
    if not people:
        return _Aim(point, hand, joints, away)

    def seen(points: Tensor) -> Tensor:
        """(P, K, 3) around the people's pelvises to the camera's frame."""
        return (points + scene.place[:, None]) @ scene.camera[scene.image].transpose(1, 2)

    hands = seen(posed.hand_joints.flatten(1, 2)).unflatten(1, (2, -1))  # (P, 2, 21, 3)
    bones = seen(posed.body_joints)
    person, peopled = _someone(scene.image, count, sampler)
    side = sampler.integers(2, count)
    picked = hands[person, side]
    wanted = sampler.chance(_HAND_SHARE, count) & peopled & (picked[..., 2].amin(1) > _NEAREST_M)

    on_head = sampler.chance(_HEAD_SHARE, count)
    bone = torch.where(on_head, bone_number("head"), sampler.integers(len(PARENTS), count))
    parent = torch.tensor(PARENTS, device=device).clamp(min=0)[bone]
    along = sampler.uniform(count, 1) * torch.where(on_head, 1 + _HEAD_REACH, 1.0)[:, None]
    on_bone = torch.lerp(bones[person, parent], bones[person, bone], along)
    on_bone = on_bone + 0.04 * sampler.normal(count, 3)
    on_body = sampler.chance(_BODY_SHARE, count) & peopled & (on_bone[:, 2] > _NEAREST_M)
    point = torch.where(on_body[:, None], on_bone, point)
    middle = torch.cat([_middle(picked), picked[..., 2:].median(1).values], 1)
    point = torch.where(wanted[:, None], middle, point)

    centres = hands.mean(2)  # (P, 2, 3)
    distance = (centres - point[scene.image][:, None]).norm(dim=2).amin(1)
    away = away.scatter_reduce(0, scene.image, distance, "amin")
    return _Aim(
        point,
        torch.where(wanted, 2 * person + side, -1),
        torch.where(wanted[:, None, None], picked, joints),
        away,
    )


def _middle(joints: Tensor) -> Tensor:
    """(N, 2) m: the middle of the joints' box in the image, at their median depth."""
    slope = joints[..., :2] / joints[..., 2:]
    return (slope.amin(1) + slope.amax(1)) / 2 * joints[..., 2:].median(1).values


def _someone(image: Tensor, count: int, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """(N,) number of one of the people of each image, and whether there is one."""
    number = image.bincount(minlength=count)
    first = number.cumsum(0) - number
    chosen = first + (sampler.uniform(count) * number).long().clamp(max=(number - 1).clamp(min=0))
    return chosen.clamp(max=len(image) - 1), number > 0

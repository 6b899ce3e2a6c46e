"""Scripted hands for tests of tracking: what the detector and the joint network would say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.frame import Frame
from pipeline.hand import HAND_21, Detection, Hand, Handedness, centre_of
from pipeline.sight import Look, Sighting
from pipeline.tracking import Tracker
from tests.scripted import CAMERA, open_hand

WALL_MM = 2500
Path3D = Callable[[int], tuple[float, float, float] | None]


def hand_at(*place: float) -> NDArray[np.float64]:
    """(21, 3) mm of an open hand whose centre is at (x, y, z) mm."""
    return open_hand((place[0], place[1], place[2])).joints_xyz.astype(np.float64)


@dataclass
class Actor:
    """A hand that is somewhere (mm) at a frame, or nowhere."""

    where: Path3D
    side: Handedness = "right"
    detected_as: Callable[[int], Handedness | None] | None = None
    overlooked: Callable[[int], bool] = lambda _: False
    hallucinated: bool = False  # the joint network is as sure without the hand
    presence: Callable[[int], float | None] = lambda _: None

    def joints(self, index: int) -> NDArray[np.float64] | None:
        place = self.where(index)
        return None if place is None else hand_at(*place)


@dataclass(frozen=True)
class ScriptedReading:
    uvd: NDArray[np.float64]
    doubt_mm: float
    roll: float = 0.0
    side_log_odds: float | None = None
    presence_log_odds: float | None = None

    @property
    def confidence(self) -> NDArray[np.float32]:
        return np.full(21, 1 / (1 + (self.doubt_mm / 20) ** 2), np.float32)


@dataclass
class ScriptedEyes:
    """Knows where all actors are; the network reads the nearest one, surer of it on its own side."""

    actors: Sequence[Actor]
    order: Sequence[int] | None = None  # in which detections are listed
    one_sided: bool = True
    tells_side: bool = False
    told: float = 6.0  # log-odds of the side, where the network tells it
    mirrors_tell: bool = True  # whether it is surer of a hand's own side
    looks: list[tuple[int, bool]] = field(default_factory=list)  # frame, whether the detector ran
    read_sides: list[int] = field(default_factory=list)  # how many looks each frame took

    def frame(self, index: int, stamp_us: int | None = None) -> Frame:
        depth = np.full((CAMERA.height, CAMERA.width), WALL_MM, np.uint16)
        for actor in self.actors:
            joints = actor.joints(index)
            if joints is None:
                continue
            for u, v, z in CAMERA.project(joints).round().astype(int):
                part = depth[max(v - 4, 0) : max(v + 5, 0), max(u - 4, 0) : max(u + 5, 0)]
                np.minimum(part, np.uint16(z), out=part)
        return Frame(depth, None, CAMERA, 33_333 * index if stamp_us is None else stamp_us, index)

    def see(self, frame: Frame) -> list[Sighting]:
        self.looks.append((frame.index, True))
        found = []
        for k in self.order or range(len(self.actors)):
            actor = self.actors[k]
            joints = actor.joints(frame.index)
            if joints is None or actor.overlooked(frame.index):
                continue
            uvd = CAMERA.project(joints)
            box = np.concatenate([uvd[:, :2].min(axis=0), uvd[:, :2].max(axis=0)]).astype(np.float32)
            if (box[2:] < 0).any() or (box[:2] > (CAMERA.width, CAMERA.height)).any():
                continue
            side = actor.side if actor.detected_as is None else actor.detected_as(frame.index)
            found.append(Sighting(Detection(box, 0.9, side), centre_of(uvd)))
        return found

    def read(self, frame: Frame, looks: Sequence[Look]) -> list[ScriptedReading | None]:
        self.read_sides.append(len(looks))
        return [self._read(frame.index, look) for look in looks]

    def _read(self, index: int, look: Look) -> ScriptedReading:
        place = CAMERA.unproject(look.centre)
        nearest, best = None, 130.0
        for actor in self.actors:
            joints = actor.joints(index)
            if joints is not None:
                distance = float(np.linalg.norm(CAMERA.unproject(centre_of(CAMERA.project(joints))) - place))
                if distance < best:
                    nearest, best = (actor, joints), distance
        if nearest is None:
            invents = any(actor.hallucinated for actor in self.actors)
            shift = place - CAMERA.unproject(centre_of(CAMERA.project(hand_at(*place))))
            return ScriptedReading(CAMERA.project(hand_at(*(place + shift))), 5.0 if invents else 40.0)
        actor, joints = nearest
        true_side = look.side in (actor.side, None)
        told = {"right": self.told, "left": -self.told}[actor.side] if self.tells_side else None
        doubt_mm = 5.0 if true_side or not self.mirrors_tell else 9.0
        presence = actor.presence(index)
        return ScriptedReading(
            CAMERA.project(joints), doubt_mm, side_log_odds=told, presence_log_odds=presence
        )


def play(eyes: ScriptedEyes, frames: int, **options: int) -> list[list[Hand]]:
    tracker = Tracker(HAND_21, **options)
    return [tracker(eyes.frame(k), eyes, smooth=False) for k in range(frames)]


def still(x: float, z: float = 700.0) -> Path3D:
    return lambda _: (x, 0.0, z)


def ids_by_actor(eyes: ScriptedEyes, frames: Sequence[Sequence[Hand]]) -> list[list[int | None]]:
    """For each frame and actor the id of the hand at its place."""
    found = []
    for k, hands in enumerate(frames):
        row: list[int | None] = []
        for actor in eyes.actors:
            joints = actor.joints(k)
            near = [
                hand.id
                for hand in hands
                if joints is not None and np.linalg.norm(hand.joints_xyz - joints, axis=1).mean() < 20
            ]
            row.append(near[0] if near else None)
        found.append(row)
    return found

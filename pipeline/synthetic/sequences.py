"""Rendered videos of acting people with the truth about their hands: what tracking is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.frame import RENDERED_CAMERA, Frame
from pipeline.hand import Handedness
from pipeline.synthetic.acts import ACTS, posture
from pipeline.synthetic.bodies import bone_number
from pipeline.synthetic.people import Posture
from pipeline.synthetic.rooms import furnished, room_surface, sample_clutter, sample_room, sample_tables
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix
from pipeline.synthetic.scene_view import Scene, Things, View
from pipeline.synthetic.scenes import scene_renderer
from pipeline.synthetic.steady_sensor import steady_tof
from pipeline.synthetic.surroundings import Surface
from pipeline.synthetic.things import BOTTLE

FPS = 30
_GAIN = 1400.0  # infrared brightness of a white surface at one metre
_UNDER_SKIN_M = 0.012  # from the lowest joint of a hand that lies on a table to the table
_SIDES: tuple[Handedness, ...] = ("left", "right")


@dataclass(frozen=True, eq=False)
class TrueHand:
    """A hand of which a pixel shows.

    Args:
        owner: number of the hand in its video, the same in all frames.
        handedness: of the person.
        visible: share of its outline that shows.
        box: (4,) px around what shows.
        joints_xyz: (21, 3) mm in the camera's frame.
    """

    owner: int
    handedness: Handedness
    visible: float
    box: NDArray[np.float32]
    joints_xyz: NDArray[np.float64]


class HandSequence:
    """A video of one scene.

    Args:
        kind: of `acts.ACTS`.
        seed: same kind and seed, same video.
        frames: length.
    """

    def __init__(self, kind: str, seed: int, frames: int) -> None:
        self.kind, self._frames = kind, frames
        device = torch.device("cpu")
        self._renderer = scene_renderer(device)
        self._sampler = Sampler(device, seed)
        self._acts = ACTS[kind](self._sampler)
        self._view = View.azure_kinect(RENDERED_CAMERA)
        self._seen = self._view.seen()[0]
        self._scene = self._stage(posture(self._acts, 0.0))
        z, albedo = room_surface(self._scene.room, self._view.rays, self._scene.camera, self._sampler)
        self._empty = Surface(z, albedo)
        self._renderer.add_things(self._empty, self._scene, self._view)
        rays = self._view.rays
        self._falloff = (1 / (1 + 0.6 * (rays.across.square() + rays.down.square())))[0]

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[tuple[Frame, list[TrueHand]]]:
        for index in range(self._frames):
            yield self.frame(index)

    def frame(self, index: int) -> tuple[Frame, list[TrueHand]]:
        """Frame number `index`, and its hands."""
        people, view = self._renderer.people, self._view
        scene = replace(self._scene, posture=posture(self._acts, index / FPS))
        posed = people.pose(scene.appearance, scene.posture)
        surface = Surface(self._empty.z.clone(), self._empty.albedo.clone())
        hand = self._renderer.add_people(surface, scene, posed, view)
        albedo = surface.albedo[0] * self._falloff
        images = steady_tof(surface.z[0], albedo, RENDERED_CAMERA.fx, _GAIN, self._sampler)
        depth, ir = (torch.where(self._seen, image, 0.0).numpy().astype(np.uint16) for image in images)
        frame = Frame(depth, ir, RENDERED_CAMERA, timestamp_us=index * 1_000_000 // FPS, index=index)

        hand = torch.where(self._seen, hand, -1)
        labels = self._renderer.labels(scene, posed, hand, view)
        owners = hand[hand >= 0].unique().tolist()  # labels are in this order
        place = scene.place[:, None]
        joints = 1000 * (posed.hand_joints + place[:, None]).flatten(0, 1).double().numpy()
        truth = [
            TrueHand(
                owner=owner,
                handedness=_SIDES[owner % 2],
                visible=float(visible),
                box=box.numpy(),
                joints_xyz=joints[owner],
            )
            for owner, visible, box in zip(owners, labels.visible, labels.box, strict=True)
        ]
        return frame, truth

    def _stage(self, start: Posture) -> Scene:
        """People side by side in a room, with what their act needs."""
        people, sampler, count = self._renderer.people, self._sampler, len(self._acts)
        appearance = people.sample_appearance(count, sampler)
        posed = people.pose(appearance, start)
        low, high = torch.tensor([-0.1, 0.2, 1.0]), torch.tensor([0.1, 0.4, 1.3])
        chest = torch.lerp(low, high, sampler.uniform(count, 3))
        if count > 1:
            chest[:, 0] += torch.linspace(-0.45, 0.45, count)
            chest[:, 2] += 0.3
        if self.kind == "entering":
            chest[:, 1], chest[:, 2] = 0.45, 1.0  # hands that hang are below the image
        if self.kind == "resting":
            chest[:, 1] = 0.05  # the table is in it
        place = chest - posed.body_joints[:, bone_number("chest")]
        floor = place[:1, 1] + posed.vertices[:1, :, 1].amax(1)
        back = place[:, 2].max()[None] + 0.3
        room = sample_room(floor, back, torch.tensor([1.0]), sampler)
        room = furnished(room, sample_clutter(room, back + 0.1, sampler))
        if self.kind == "resting":
            top = (posed.hand_joints[0, ..., 1].max() + place[0, 1])[None] + _UNDER_SKIN_M
            near = posed.hand_joints[0, ..., 2].min()[None] + place[0, 2] - 0.15
            table = torch.tensor([True])
            room = furnished(room, sample_tables(top, near, place[:1, 0], table, sampler))
        return Scene(
            appearance=appearance,
            posture=start,
            image=torch.zeros(count, dtype=torch.int64),
            place=place,
            camera=torch.eye(3)[None],
            room=room,
            things=_bottle(place[0], present=self.kind == "hidden"),
        )


def _bottle(person: Tensor, present: bool) -> Things:
    """Between the camera and the way of the right hand."""
    way = person - torch.tensor([0.17, 0.35, 0.4])
    return Things(
        kind=torch.tensor([[BOTTLE]]),
        radius=torch.tensor([[0.03]]),
        height=torch.tensor([[0.25]]),
        handle=torch.tensor([[False]]),
        rotation=axis_angle_matrix((0.0, 1.0, 0.0), torch.zeros(1, 1)),
        position=0.7 * way[None, None],
        albedo=torch.tensor([[0.6]]),
        present=torch.tensor([[present]]),
    )


def hand_sequences(
    frames: int, seed: int, length: int = 200, kinds: Sequence[str] | None = None
) -> Iterator[HandSequence]:
    """Videos of all kinds in turn, `frames` frames in all.

    Args:
        length: of a video, frames; the last one may be shorter.
        kinds: of `acts.ACTS`; None for all.
    """
    names = list(kinds or ACTS)
    for number, start in enumerate(range(0, frames, length)):
        yield HandSequence(names[number % len(names)], seed + number, min(length, frames - start))

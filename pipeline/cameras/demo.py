"""A camera that needs no hardware: a rendered person who shows gestures, as an Azure Kinect sees them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.cameras.base import Camera
from pipeline.frame import RENDERED_CAMERA, Frame
from pipeline.hand import HAND_21, Hand, Handedness
from pipeline.synthetic.bodies import BONES
from pipeline.synthetic.people import PeopleModel, PosedPeople
from pipeline.synthetic.performance import Performance, stage
from pipeline.synthetic.raster import rasterize
from pipeline.synthetic.rooms import room_surface
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.scene_view import SceneRenderer, View
from pipeline.synthetic.steady_sensor import steady_tof
from pipeline.synthetic.surroundings import Surface
from pipeline.synthetic.things import ThingModel

FPS = 30
_GAIN = 1100.0  # infrared brightness of a white surface at one metre
_MOVING = ("clavicle", "upperarm", "lowerarm", "wrist")
_MARGIN = 4  # px around what moves, so that no edge ends at the rim of the part that is measured anew
_SMOOTH_STEP_M = 0.02  # smoothing does not cross larger steps
_NOISE_VARIANTS = 5  # of what does not move

Window = tuple[slice, slice]  # rows, columns
Measured = tuple[NDArray[np.uint16], NDArray[np.uint16]]


class DemoCamera(Camera):
    """Endless frames of a person with two moving hands; every frame, in order, the same for the same seed.

    Only the arms are drawn for each frame; the rest is drawn once and measured a few times.

    Args:
        seed: chooses the gestures and movements.
    """

    camera = RENDERED_CAMERA

    def __init__(self, seed: int = 0) -> None:
        self._seed, self._index, self._closed = seed, 0, False
        self._performance = Performance(seed)
        self._people = PeopleModel()
        self._sampler = Sampler("cpu", seed)
        self._view = View.azure_kinect(self.camera)
        self._seen = self._view.seen()[0]
        rays = self._view.rays
        self._falloff = (1 / (1 + 0.6 * (rays.across.square() + rays.down.square())))[0]
        self._scene = stage(self._people, self._performance.posture(0.0))

        body = self._people.body
        arms = torch.tensor([k for k, bone in enumerate(BONES) if bone.startswith(_MOVING)])
        moves = torch.ones(len(self._people.faces), dtype=torch.bool)
        moves[: len(body.faces)] = torch.isin(body.vertex_bone, arms)[body.faces].any(1)
        self._moving_faces = self._people.faces[moves]
        self._arm_faces = int(moves[: len(body.faces)].sum())  # the first of them
        self._moving_albedo = self._scene.appearance.albedo[0, moves]
        self._still = self._draw_still(~moves)
        whole = (slice(0, self.camera.height), slice(0, self.camera.width))
        self._measured = [self._measure(self._still, whole, -1 - k) for k in range(_NOISE_VARIANTS)]

    def __next__(self) -> Frame:
        if self._closed:
            raise StopIteration
        self._index += 1
        return self.frame(self._index - 1)

    def close(self) -> None:
        self._closed = True

    def frame(self, index: int) -> Frame:
        """Frame number `index`; the same whenever it is asked for."""
        corners = self._project(self._pose(index).vertices)
        depth, ir = (image.copy() for image in self._measured[index % _NOISE_VARIANTS])
        window = self._window(corners)
        rows, columns = window
        z = self._still.z[rows, columns]
        shifted = corners - torch.tensor([columns.start, rows.start, 0])
        arm_z, face = rasterize(shifted, self._moving_faces, *z.shape)
        nearer = arm_z[0] < z
        tone = self._moving_albedo[face[0].clamp(min=0)]
        part = Surface(
            torch.where(nearer, arm_z[0], z),
            torch.where(nearer, tone, self._still.albedo[rows, columns]),
        )
        part = _rounded(part, nearer & (face[0] < self._arm_faces), 7)
        depth[window], ir[window] = self._measure(part, window, index)
        return Frame(depth, ir, self.camera, timestamp_us=index * 1_000_000 // FPS, index=index)

    def truth(self, index: int) -> list[Hand]:
        """What a perfect pipeline would answer for frame `index`: left and right hand."""
        posed = self._pose(index)
        place = self._scene.place[0]
        hands = []
        sides: tuple[Handedness, ...] = ("left", "right")
        for side, handedness in enumerate(sides):
            xyz = 1000 * (posed.hand_joints[0, side] + place).double().numpy()
            used = self._people.hand_faces.unique()
            number = torch.tensor([0]), torch.tensor([side])
            outline = self._project(self._people.hand_vertices(posed.vertices, *number)[:, used])[0, :, :2]
            box = torch.cat([outline.amin(0), outline.amax(0)]).numpy()
            hands.append(
                Hand(
                    id=None,
                    box=box,
                    score=1.0,
                    handedness=handedness,
                    joints_uvd=self.camera.project(xyz).astype(np.float32),
                    joints_xyz=xyz.astype(np.float32),
                    confidence=np.ones(HAND_21.num_joints, np.float32),
                    joint_names=HAND_21.joint_names,
                )
            )
        return hands

    def _pose(self, index: int) -> PosedPeople:
        return self._people.pose(self._scene.appearance, self._performance.posture(index / FPS))

    def _project(self, points: Tensor) -> Tensor:
        """(1, V, 3) points around the pelvis, m, to column px, row px, z m."""
        return self._view.project(points + self._scene.place[0], torch.zeros(1, dtype=torch.int64))

    def _draw_still(self, faces: Tensor) -> Surface:
        """(H, W) the room, and the person without arms."""
        surface = Surface(*room_surface(self._scene.room, self._view.rays, self._scene.camera, None))
        SceneRenderer(self._people, ThingModel()).add_things(surface, self._scene, self._view)
        corners = self._project(self._pose(0).vertices)
        z, face = rasterize(corners, self._people.faces[faces], self.camera.height, self.camera.width)
        nearer = z < surface.z
        tone = self._scene.appearance.albedo[0, faces][face.clamp(min=0)]
        both = Surface(torch.where(nearer, z, surface.z)[0], torch.where(nearer, tone, surface.albedo)[0])
        return _rounded(both, nearer[0], 9)

    def _window(self, corners: Tensor) -> Window:
        """Rows and columns that the moving parts may cover."""
        points = corners[0, self._moving_faces.unique(), :2]
        low = (points.amin(0) - _MARGIN).floor().int().tolist()
        high = (points.amax(0) + _MARGIN).ceil().int().tolist()
        columns, rows = (
            slice(min(max(first, 0), size - 1), max(min(last, size), 1))
            for first, last, size in zip(low, high, (self.camera.width, self.camera.height), strict=True)
        )
        return rows, columns

    def _measure(self, surface: Surface, window: Window, number: int) -> Measured:
        """Depth and infrared of a part of the image; the number chooses the noise."""
        self._sampler.reseed(self._seed, number)
        albedo = surface.albedo * self._falloff[window]
        seen = self._seen[window]
        images = steady_tof(surface.z, albedo, self.camera.fx, _GAIN, self._sampler)
        depth, ir = (torch.where(seen, image, 0.0).numpy().astype(np.uint16) for image in images)
        return depth, ir


def _rounded(surface: Surface, body: Tensor, size: int) -> Surface:
    """Smooths the facets of a body: means over the body's own pixels near by.

    Args:
        surface: of an image (H, W).
        body: (H, W) bool.
        size: side of the mean's window, px.
    """
    mask = body.numpy().astype(np.float32)
    z, albedo = (np.where(body, image, 0.0).astype(np.float32) for image in (surface.z, surface.albedo))
    for _ in range(2):
        share = np.maximum(cv2.blur(mask, (size, size)), np.float32(1e-6))
        mean = np.asarray(cv2.blur(z, (size, size)) / share, np.float32)
        z = np.where(np.abs(mean - z) < _SMOOTH_STEP_M, mean, z) * mask
        albedo = np.asarray(cv2.blur(albedo, (size, size)) / share * mask, np.float32)
    rounded = torch.from_numpy(z), torch.from_numpy(albedo)
    return Surface(
        *(torch.where(body, new, old) for new, old in zip(rounded, (surface.z, surface.albedo), strict=True))
    )

"""Scenes as a camera sees them: surfaces, who is where in the image, and the labels of the hands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.frame import DepthCamera
from pipeline.synthetic.people import Appearance, PeopleModel, PosedPeople, Posture
from pipeline.synthetic.primitives import Rays
from pipeline.synthetic.raster import rasterize
from pipeline.synthetic.rooms import Room, room_surface
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.sensor import field_of_view, simulate_structured_light, simulate_tof
from pipeline.synthetic.surroundings import Surface
from pipeline.synthetic.things import ThingModel

_NEAR_M = 0.1
_AREA_SIDE = 40  # px: grid on which the whole area of a hand is measured


@dataclass(frozen=True, eq=False)
class Things:
    """M objects in each of B scenes, in the world's frame.

    Args:
        kind: (B, M) int64, see `pipeline.synthetic.things`.
        radius, height: (B, M) metres.
        handle: (B, M) bool.
        rotation: (B, M, 3, 3).
        position: (B, M, 3) metres, of the middle.
        albedo: (B, M).
        present: (B, M) bool.
    """

    kind: Tensor
    radius: Tensor
    height: Tensor
    handle: Tensor
    rotation: Tensor
    position: Tensor
    albedo: Tensor
    present: Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """B scenes with P people in all. World frame: camera at 0, y down, z forward and level, metres.

    Args:
        appearance: of P people.
        posture: of P people; replace it to animate them.
        image: (P,) int64, in which scene each person is.
        place: (P, 3) metres, where each person's pelvis is (`PosedPeople` is around it).
        camera: (B, 3, 3) rotation from the world's frame to the camera's.
        room: walls and furniture.
        things: small objects.
    """

    appearance: Appearance
    posture: Posture
    image: Tensor
    place: Tensor
    camera: Tensor
    room: Room
    things: Things

    def __len__(self) -> int:
        return len(self.camera)


@dataclass(frozen=True, eq=False)
class View:
    """Cameras of B images of one size.

    Args:
        width, height: px.
        fx, fy, cx, cy: (B,) px; the centre of the first pixel is (0, 0).
        hexagon: (B,) bool: an Azure Kinect's field of view, black outside.
        structured: (B,) bool: structured light and no infrared; else time of flight.
        infrared: (B,) bool: False leaves the infrared image black.
        reach: (B,) metres: nothing is measured beyond.
        gain: (B,) infrared brightness of a white surface at one metre.
    """

    width: int
    height: int
    fx: Tensor
    fy: Tensor
    cx: Tensor
    cy: Tensor
    hexagon: Tensor
    structured: Tensor
    infrared: Tensor
    reach: Tensor
    gain: Tensor

    @classmethod
    def azure_kinect(cls, camera: DepthCamera, count: int = 1, device: torch.device | str = "cpu") -> View:
        """`count` images of a pinhole camera with the Azure Kinect's sensor; distortion is left out."""

        def each(value: float) -> Tensor:
            return torch.full((count,), float(value), device=device)

        yes = torch.ones(count, dtype=torch.bool, device=device)
        return cls(
            width=camera.width,
            height=camera.height,
            fx=each(camera.fx),
            fy=each(camera.fy),
            cx=each(camera.cx),
            cy=each(camera.cy),
            hexagon=yes,
            structured=~yes,
            infrared=yes,
            reach=each(5.0),
            gain=each(1500.0),
        )

    @property
    def rays(self) -> Rays:
        column = torch.arange(self.width, device=self.fx.device)
        row = torch.arange(self.height, device=self.fx.device)
        return Rays(
            (column - self.cx[:, None]) / self.fx[:, None], (row - self.cy[:, None]) / self.fy[:, None]
        )

    def project(self, points: Tensor, images: Tensor) -> Tensor:
        """(N, V, 3) column px, row px, z m of camera-space points (N, V, 3) m in images (N,)."""
        focal = torch.stack([self.fx, self.fy], 1)[images][:, None]
        centre = torch.stack([self.cx, self.cy], 1)[images][:, None]
        z = points[..., 2:]
        # What lies behind the camera keeps its z, so that the rasteriser leaves it out.
        return torch.cat([points[..., :2] / z.clamp(min=1e-3) * focal + centre, z], -1)

    def seen(self) -> Tensor:
        """(B, H, W) bool: inside the field of view."""
        column = torch.arange(self.width, device=self.fx.device)
        row = torch.arange(self.height, device=self.fx.device)[:, None]
        hexagon = field_of_view(column, row, self.width, self.height)
        return hexagon | ~self.hexagon[:, None, None]


@dataclass(frozen=True, eq=False)
class HandLabels:
    """The hands that show in some images, K in all.

    Args:
        image: (K,) int64.
        side: (K,) int64, 0 left, 1 right.
        box: (K, 4) float32 px, x0 y0 x1 y1 around the visible pixels, from edge to edge (pixel 0 spans 0..1).
        visible: (K,) the share of the hand's outline that shows.
        joints: (K, 21, 3) float32: column px, row px, mm.
    """

    image: Tensor
    side: Tensor
    box: Tensor
    visible: Tensor
    joints: Tensor


class SceneRenderer:
    """Draws scenes.

    Args:
        people, things: the models, on one device.
    """

    def __init__(self, people: PeopleModel, things: ThingModel) -> None:
        self.people, self.things = people, things

    def surface(
        self, scene: Scene, posed: PosedPeople, view: View, textured: Sampler | None = None
    ) -> tuple[Surface, Tensor]:
        """Everything in view, without the sensor's errors.

        Args:
            posed: the scene's people.
            textured: draws uneven walls; None leaves them plain.

        Returns:
            the surface; (B, H, W) int64 hand that is seen: 2 * person + side, or -1.
        """
        z, albedo = room_surface(scene.room, view.rays, scene.camera, textured)
        surface = Surface(z, albedo)
        self.add_things(surface, scene, view)
        hand = self.add_people(surface, scene, posed, view)
        return surface, hand

    def add_people(self, surface: Surface, scene: Scene, posed: PosedPeople, view: View) -> Tensor:
        """Draws people into the surface, in place; returns what hand is seen, as `surface`."""
        hand = torch.full(surface.z.shape, -1, dtype=torch.int64, device=surface.z.device)
        camera = scene.camera[scene.image]
        points = (posed.vertices + scene.place[:, None]) @ camera.transpose(1, 2)
        corners = view.project(points, scene.image)
        for people in _one_per_image(scene.image):
            images = scene.image[people]
            z, face = rasterize(corners[people], self.people.faces, view.height, view.width, near=_NEAR_M)
            nearer = z < surface.z[images]
            number = face.clamp(min=0)
            tone = scene.appearance.albedo[people].gather(1, number.flatten(1)).view_as(z)
            side = self.people.face_hand[number]
            owner = torch.where(side >= 0, 2 * people[:, None, None] + side, -1)
            surface.z[images] = torch.where(nearer, z, surface.z[images])
            surface.albedo[images] = torch.where(nearer, tone, surface.albedo[images])
            hand[images] = torch.where(nearer, owner, hand[images])
        return hand

    def add_things(self, surface: Surface, scene: Scene, view: View) -> None:
        """Draws the small objects into the surface, in place."""
        things = scene.things
        count, each = things.kind.shape
        solid = self.things.vertices(
            *(v.flatten() for v in (things.kind, things.radius, things.height, things.handle))
        ).unflatten(0, (count, each))
        world = solid @ things.rotation.transpose(2, 3) + things.position[:, :, None]
        points = (world.flatten(1, 2) @ scene.camera.transpose(1, 2)).unflatten(1, (each, -1))
        points[..., 2] = torch.where(things.present[..., None], points[..., 2], -1.0)
        corners = view.project(points.flatten(1, 2), torch.arange(count, device=points.device))
        size = solid.shape[2]
        faces = torch.cat([self.things.faces + size * k for k in range(each)])
        z, face = rasterize(corners, faces, view.height, view.width, near=_NEAR_M)
        thing = face.clamp(min=0) // len(self.things.faces)
        nearer = z < surface.z
        tone = things.albedo.gather(1, thing.flatten(1)).view_as(z)
        surface.albedo.copy_(torch.where(nearer, tone, surface.albedo))
        surface.z.copy_(torch.where(nearer, z, surface.z))

    def labels(self, scene: Scene, posed: PosedPeople, hand: Tensor, view: View) -> HandLabels:
        """Boxes, sides and joints of all hands of which a pixel shows.

        Args:
            hand: (B, H, W) int64 of `surface`, -1 where the camera sees nothing.
        """
        image, row, column = (hand >= 0).nonzero(as_tuple=True)
        owner = hand[image, row, column]
        total = 2 * len(scene.image)
        pixels = torch.bincount(owner, minlength=total)

        def extreme(values: Tensor, kind: str) -> Tensor:
            start = torch.full((total,), 10**6 if kind == "amin" else -1, device=values.device)
            return start.scatter_reduce(0, owner, values, kind)

        box = torch.stack(
            [
                extreme(column, "amin"),
                extreme(row, "amin"),
                extreme(column, "amax") + 1,
                extreme(row, "amax") + 1,
            ],
            1,
        )
        shown = (pixels > 0).nonzero().squeeze(1)
        person, side = shown // 2, shown % 2
        images = scene.image[person]
        camera = scene.camera[images].transpose(1, 2)
        place = scene.place[person][:, None]
        joints = view.project((posed.hand_joints[person, side] + place) @ camera, images)
        joints[..., 2] *= 1000
        vertices = self.people.hand_vertices(posed.vertices, person, side)
        area = self._area(view.project((vertices + place) @ camera, images), side)
        return HandLabels(
            image=images,
            side=side,
            box=box[shown].float(),
            visible=(pixels[shown] / area.clamp(min=1)).clamp(max=1.0),
            joints=joints,
        )

    def _area(self, corners: Tensor, side: Tensor) -> Tensor:
        """(K,) px: the area of the outlines of hands, whether inside the image or not, hidden or not.

        Args:
            corners: (K, V, 3) column px, row px, z m of the hands' vertices.
            side: (K,) 0 left, 1 right.
        """
        used = corners[:, self.people.hand_faces.unique(), :2]
        low, high = used.amin(1), used.amax(1)
        scale = (_AREA_SIDE - 1) / (high - low).clamp(min=1e-3)  # (K, 2)
        scaled = torch.cat([(corners[..., :2] - low[:, None]) * scale[:, None], corners[..., 2:]], 2)
        # A left hand's faces run the other way round: mirrored, they are a right hand's.
        mirrored = torch.where(side == 0, -1.0, 1.0)[:, None]
        shift = torch.where(side == 0, _AREA_SIDE - 1.0, 0.0)[:, None]
        scaled[..., 0] = scaled[..., 0] * mirrored + shift
        z, _ = rasterize(scaled, self.people.hand_faces, _AREA_SIDE, _AREA_SIDE, near=1e-3)
        return torch.isfinite(z).sum((1, 2)) / scale.prod(1)


def measure(surface: Surface, view: View, sampler: Sampler, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """What the cameras measure of surfaces.

    Returns:
        depth (B, H, W) float32 mm, 0 where there is none; ir (B, H, W) float32, 0 to 65535.
    """
    seen = view.seen()
    z = torch.where(seen & (surface.z < view.reach[:, None, None]), surface.z, torch.inf)
    depth, ir = torch.zeros_like(z), torch.zeros_like(z)
    focal = (view.fx * view.fy).sqrt()
    rays = view.rays
    falloff = 1 / (1 + 0.6 * (rays.across.square() + rays.down.square()))
    for structured in (False, True):
        images = (view.structured == structured).nonzero().squeeze(1)
        if not len(images):
            continue
        albedo = surface.albedo[images] * falloff[images]
        if structured:
            faint = albedo < 0.035 * z[images].square() * sampler.uniform(len(images), 1, 1)
            depth[images] = simulate_structured_light(
                torch.where(faint, torch.inf, z[images]), focal[images], sampler
            )
        else:
            depth[images], ir[images] = simulate_tof(
                surface.z[images], albedo, focal[images], sampler, gain=view.gain[images], strength=strength
            )
    depth = torch.where(torch.isfinite(z), depth, 0.0)
    return depth, torch.where(seen & view.infrared[:, None, None], ir, 0.0)


def _one_per_image(image: Tensor) -> list[Tensor]:
    """Groups of people (numbers, (K,) int64) in which no two are in the same image."""
    earlier = (image[:, None] == image) & (
        torch.arange(len(image), device=image.device)[:, None] > torch.arange(len(image), device=image.device)
    )
    rank = earlier.sum(1)
    return [(rank == k).nonzero().squeeze(1) for k in range(int(rank.max()) + 1)] if len(image) else []

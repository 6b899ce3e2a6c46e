"""Training scenes for the detector: people in rooms, seen by an Azure Kinect or another depth camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from pipeline.synthetic.people import PeopleModel
from pipeline.synthetic.poses import PoseBank
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.scene_view import Scene, SceneRenderer, View, measure
from pipeline.synthetic.staging import sample_scene
from pipeline.synthetic.things import ThingModel

SIZE = 320  # px, both sides: CenterNet's input
POSE_SEED = 21  # of the poses in all fixed sets; no run ever trained on them


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """Labelled images. A hand has the same place in all lists.

    Args:
        depth: (N, 320, 320) float32 mm, 0 where nothing was measured.
        ir: (N, 320, 320) float32, 0 to 65535; all zero where a camera has none.
        boxes: N times (K, 4) float32 px, x0 y0 x1 y1 from edge to edge (pixel 0 spans 0..1), of every hand of
            which a pixel shows: around what shows of it, from the wrist's crease to the finger tips.
        classes: N times (K,) int64, 0 left, 1 right hand of the person.
        visible: N times (K,) float32, the share of the hand's outline that shows; the rest is hidden or
            outside the image. Hands of which little shows are to be ignored, not counted as background.
        joints: N times (K, 21, 3) float32: column px, row px, mm.
    """

    depth: Tensor
    ir: Tensor
    boxes: list[Tensor]
    classes: list[Tensor]
    visible: list[Tensor]
    joints: list[Tensor]


@cache
def scene_renderer(device: torch.device) -> SceneRenderer:
    """The models, made once for each device."""
    return SceneRenderer(PeopleModel(device), ThingModel(device))


@cache
def pose_bank(device: torch.device, size: int, seed: int = POSE_SEED) -> PoseBank:
    """Poses of hands, made once for each device and seed."""
    return PoseBank(scene_renderer(device).people.hand, seed, size)


class SceneGenerator:
    """Endless random scenes.

    Args:
        device: where they are made.
        seed: same seed, device and calls, same scenes.
        other_cameras: share of the images that another camera than an Azure Kinect takes.
        poses: different poses of hands, made once for each device.
        pose_seed: of these poses; another one gives others.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        seed: int = 0,
        other_cameras: float = 0.35,
        poses: int = 4096,
        pose_seed: int = POSE_SEED,
    ) -> None:
        self.device = torch.device(device)
        self._other_cameras = other_cameras
        self._renderer = scene_renderer(self.device)
        self._bank = pose_bank(self.device, poses, pose_seed)
        self._sampler = Sampler(self.device, seed)

    def batch(self, count: int) -> SceneBatch:
        """`count` scenes as 320 x 320 images."""
        scene, posed = sample_scene(count, self._renderer.people, self._bank, self._sampler)
        view = self._sample_view(count)
        view = replace(view, reach=torch.maximum(view.reach, self._needed_reach(scene)))
        surface, hand = self._renderer.surface(scene, posed, view, textured=self._sampler)
        measurable = view.seen() & (surface.z < view.reach[:, None, None])
        labels = self._renderer.labels(scene, posed, torch.where(measurable, hand, -1), view)
        depth, ir = measure(surface, view, self._sampler)
        of_image = labels.image.bincount(minlength=count).tolist()  # hands come image by image
        return SceneBatch(
            depth=depth,
            ir=ir,
            boxes=list(labels.box.split(of_image)),
            classes=list(labels.side.split(of_image)),
            visible=list(labels.visible.split(of_image)),
            joints=list(labels.joints.split(of_image)),
        )

    def _needed_reach(self, scene: Scene) -> Tensor:
        """(B,) metres, so that most cameras see the nearest person."""
        count = len(scene)
        depth = (scene.camera[scene.image] @ scene.place[..., None])[:, 2, 0]
        nearest = torch.full((count,), torch.inf, device=self.device)
        nearest = nearest.scatter_reduce(0, scene.image, depth, "amin")
        matters = torch.isfinite(nearest) & self._sampler.chance(0.9, count)
        return torch.where(matters, nearest + self._sampler.uniform(count, low=-0.1, high=0.6), 0.0)

    def _sample_view(self, count: int) -> View:
        """The Azure Kinect's 640 x 576 image, or another camera's 640 x 480, squeezed to the square."""
        sampler = self._sampler
        other = sampler.chance(self._other_cameras, count)
        structured = other & sampler.chance(0.8, count)
        native = torch.where(other, 480.0, 576.0)  # rows
        focal = torch.where(
            other,
            sampler.uniform(count, low=440.0, high=620.0),
            sampler.uniform(count, low=495.0, high=515.0),
        )
        offset = 12 * sampler.normal(count, 2)
        return View(
            width=SIZE,
            height=SIZE,
            fx=focal * SIZE / 640,
            fy=focal * SIZE / native,
            cx=(320 + offset[:, 0]) * SIZE / 640,
            cy=(native / 2 + offset[:, 1]) * SIZE / native,
            hexagon=~other,
            structured=structured,
            infrared=~structured & sampler.chance(0.93, count),
            reach=torch.where(
                other,
                sampler.log_uniform(count, low=1.1, high=6.0),
                sampler.uniform(count, low=3.0, high=6.0),
            ),
            gain=sampler.log_uniform(count, low=500.0, high=3500.0),
        )

"""People's bodies without their hands: shapes of children and adults, a skeleton, skinning.

The body's frame: x to the person's left, y down, z to the back, metres, so that a person in the identity pose
faces a camera whose frame is x right, y down, z forward. The shapes come from the anny body model and lie in
assets/bodies.npz as principal components (see assets/bodies.md, pipeline/training/export_bodies.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.sampling import Sampler

ASSET = Path(__file__).with_name("assets") / "bodies.npz"
SIDES = ("L", "R")  # of the person; class numbers 0 and 1 of the detector
_LIMBS = ("clavicle", "upperarm", "lowerarm", "wrist", "upperleg", "lowerleg", "foot")
BONES = ("pelvis", "spine", "chest", "neck", "head", *(f"{limb}.{side}" for side in SIDES for limb in _LIMBS))
_PARENT_NAMES = {
    "spine": "pelvis",
    "chest": "spine",
    "neck": "chest",
    "head": "neck",
    "clavicle": "chest",
    "upperarm": "clavicle",
    "lowerarm": "upperarm",
    "wrist": "lowerarm",
    "upperleg": "pelvis",
    "lowerleg": "upperleg",
    "foot": "lowerleg",
}


def bone_number(name: str) -> int:
    return BONES.index(name)


def _parent(bone: str) -> int:
    """Number of the bone that `bone` hangs on, -1 for the pelvis."""
    name, _, side = bone.partition(".")
    if name == "pelvis":
        return -1
    parent = _PARENT_NAMES[name]
    return BONES.index(f"{parent}.{side}" if f"{parent}.{side}" in BONES else parent)


PARENTS = tuple(_parent(bone) for bone in BONES)


@dataclass(frozen=True, eq=False)
class BodyShape:
    """Bodies at rest: arms half raised to the sides, looking along -z.

    Args:
        vertices: (N, V, 3) metres.
        joints: (N, bones, 3) metres, where each bone begins.
        knuckles: (N, 2, 3) metres, of the middle fingers, left and right: tells the size of the hands.
    """

    vertices: Tensor
    joints: Tensor
    knuckles: Tensor

    def palm_length(self) -> Tensor:
        """(N,) metres from the wrist to the middle finger's knuckle, mean of both hands."""
        wrists = self.joints[:, [bone_number(f"wrist.{side}") for side in SIDES]]
        return (self.knuckles - wrists).norm(dim=2).mean(1)


class BodyModel:
    """Shapes and skinning of bodies.

    Args:
        device: where the tensors live.

    Attributes:
        faces: (F, 3) int64 vertex numbers, counter-clockwise as seen from outside.
        vertex_bone: (V,) int64, the bone that moves a vertex most.
        normals: (V, 3) of the mean shape.
        scalp: (V,) bool, covered by hair.
        sleeve: (V,) 0 on the trunk, growing to 0.5 at the elbow and 1 at the wrist.
        rest: (V, 3) metres, mean shape.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        with np.load(ASSET, allow_pickle=False) as asset:
            arrays = {name: torch.from_numpy(asset[name]).to(device) for name in asset.files}
        self.faces = arrays["faces"].long()
        self.scalp = arrays["scalp"]
        self.vertex_bone = arrays["bone"][:, 0].long()
        self._bone, self._weight = arrays["bone"].long(), arrays["weight"].float()
        self._mean, self._basis = arrays["mean"], arrays["basis"].float()
        self._scores, self._adults = arrays["scores"], int(arrays["adults"])
        self.num_vertices = len(self.vertex_bone)
        mean = self._split(self._mean[None])
        self.rest = mean.vertices[0]
        self.normals = _vertex_normals(self.rest, self.faces)
        self.sleeve = self._sleeve(mean.joints[0])

    def sample_shape(self, count: int, sampler: Sampler, child_share: float = 0.2) -> BodyShape:
        """Mixtures of two people of the asset, both grown-up or both children."""
        people = len(self._scores)
        child = sampler.chance(child_share, count)
        first, second = (
            torch.where(
                child,
                self._adults + sampler.integers(people - self._adults, count),
                sampler.integers(self._adults, count),
            )
            for _ in range(2)
        )
        share = sampler.uniform(count, 1)
        scores = share * self._scores[first] + (1 - share) * self._scores[second]
        return self._split(self._mean + scores @ self._basis)

    def joints(self, shape: BodyShape, rotations: Tensor) -> Tensor:
        """(N, bones, 3) metres, with the pelvis where it is at rest.

        Args:
            rotations: (N, bones, 3, 3) of each bone from rest to the body's frame (not relative to parents).
        """
        placed = [shape.joints[:, 0]]
        for bone, parent in list(enumerate(PARENTS))[1:]:
            step = shape.joints[:, bone] - shape.joints[:, parent]
            placed.append(placed[parent] + (rotations[:, parent] @ step[..., None])[..., 0])
        return torch.stack(placed, 1)

    def skin(self, shape: BodyShape, rotations: Tensor, joints: Tensor) -> Tensor:
        """(N, V, 3) metres: linear blend skinning with four bones a vertex; arguments as of `joints`."""
        shift = joints - (rotations @ shape.joints[..., None])[..., 0]
        transform = torch.cat([rotations, shift[..., None]], 3).flatten(2)  # (N, bones, 12)
        blended = (transform[:, self._bone] * self._weight[..., None]).sum(2)  # (N, V, 12)
        blended = blended.unflatten(2, (3, 4))  # (N, V, 3, 4)
        moved = (blended[..., :3] * shape.vertices[:, :, None]).sum(-1)
        return moved + blended[..., 3]

    def _split(self, numbers: Tensor) -> BodyShape:
        points = numbers.unflatten(1, (-1, 3))
        vertices, joints, knuckles = points.split([self.num_vertices, len(BONES), 2], dim=1)
        return BodyShape(vertices, joints, knuckles)

    def _sleeve(self, joints: Tensor) -> Tensor:
        sleeve = torch.zeros(self.num_vertices, device=joints.device)
        for side in SIDES:
            upper, fore, wrist = (
                joints[bone_number(f"{limb}.{side}")] for limb in ("upperarm", "lowerarm", "wrist")
            )
            for start, end, base, limb in ((upper, fore, 0.0, "upperarm"), (fore, wrist, 0.5, "lowerarm")):
                along = ((self.rest - start) @ (end - start) / (end - start).square().sum()).clamp(0, 1)
                on_limb = self.vertex_bone == bone_number(f"{limb}.{side}")
                sleeve = torch.where(on_limb, base + 0.5 * along, sleeve)
            sleeve = torch.where(self.vertex_bone == bone_number(f"wrist.{side}"), 1.0, sleeve)
        return sleeve


def _vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """(V, 3) unit vectors, weighted by the areas of the faces around."""
    a, b, c = vertices[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, faces[:, corner], normal)
    return functional.normalize(total, dim=1)

"""What is near a hand: walls, tables, body and face, held objects, another hand, things in front."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.hand_views import PlacedHands
from pipeline.synthetic.primitives import Rays, box_depth, ellipsoid_depth, plane_depth
from pipeline.synthetic.sampling import Sampler

_PLANE_SHARE = 0.22
_HELD_SHARE, _CLUTTER_SHARE, _OCCLUDER_SHARE = 0.13, 0.1, 0.1
_MOST_HIDDEN = 0.4  # of the hand's pixels: a thing in front that hides more is left out


@dataclass(frozen=True)
class _Body:
    """An ellipsoid behind the hand: share of the images that have one, radii in metres."""

    share: float
    smallest: tuple[float, float, float]
    largest: tuple[float, float, float]
    upright: bool


_TRUNK = _Body(0.3, (0.06, 0.10, 0.06), (0.22, 0.35, 0.16), upright=False)
_FACE = _Body(0.12, (0.065, 0.09, 0.085), (0.085, 0.125, 0.11), upright=True)


@dataclass(frozen=True, eq=False)
class Surface:
    """What the camera looks at.

    Args:
        z: (B, H, W) metres, infinite where nothing is.
        albedo: (B, H, W) infrared reflectivity.
    """

    z: Tensor
    albedo: Tensor

    def add(self, images: Tensor, z: Tensor, albedo: Tensor) -> None:
        """Puts something into some of the images, in place, where it is nearer than what is there.

        Args:
            images: (K,) numbers of the images.
            z: (K, H, W) metres, infinite where it is not.
            albedo: (K,) its reflectivities.
        """
        nearer = z < self.z[images]
        self.z[images] = torch.where(nearer, z, self.z[images])
        self.albedo[images] = torch.where(nearer, albedo[:, None, None], self.albedo[images])


def add_surroundings(
    surface: Surface, hand: Tensor, rays: Rays, hands: PlacedHands, sampler: Sampler
) -> None:
    """Adds to images of hands, in place, things at random places around each.

    Args:
        surface: the hands with their forearms.
        hand: (B, H, W) bool, the pixels of the hands alone.
        rays: of the images.
        hands: where the hands are.
    """
    count = len(surface.z)
    behind = hands.joints[..., 2].amax(1)  # (B,)
    only_hands = surface.z.clone()

    def material(images: Tensor) -> Tensor:
        return sampler.uniform(len(images), low=0.1, high=1.0)

    def beside(images: Tensor, spread: Tensor | float) -> Tensor:
        return hands.palm[images] + spread * sampler.normal(len(images), 3)

    # A wall or table behind the hand, almost touching it in part of the images.
    images = sampler.subset(_PLANE_SHARE, count)
    tilt = functional.normalize(
        torch.cat(
            [0.6 * sampler.normal(len(images), 2), torch.ones(len(images), 1, device=sampler.device)], 1
        ),
        dim=1,
    )
    gap = 0.012 + 0.3 * sampler.uniform(len(images)).square()
    point = _pushed_back(hands.palm[images], behind[images] + gap)
    surface.add(images, plane_depth(rays[images], tilt, point), material(images))

    # Torso, arm or leg; face.
    for body, spread in ((_TRUNK, 0.1), (_FACE, 0.06)):
        images = sampler.subset(body.share, count)
        low, high = torch.tensor([body.smallest, body.largest], device=sampler.device)
        radii = torch.lerp(low, high, sampler.uniform(len(images), 3))
        gap = 0.01 + 0.2 * sampler.uniform(len(images)).square()
        centre = _pushed_back(beside(images, spread), behind[images] + gap + radii[:, 2])
        rotation = _upright(len(images), sampler) if body.upright else sampler.rotation(len(images))
        z = ellipsoid_depth(rays[images], centre, rotation, radii)
        height, width = z.shape[1:]
        folds = sampler.smooth_field(len(images), height, width, 14)
        z = z + sampler.uniform(len(images), 1, 1, high=0.012) * folds
        surface.add(images, z, material(images))

    # Held objects between palm and finger tips, and things that lie about at the hand's depth.
    for share, at, spread in ((_HELD_SHARE, hands.grip, 0.008), (_CLUTTER_SHARE, hands.palm, 0.07)):
        images = sampler.subset(share, count)
        centre = at[images] + spread * sampler.normal(len(images), 3)
        surface.add(images, _thing(rays[images], centre, 0.035, sampler), material(images))

    # Something in front.
    images = sampler.subset(_OCCLUDER_SHARE, count)
    in_front = hands.joints[images, :, 2].amin(1) - sampler.uniform(len(images), low=0.03, high=0.2)
    centre = beside(images, 0.09)
    centre = centre * (in_front.clamp(min=0.15) / centre[:, 2])[:, None]
    z = _thing(rays[images], centre, 0.05, sampler)
    covered = hand[images] & (z < only_hands[images])
    hidden = covered.sum((1, 2)) > _MOST_HIDDEN * hand[images].sum((1, 2))
    surface.add(images, torch.where(hidden[:, None, None], torch.inf, z), material(images))

    # The room far behind.
    images = sampler.subset(0.6, count)
    wall = behind[images] + sampler.uniform(len(images), low=0.3, high=2.5)
    surface.add(images, wall[:, None, None].expand_as(surface.z[images]), material(images))


def _thing(rays: Rays, centre: Tensor, largest: float, sampler: Sampler) -> Tensor:
    """(B, H, W) z of boxes and ellipsoids of random size, often long ones (bottles, pens, phones)."""
    count = len(centre)
    radii = sampler.uniform(count, 3, low=0.008, high=largest)
    radii[:, 1] *= 1 + 2.5 * sampler.uniform(count)
    rotation = sampler.rotation(count)
    return torch.where(
        sampler.chance(0.5, count, 1, 1),
        box_depth(rays, centre, rotation, radii),
        ellipsoid_depth(rays, centre, rotation, radii),
    )


def _pushed_back(points: Tensor, z: Tensor) -> Tensor:
    """Points (B, 3) moved along their rays to depth z (B,)."""
    return points * (z / points[:, 2])[:, None]


def _upright(count: int, sampler: Sampler) -> Tensor:
    """(count, 3, 3) rotations that keep z near the optical axis and y near the vertical."""
    tilt = torch.eye(3, device=sampler.device) + 0.2 * sampler.normal(count, 3, 3)
    x = functional.normalize(tilt[:, :, 0], dim=1)
    y = functional.normalize(tilt[:, :, 1] - (tilt[:, :, 1] * x).sum(1, keepdim=True) * x, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], 2)

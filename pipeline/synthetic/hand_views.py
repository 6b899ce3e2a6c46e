"""Random hands before a camera: pose, shape, sleeve, place and direction of view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.synthetic.hand_model import HandModel, PosedHand
from pipeline.synthetic.hand_rig import FOREARM
from pipeline.synthetic.poses import PoseBank
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix
from pipeline.synthetic.shapes import sample_shapes

_NEAREST_M, _FARTHEST_M = 0.25, 2.2
_HALF_IMAGE = (320.0, 288.0)  # px: the principal point is taken to be the image's centre
_HAND_M = 0.20  # rough extent of an open hand, for its place in the image
_PALM_JOINTS = (0, 5, 9, 13, 17)

_HUMAN_SHARE = 0.6  # of views with palm or back roughly towards the camera
_SLEEVE_SHARE, _BAND_SHARE = 0.45, 0.06
_CUT_SHARE = 0.2  # of hands that may lie across the border of the image


@dataclass(frozen=True, eq=False)
class PlacedHands:
    """Hands in the camera's frame (x right, y down, z forward), metres.

    Args:
        vertices: (B, V, 3).
        joints: (B, 21, 3).
        palm: (B, 3) centre of the palm.
        grip: (B, 3) where an object would be held.
    """

    vertices: Tensor
    joints: Tensor
    palm: Tensor
    grip: Tensor


def random_hands(model: HandModel, bank: PoseBank, count: int, sampler: Sampler) -> PosedHand:
    """Random poses and shapes, some with a sleeve or something around the wrist; in the hand's frame."""
    hand = model.pose(bank.draw(count, sampler), sample_shapes(count, sampler))
    begin = sampler.uniform(count, 1, low=0.02, high=0.24)
    sleeve = sampler.chance(_SLEEVE_SHARE, count, 1)
    band = sampler.chance(_BAND_SHARE, count, 1) & ~sleeve
    begin = torch.where(band, 0.01 + begin / 6, begin)
    end = torch.where(band, begin + 0.03, torch.inf)
    width = torch.where(band, 0.15, sampler.uniform(count, 1, low=0.12, high=0.8)) * (sleeve | band)
    distance = model.forearm_distance
    rim = 0.012
    inflation = width * ((distance - begin) / rim).clamp(0, 1) * ((end - distance) / rim).clamp(0, 1)

    along = hand.bones.rotation[:, FOREARM, :, 1][:, None]  # (B, 1, 3) the forearm's axis
    across = hand.vertices - (hand.vertices * along).sum(2, keepdim=True) * along  # the wrist is at 0
    return PosedHand(hand.vertices + inflation[..., None] * across, hand.joints, hand.bones)


def place_hands(hand: PosedHand, focal_px: float, sampler: Sampler) -> PlacedHands:
    """Puts hands before the camera: any distance, side, place in the image and roll."""
    count = len(hand.joints)
    z = sampler.log_uniform(count, low=_NEAREST_M, high=_FARTHEST_M)
    half = torch.tensor(_HALF_IMAGE, device=sampler.device)
    margin = torch.where(
        sampler.chance(_CUT_SHARE, count), sampler.uniform(count), torch.ones(count, device=sampler.device)
    )
    reach = (half - (margin * focal_px * _HAND_M / 2 / z)[:, None]).clamp(min=15)
    # Corners lie outside the hexagonal field of view: what is far off sideways stays near the middle row.
    place = sampler.uniform(count, 2, low=-1.0, high=1.0)
    place[:, 1] *= 1 - 0.35 * place[:, 0].abs()
    place[:, 0] *= 1 - 0.3 * place[:, 1].abs()
    centre = torch.cat([place * reach / focal_px * z[:, None], z[:, None]], 1)

    rotation = random_views(count, sampler)
    palm = hand.joints[:, _PALM_JOINTS].mean(1, keepdim=True)
    joints = (hand.joints - palm) @ rotation.transpose(1, 2) + centre[:, None]
    vertices = (hand.vertices - palm) @ rotation.transpose(1, 2) + centre[:, None]
    out_of_palm = 0.03 * rotation[:, :, 2]
    grip = (joints[:, _PALM_JOINTS].mean(1) + out_of_palm + joints[:, 4::4].mean(1)) / 2
    return PlacedHands(vertices, joints, centre, grip)


def random_views(count: int, sampler: Sampler) -> Tensor:
    """(count, 3, 3) rotations from the hand's frame to the camera's.

    Part shows palm or back, upright or rolled by any angle, part is uniform over all rotations.
    """
    device, degree = sampler.device, math.pi / 180
    palm_to_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0], device=device))  # fingers up
    turned = torch.where(sampler.chance(0.45, count), math.pi, 0.0)
    yaw = sampler.normal(count, std=45 * degree) + turned
    pitch = sampler.normal(count, std=38 * degree)
    roll = torch.where(
        sampler.chance(0.5, count),
        sampler.normal(count, std=55 * degree),
        sampler.uniform(count, high=2 * math.pi),
    )
    human = (
        axis_angle_matrix((0.0, 0.0, 1.0), roll)
        @ axis_angle_matrix((1.0, 0.0, 0.0), pitch)
        @ axis_angle_matrix((0.0, 1.0, 0.0), yaw)
        @ palm_to_camera
    )
    return torch.where(sampler.chance(_HUMAN_SHARE, count, 1, 1), human, sampler.rotation(count))

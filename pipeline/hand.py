"""What the pipeline finds: detections, hands, and the skeletons their joints belong to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.constants import CAMERA_MIRRORED

Handedness = Literal["left", "right"]
OTHER_SIDE: dict[Handedness, Handedness] = {"left": "right", "right": "left"}
FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@dataclass(frozen=True)
class Skeleton:
    """Names of the joints and the bones between them.

    Args:
        joint_names: J names.
        bones: pairs of joint numbers, (parent, child).
        fingers: for each joint its finger, 0 (thumb) to 4 (pinky), or -1 for the palm and wrist.
    """

    joint_names: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    fingers: tuple[int, ...]

    @property
    def num_joints(self) -> int:
        return len(self.joint_names)

    @cached_property
    def root(self) -> int:
        """The joint that no bone leads to: the wrist, or the middle of the palm."""
        return min(set(range(self.num_joints)) - {child for _, child in self.bones})

    @cached_property
    def knuckles(self) -> tuple[int, ...]:
        """The joints at the other ends of the root's bones, without the thumb's."""
        return tuple(child for parent, child in self.bones if parent == self.root and self.fingers[child] > 0)


def _hand21() -> Skeleton:
    """The order of OpenPose and MediaPipe: wrist, then each finger from the palm to its tip."""
    names, bones, fingers = ["wrist"], [], [-1]
    for number, finger in enumerate(FINGERS):
        parts = ("cmc", "mcp", "ip", "tip") if finger == "thumb" else ("mcp", "pip", "dip", "tip")
        for k, part in enumerate(parts):
            joint = len(names)
            names.append(f"{finger}_{part}")
            bones.append((0 if k == 0 else joint - 1, joint))
            fingers.append(number)
    return Skeleton(tuple(names), tuple(bones), tuple(fingers))


def _from_tips(joints_per_finger: dict[str, tuple[str, ...]], palm: tuple[str, ...], root: str) -> Skeleton:
    """A data set's order: each finger from its tip down, then the palm; the root carries the fingers."""
    names = [f"{finger}_{part}" for finger, parts in joints_per_finger.items() for part in parts]
    names += palm
    fingers = [FINGERS.index(finger) for finger, parts in joints_per_finger.items() for _ in parts]
    fingers += [-1] * len(palm)
    bones: list[tuple[int, int]] = []
    for joint, finger in enumerate(fingers):
        is_base = finger != fingers[joint + 1] if joint + 1 < len(fingers) else True
        parent = names.index(root) if is_base or finger < 0 else joint + 1
        if parent != joint:
            bones.append((parent, joint))
    return Skeleton(tuple(names), tuple(bones), tuple(fingers))


def _from_palm(names: tuple[str, ...]) -> Skeleton:
    """A data set's order in which each finger's joints come from the palm outwards, after the root."""
    fingers = [FINGERS.index(name.split("_")[0]) if "_" in name else -1 for name in names]
    last = dict.fromkeys(range(5), 0)  # the joint each finger has reached
    bones: list[tuple[int, int]] = []
    for joint, finger in enumerate(fingers):
        if finger >= 0:
            bones.append((last[finger], joint))
            last[finger] = joint
    return Skeleton(names, tuple(bones), tuple(fingers))


HAND_21 = _hand21()

# Joints of the data sets that published weights were trained on.
_TIPS_FIRST = tuple(reversed(FINGERS))
NYU_36 = _from_tips(
    dict.fromkeys(_TIPS_FIRST, ("1", "2", "3", "4", "5", "6")),
    ("palm_1", "palm_2", "palm_3", "palm_4", "palm_5", "palm_6"),
    root="palm_3",  # its centre
)
NYU_16 = _from_tips(dict.fromkeys(_TIPS_FIRST, ("tip", "middle", "base")), ("palm",), root="palm")
NYU_14 = _from_tips(
    {finger: ("tip", "middle", "base") if finger == "thumb" else ("tip", "middle") for finger in _TIPS_FIRST},
    ("wrist_1", "wrist_2", "palm"),
    root="palm",
)
ICVL_16 = _from_palm(
    ("palm", *(f"{finger}_{part}" for finger in FINGERS for part in ("base", "middle", "tip")))
)
HANDS2017_21 = _from_palm(
    (
        "wrist",
        *(f"{finger}_mcp" for finger in FINGERS),
        *(f"{finger}_{part}" for finger in FINGERS for part in ("pip", "dip", "tip")),
    )
)


def skeleton_for(num_joints: int) -> Skeleton:
    """The skeleton of weights that tell only how many joints they know; numbered joints if none fits."""
    known = {skeleton.num_joints: skeleton for skeleton in (NYU_14, NYU_16, HAND_21, NYU_36)}
    if num_joints in known:
        return known[num_joints]
    return Skeleton(tuple(f"joint_{k:02d}" for k in range(num_joints)), (), (-1,) * num_joints)


@dataclass(frozen=True, eq=False)
class Detection:
    """A hand's place in the depth image.

    Args:
        box: (4,) float32 px, x0 y0 x1 y1.
        score: 0..1.
        handedness: the person's hand as seen in an unmirrored image, or None if the detector has one class.
    """

    box: NDArray[np.float32]
    score: float
    handedness: Handedness | None


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand's joints.

    Args:
        id: stable number of its track, or None without tracking.
        box: (4,) float32 px, x0 y0 x1 y1 in the depth image.
        score: 0..1, of the hand.
        handedness: the person's hand, or None if unknown.
        joints_uvd: (J, 3) float32: column px, row px, depth mm in the depth image.
        joints_xyz: (J, 3) float32 mm in the depth camera's frame: x right, y down, z forward.
        confidence: (J,) float32 0..1.
        joint_names: J names.
    """

    id: int | None
    box: NDArray[np.float32]
    score: float
    handedness: Handedness | None
    joints_uvd: NDArray[np.float32]
    joints_xyz: NDArray[np.float32]
    confidence: NDArray[np.float32]
    joint_names: tuple[str, ...]


@overload
def in_image(side: Handedness) -> Handedness: ...


@overload
def in_image(side: None) -> None: ...


def in_image(side: Handedness | None) -> Handedness | None:
    """How a person's hand looks in the camera's image, and the other way round."""
    return OTHER_SIDE[side] if CAMERA_MIRRORED and side is not None else side


def centre_of(uvd: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3,) middle of the joints' box in the image, px, and their median depth, mm."""
    u, v, _ = (uvd.min(axis=0) + uvd.max(axis=0)) / 2
    return np.array([u, v, np.median(uvd[:, 2])])


def box_of(
    uvd: NDArray[np.floating], flesh: NDArray[np.floating], width: int, height: int
) -> NDArray[np.float64]:
    """(4,) x0 y0 x1 y1 px: around joints and the flesh about them, inside the image.

    Args:
        uvd: (J, 3) column px, row px, depth mm.
        flesh: (2,) px that the hand reaches beyond its joints, across and down.
        width, height: of the image, px.
    """
    corners = np.concatenate([uvd[:, :2].min(axis=0) - flesh, uvd[:, :2].max(axis=0) + flesh])
    return np.clip(corners, 0.0, [width, height] * 2)

"""What the pipeline finds: detections, hands, and the skeletons their joints belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Handedness = Literal["left", "right"]
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


HAND_21 = _hand21()


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

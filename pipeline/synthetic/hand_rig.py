"""The hand's rest state: mesh with forearm, bones, axes of the joints, skinning weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.glb import SkinnedMesh, load_skinned_mesh

HAND_MESH = Path(__file__).parent / "assets" / "hand_model" / "right.glb"

# Bones: the palm, then for each finger (thumb first) four, then the forearm. A finger's first bone is the
# metacarpal; the thumb's is a placeholder at the wrist, as its metacarpal moves like a phalanx.
LEVELS = 4
PALM, FOREARM, NUM_BONES = 0, 21, 22
NUM_ANGLES = 27

_FINGER_PARTS = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal")
_THUMB_PARTS = ("metacarpal", "phalanx-proximal", "phalanx-distal")
_FINGERS = ("index-finger", "middle-finger", "ring-finger", "pinky-finger")
# Anatomical frame from the file's: y from the wrist to the fingers, z out of the palm, x to the thumb.
_AXES = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_TIP_BEYOND_M = 0.008  # from the file's tip joint, amid the last phalanx, to 2-5 mm inside the skin's end
_SPREAD_SIGN = (-1.0, -0.3, 1.0, 1.0)  # turn about the palm's normal when index .. pinky spread

_FOREARM_M = 0.30
_RINGS = 12
# Relative width and thickness of the forearm against the distance from the wrist, m.
_PROFILE_AT = (0.0, 0.02, 0.08, 0.20, 0.24, 0.30)
_PROFILE_WIDTH = (1.0, 1.0, 1.08, 1.45, 1.5, 1.45)
_PROFILE_THICKNESS = (1.0, 1.02, 1.2, 1.85, 1.95, 1.9)
_WRIST_BLEND_M = (0.014, -0.032)  # between these heights the skin passes from palm to forearm


def bone(finger: int, level: int) -> int:
    """Number of a finger's bone: finger 0 (thumb) to 4, level 0 (metacarpal) to 3 (last phalanx)."""
    return 1 + LEVELS * finger + level


@dataclass(frozen=True, eq=False)
class HandRig:
    """A right hand at rest: x to the thumb, y to the fingers, z out of the palm, wrist at 0, metres.

    Args:
        vertices: (V, 3).
        faces: (F, 3) int64, counter-clockwise seen from outside.
        weights: (V, 22), rows sum to one.
        positions: (22, 3) where each bone begins.
        tips: (5, 3) ends of the last phalanges.
        directions: (22, 3) unit vectors along the bones.
        axes: (20, 3, 3) unit vectors: for each finger bone the axes of up to three turns, outermost first.
        angle_of_turn: (20, 3) int64: which of the 27 angles makes the turn; 27 for none.
        turn_sign: (20, 3) factor of the angle.
        forearm_distance: (V,) metres from the wrist along the forearm; 0 on the hand.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    weights: NDArray[np.float64]
    positions: NDArray[np.float64]
    tips: NDArray[np.float64]
    directions: NDArray[np.float64]
    axes: NDArray[np.float64]
    angle_of_turn: NDArray[np.int64]
    turn_sign: NDArray[np.float64]
    forearm_distance: NDArray[np.float64]


def load_hand_rig() -> HandRig:
    """Builds the rig from the hand mesh that comes with the package.

    Raises:
        SourceError: the mesh is missing or damaged.
    """
    mesh = load_skinned_mesh(HAND_MESH)
    number = {name: index for index, name in enumerate(mesh.joint_names)}
    origin = mesh.joint_positions[number["wrist"]]
    joint_positions = (mesh.joint_positions - origin) @ _AXES.T
    frames = _AXES @ mesh.joint_rotations

    joint_of_bone = {PALM: number["wrist"]}
    for level, part in enumerate(_THUMB_PARTS, start=1):
        joint_of_bone[bone(0, level)] = number[f"thumb-{part}"]
    for finger, name in enumerate(_FINGERS, start=1):
        for level, part in enumerate(_FINGER_PARTS):
            joint_of_bone[bone(finger, level)] = number[f"{name}-{part}"]
    positions = np.zeros((NUM_BONES, 3))
    weights = np.zeros((len(mesh.vertices), NUM_BONES))
    for index, joint in joint_of_bone.items():
        positions[index] = joint_positions[joint]
        weights[:, index] = mesh.weights[:, joint]
    tip_joints = [number[f"{name}-tip"] for name in ("thumb", *_FINGERS)]
    last = [bone(finger, LEVELS - 1) for finger in range(5)]
    weights[:, last] += mesh.weights[:, tip_joints]
    outward = joint_positions[tip_joints] - positions[last]
    tips = joint_positions[tip_joints] + _TIP_BEYOND_M * _unit(outward)

    angle_of_turn, turn_sign, axes = _turns({index: frames[joint] for index, joint in joint_of_bone.items()})
    vertices, faces, weights, distance = _add_forearm(mesh, (mesh.vertices - origin) @ _AXES.T, weights)
    return HandRig(
        vertices=vertices,
        faces=faces,
        weights=weights,
        positions=positions,
        tips=tips,
        directions=_directions(positions, tips),
        axes=axes,
        angle_of_turn=angle_of_turn,
        turn_sign=turn_sign,
        forearm_distance=distance,
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _directions(positions: NDArray[np.float64], tips: NDArray[np.float64]) -> NDArray[np.float64]:
    directions = np.tile([0.0, 1.0, 0.0], (NUM_BONES, 1))  # palm and forearm
    for finger in range(5):
        chain = np.vstack([positions[bone(finger, 0) : bone(finger, LEVELS)], tips[finger]])
        directions[bone(finger, 0) : bone(finger, LEVELS)] = _unit(np.diff(chain, axis=0))
    return directions


def _turns(
    frames: dict[int, NDArray[np.float64]],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Which angle turns which bone about which axis.

    The file's joint frames have -z along the bone and y out of the back of the hand, so that a positive
    turn about -x flexes. The angles' order is that of `pipeline.synthetic.poses`.
    """
    angle_of_turn = np.full((5 * LEVELS, 3), NUM_ANGLES)
    sign = np.ones((5 * LEVELS, 3))
    axes = np.tile([1.0, 0.0, 0.0], (5 * LEVELS, 3, 1))

    def turn(index: int, slot: int, angle: int, axis: NDArray[np.float64], factor: float = 1.0) -> None:
        angle_of_turn[index - 1, slot] = angle
        axes[index - 1, slot] = _unit(axis)
        sign[index - 1, slot] = factor

    for finger in range(1, 5):
        first = 4 * (finger - 1)
        proximal = frames[bone(finger, 1)]
        turn(bone(finger, 1), 0, first + 1, -proximal[:, 1], _SPREAD_SIGN[finger - 1])
        turn(bone(finger, 1), 1, first, -proximal[:, 0])
        turn(bone(finger, 2), 0, first + 2, -frames[bone(finger, 2)][:, 0])
        turn(bone(finger, 3), 0, first + 3, -frames[bone(finger, 3)][:, 0])
    for angle, finger in ((24, 3), (25, 4)):
        turn(bone(finger, 0), 0, angle, -frames[bone(finger, 0)][:, 0])
    metacarpal, proximal, distal = (frames[bone(0, level)] for level in (1, 2, 3))
    turn(bone(0, 1), 0, 16, -metacarpal[:, 0])
    turn(bone(0, 1), 1, 17, metacarpal[:, 1])
    turn(bone(0, 1), 2, 18, metacarpal[:, 2])
    turn(bone(0, 2), 0, 19, -proximal[:, 0])
    turn(bone(0, 2), 1, 26, proximal[:, 1])
    turn(bone(0, 3), 0, 20, -distal[:, 0])
    return angle_of_turn, sign, axes


def _add_forearm(
    mesh: SkinnedMesh, vertices: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Opens the mesh at the wrist and draws its rim out to a forearm.

    Returns:
        vertices, faces, weights and distance along the forearm of hand and forearm together.
    """
    corners = vertices[mesh.faces]
    normals = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    lid = (normals[:, 1] < -0.8) & (corners[:, :, 1].mean(axis=1) < -0.01)
    faces = mesh.faces[~lid]
    rim = _rim(faces)
    size, count = len(rim), len(vertices)

    start = vertices[rim]
    low, high = start[:, [0, 2]].min(axis=0), start[:, [0, 2]].max(axis=0)
    centre, radius = (low + high) / 2, (high - low) / 2
    circle = _unit((start[:, [0, 2]] - centre) / radius)
    rings = []
    for step in np.linspace(0, 1, _RINGS + 1)[1:]:
        distance = -start[:, 1] + step * (_FOREARM_M + start[:, 1])
        width = np.interp(distance, _PROFILE_AT, _PROFILE_WIDTH)
        thickness = np.interp(distance, _PROFILE_AT, _PROFILE_THICKNESS)
        ellipse = centre + radius * circle * np.stack([width, thickness], axis=1)
        rounded = min(1.0, 3 * step)  # the rim's own outline fades out over a third of the forearm
        outline = centre + (start[:, [0, 2]] - centre) * np.stack([width, thickness], axis=1)
        across = outline + rounded * (ellipse - outline)
        rings.append(np.stack([across[:, 0], -distance, across[:, 1]], axis=1))
    end = np.array([[centre[0], -_FOREARM_M - 0.01, centre[1]]])
    vertices = np.concatenate([vertices, *rings, end])

    ring_of = [rim, *(count + size * k + np.arange(size) for k in range(_RINGS))]
    for upper, lower in pairwise(ring_of):
        following, below = np.roll(upper, -1), np.roll(lower, -1)
        faces = np.concatenate(
            [faces, np.stack([following, upper, lower], 1), np.stack([following, lower, below], 1)]
        )
    last = ring_of[-1]
    cap = np.stack([np.roll(last, -1), last, np.full(size, len(vertices) - 1)], 1)
    faces = np.concatenate([faces, cap])

    weights = np.concatenate([weights, np.zeros((len(vertices) - count, NUM_BONES))])
    weights[count:, PALM] = 1.0
    top, bottom = _WRIST_BLEND_M
    ramp = np.clip((top - vertices[:, 1]) / (top - bottom), 0, 1)
    to_forearm = ramp * ramp * (3 - 2 * ramp)
    weights[:, FOREARM] = to_forearm * weights[:, PALM]
    weights[:, PALM] *= 1 - to_forearm
    return vertices, faces, weights, np.clip(-vertices[:, 1], 0, None)


def _rim(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """The vertices of the mesh's one open edge, in the direction its faces run."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = {tuple(edge) for edge in edges.tolist()}
    following = {first: second for first, second in both if (second, first) not in both}
    rim = [min(following)]
    while (vertex := following[rim[-1]]) != rim[0]:
        rim.append(vertex)
    return np.array(rim)

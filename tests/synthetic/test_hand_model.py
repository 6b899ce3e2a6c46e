from collections import Counter

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.hand import HAND_21
from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.hand_rig import FOREARM, NUM_ANGLES, bone
from pipeline.synthetic.poses import angle_limits, sample_angles
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.shapes import HandShape, sample_shapes

THUMB, INDEX, MIDDLE, RING, PINKY = range(5)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel()


def flat(count: int = 1) -> Tensor:
    return torch.zeros(count, NUM_ANGLES)


def bone_lengths(joints: Tensor) -> Tensor:
    parents, children = torch.tensor(HAND_21.bones).T
    return (joints[:, children] - joints[:, parents]).norm(dim=2)


def test_flat_hand_has_an_adults_measures(model: HandModel) -> None:
    joints = 1000 * model.pose(flat(), HandShape.median(1)).joints[0]
    assert joints[0].abs().max() < 1e-4  # wrist at the origin
    knuckles = joints[[5, 9, 13, 17]].norm(dim=1)
    np.testing.assert_allclose(knuckles, [92, 92, 87, 83], atol=2)
    assert 175 < joints[12, 1] < 190  # wrist to the middle finger's tip
    thumb = joints[1:5].diff(dim=0).norm(dim=1)
    np.testing.assert_allclose(thumb[:2], [32.5, 33.8], atol=1)


def test_it_is_a_right_hand(model: HandModel) -> None:
    joints = model.pose(flat(), HandShape.median(1)).joints[0]
    to_thumb, to_fingers = joints[2] - joints[17], joints[9] - joints[0]
    fist = flat()
    fist[:, [0, 4, 8, 12, 2, 6, 10, 14]] = 1.3
    curled = model.pose(fist, HandShape.median(1)).joints[0]
    out_of_palm = curled[[8, 12, 16, 20]].mean(0) - joints[[8, 12, 16, 20]].mean(0)
    # thumb side x fingers = palm side, as on a right hand held up before its owner's eyes
    assert torch.linalg.cross(to_thumb, to_fingers) @ out_of_palm > 0
    assert curled[[8, 12, 16, 20], 2].min() > 0.01


def test_mesh_is_closed_and_its_faces_look_outwards(model: HandModel) -> None:
    hand = model.pose(flat(), HandShape.median(1))
    edges = torch.cat([model.faces[:, [0, 1]], model.faces[:, [1, 2]], model.faces[:, [2, 0]]]).tolist()
    directed = Counter(map(tuple, edges))
    assert all(count == 1 and directed[(b, a)] == 1 for (a, b), count in directed.items())
    for vertices, faces in (
        (hand.vertices[0], model.faces),
        (hand.vertices[0] * torch.tensor([-1.0, 1, 1]), model.left_faces),
    ):
        a, b, c = vertices.double()[faces].unbind(1)
        volume = (a * torch.linalg.cross(b, c)).sum() / 6
        assert 0.0009 < volume < 0.0016  # m3, hand and forearm


@pytest.mark.parametrize(
    ("angle", "finger", "level"),
    [(2, INDEX, 2), (7, MIDDLE, 3), (8, RING, 1), (20, THUMB, 3), (25, PINKY, 0)],
)
def test_one_angle_turns_what_lies_beyond_its_joint_rigidly(
    model: HandModel, angle: int, finger: int, level: int
) -> None:
    shape = HandShape.median(2)
    angles = flat(2)
    angles[1, angle] = 0.7
    bones = model.bones(angles, shape)
    pivot = bones.position[0, bone(finger, level)]
    turned = Rotation.align_vectors(
        np.asarray(bones.tips[1, finger] - pivot)[None], np.asarray(bones.tips[0, finger] - pivot)[None]
    )[0]
    assert turned.magnitude() <= 0.7 + 1e-5
    matrix = bones.rotation[1, bone(finger, level)].double().numpy()
    assert Rotation.from_matrix(matrix).magnitude() == pytest.approx(0.7, abs=1e-5)
    np.testing.assert_allclose(
        Rotation.from_matrix(matrix).apply(np.asarray(bones.tips[0, finger] - pivot)),
        np.asarray(bones.tips[1, finger] - pivot),
        atol=1e-6,
    )
    others = [f for f in range(5) if f != finger]
    assert torch.equal(bones.tips[0, others], bones.tips[1, others])


def test_chain_of_turns_agrees_with_scipy(model: HandModel) -> None:
    angles = sample_angles(6, Sampler("cpu", 3))
    bones = model.bones(angles, HandShape.median(6))
    resting = model.bones(flat(), HandShape.median(1))
    for finger in range(1, 5):
        axes = model._axes.view(5, 4, 3, 3)[finger].numpy()
        first = 4 * (finger - 1)
        sign = (-1.0, -0.3, 1.0, 1.0)[finger - 1]
        for hand in range(6):
            value = angles[hand].numpy()
            metacarpal = value[{3: 24, 4: 25}[finger]] if finger >= 3 else 0.0
            chain = [
                Rotation.from_rotvec(axes[0, 0] * metacarpal),
                Rotation.from_rotvec(axes[1, 0] * sign * value[first + 1])
                * Rotation.from_rotvec(axes[1, 1] * value[first]),
                Rotation.from_rotvec(axes[2, 0] * value[first + 2]),
                Rotation.from_rotvec(axes[3, 0] * value[first + 3]),
            ]
            rest = [
                *resting.position[0, bone(finger, 0) : bone(finger, 4)].numpy(),
                resting.tips[0, finger].numpy(),
            ]
            point, turn = rest[0], Rotation.identity()
            for level in range(4):
                turn = turn * chain[level]
                point = point + turn.apply(rest[level + 1] - rest[level])
            np.testing.assert_allclose(bones.tips[hand, finger], point, atol=1e-5)


def test_bones_keep_their_lengths_in_every_pose(model: HandModel) -> None:
    sampler = Sampler("cpu", 4)
    shapes = sample_shapes(20, sampler)
    posed = bone_lengths(model.pose(sample_angles(20, sampler), shapes).joints)
    resting = bone_lengths(model.pose(flat(20), shapes).joints)
    phalanges = [k for k, (parent, _) in enumerate(HAND_21.bones) if parent != 0]
    torch.testing.assert_close(posed[:, phalanges], resting[:, phalanges], rtol=1e-4, atol=1e-6)


def test_lengths_and_thickness_scale_bones_and_skin(model: HandModel) -> None:
    longer = HandShape.median(2)
    length, thickness = longer.length.clone(), longer.thickness.clone()
    length[1] *= 1.1
    thickness[1] *= 1.1
    hand = model.pose(flat(2), HandShape(length, thickness))
    torch.testing.assert_close(hand.joints[1], 1.1 * hand.joints[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(hand.vertices[1], 1.1 * hand.vertices[0], rtol=1e-3, atol=1e-5)


def test_joints_lie_inside_the_flesh(model: HandModel) -> None:
    hand = model.pose(flat(), HandShape.median(1))
    distance = 1000 * torch.cdist(hand.joints[0], hand.vertices[0]).amin(1)
    tips = [4, 8, 12, 16, 20]
    others = [joint for joint in range(1, 21) if joint not in tips]
    assert ((distance[tips] > 1.5) & (distance[tips] < 8)).all()
    assert ((distance[others] > 3) & (distance[others] < 16)).all()
    ahead = (hand.vertices[0, :, 1].max() - hand.joints[0, 12, 1]) * 1000
    assert 2 < ahead < 7  # the tip is at the finger's end


def test_wrist_turns_the_forearm_and_not_the_hand(model: HandModel) -> None:
    angles = flat(2)
    angles[1, 21] = 0.8
    hand = model.pose(angles, HandShape.median(2))
    torch.testing.assert_close(hand.joints[0], hand.joints[1])
    elbow = model.forearm_distance.argmax()
    assert hand.vertices[1, elbow, 2] > hand.vertices[0, elbow, 2] + 0.1  # flexed: forearm on the palm's side
    assert Rotation.from_matrix(hand.bones.rotation[1, FOREARM].numpy()).magnitude() == pytest.approx(
        0.8, abs=1e-5
    )


def test_random_shapes_span_children_to_large_men(model: HandModel) -> None:
    shapes = sample_shapes(400, Sampler("cpu", 5))
    length = 1000 * model.pose(flat(400), shapes).joints[:, 12].norm(dim=1)
    assert 130 < length.min() < 160
    assert 205 < length.max() < 240
    assert 178 < length.median() < 192


def test_limits_are_ordered_and_contain_the_flat_hand() -> None:
    lower, upper = angle_limits()
    assert (lower <= 0).all()
    assert (upper >= 0).all()
    assert (upper - lower).max() < np.deg2rad(140)

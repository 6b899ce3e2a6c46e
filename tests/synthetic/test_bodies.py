import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.synthetic.bodies import ASSET, BONES, PARENTS, SIDES, BodyModel, bone_number
from pipeline.synthetic.hand_rig import NUM_ANGLES
from pipeline.synthetic.people import Appearance, PeopleModel, Posture
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel()


@pytest.fixture(scope="module")
def people() -> PeopleModel:
    return PeopleModel()


@pytest.fixture(scope="module")
def someone(people: PeopleModel) -> Appearance:
    return people.sample_appearance(1, Sampler("cpu", 4))


def still(**changes: torch.Tensor) -> Posture:
    """One person standing, arms bent before the body."""
    fields = {
        "turn": torch.zeros(1),
        "back": torch.zeros(1, 3),
        "head": torch.zeros(1, 3),
        "hips": torch.zeros(1, 2),
        "knees": torch.zeros(1, 2),
        "spread": torch.zeros(1, 2),
        "reach": torch.tensor([[[0.0, 0.4, 0.5], [0.0, 0.4, 0.5]]]),
        "elbow": torch.zeros(1, 2),
        "pronation": torch.zeros(1, 2),
        "hand_angles": torch.zeros(1, 2, NUM_ANGLES),
    }
    return Posture(**{**fields, **changes})


def test_asset_is_small_and_its_mesh_is_closed_but_for_the_wrists(body: BodyModel) -> None:
    assert ASSET.stat().st_size < 2_000_000
    assert body.faces.max() < body.num_vertices
    edges = torch.cat([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    _, uses = edges.sort(1).values.unique(dim=0, return_counts=True)
    assert (uses == 2).float().mean() > 0.97
    a, b, c = body.rest[body.faces].unbind(1)
    litres = 1000 * (torch.linalg.cross(a, b) * c).sum() / 6  # positive: faces run round outside
    assert 40 < litres < 110


def test_rest_pose_gives_the_rest_shape_and_a_turn_of_all_bones_turns_it(body: BodyModel) -> None:
    shape = body.sample_shape(3, Sampler("cpu", 1))
    identity = torch.eye(3).expand(3, len(BONES), 3, 3)
    joints = body.joints(shape, identity)
    np.testing.assert_allclose(joints, shape.joints, atol=1e-6)
    np.testing.assert_allclose(body.skin(shape, identity, joints), shape.vertices, atol=1e-3)

    turn = axis_angle_matrix((0.0, 1.0, 0.0), torch.tensor(0.7))
    turned = body.joints(shape, turn.expand(3, len(BONES), 3, 3))
    pelvis = shape.joints[:, :1]
    expected = (shape.vertices - pelvis) @ turn.T + pelvis
    found = body.skin(shape, turn.expand(3, len(BONES), 3, 3), turned)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_people_are_as_tall_as_people(body: BodyModel) -> None:
    sampler = Sampler("cpu", 2)
    for children, low, high in ((0.0, 1.35, 2.15), (1.0, 0.85, 1.95)):
        vertices = body.sample_shape(200, sampler, child_share=children).vertices
        heights = vertices[..., 1].amax(1) - vertices[..., 1].amin(1)
        assert low < heights.min()
        assert heights.max() < high
    assert all(parent < bone for bone, parent in enumerate(PARENTS))


@settings(max_examples=25)
@given(
    reach=st.tuples(st.floats(-0.4, 0.6), st.floats(-0.6, 0.7), st.floats(0.15, 0.6)),
    elbow=st.floats(-1, 1),
    back=st.floats(-0.3, 0.5),
    turn=st.floats(-3, 3),
)
def test_wrists_go_where_they_are_told_and_arms_keep_their_lengths(
    reach: tuple[float, float, float], elbow: float, back: float, turn: float
) -> None:
    people = PeopleModel()
    someone = people.sample_appearance(1, Sampler("cpu", 4))
    wanted = torch.tensor(reach)
    posture = still(
        reach=wanted.expand(1, 2, 3),
        elbow=torch.full((1, 2), elbow),
        back=torch.tensor([[back, 0.0, 0.0]]),
        turn=torch.tensor([turn]),
    )
    posed = people.pose(someone, posture)
    rest = someone.dressed.joints
    for side, name in enumerate(SIDES):
        numbers = [bone_number(f"{limb}.{name}") for limb in ("upperarm", "lowerarm", "wrist")]
        lengths = posed.body_joints[0, numbers].diff(dim=0).norm(dim=1)
        np.testing.assert_allclose(lengths, rest[0, numbers].diff(dim=0).norm(dim=1), atol=1e-4)
        distance = (posed.body_joints[0, numbers[2]] - posed.body_joints[0, numbers[0]]).norm()
        told = (wanted.norm() * lengths.sum()).clamp(0.3 * lengths.sum(), 0.985 * lengths.sum())
        np.testing.assert_allclose(distance, told, atol=2e-3)
        np.testing.assert_allclose(posed.hand_joints[0, side, 0], posed.body_joints[0, numbers[2]], atol=1e-5)


def test_bent_arms_hold_thumbs_up_and_palms_to_each_other(people: PeopleModel, someone: Appearance) -> None:
    joints = people.pose(someone, still()).hand_joints[0]
    for side, inwards in ((0, -1.0), (1, 1.0)):  # x points to the person's left
        index, pinky = joints[side, 5], joints[side, 17]
        assert index[1] < pinky[1] - 0.03  # y points down
        towards_palm = joints[side, 1] - joints[side, 0]  # the thumb grows out of the palm's side
        assert inwards * towards_palm[0] > 0
        assert joints[side, 9, 2] < joints[side, 0, 2] - 0.04  # fingers point forward


def test_pronation_turns_palms_down(people: PeopleModel, someone: Appearance) -> None:
    joints = people.pose(someone, still(pronation=torch.full((1, 2), torch.pi / 2))).hand_joints[0]
    for side, inwards in ((0, -1.0), (1, 1.0)):
        across = joints[side, 5] - joints[side, 17]  # from the little finger to the index finger
        assert inwards * across[0] > 0.03  # thumbs inwards
        assert abs(across[1]) < 0.03


def test_left_and_right_are_mirror_images(people: PeopleModel) -> None:
    appearance = people.sample_appearance(1, Sampler("cpu", 9))
    angles = 0.3 * torch.rand(1, 1, NUM_ANGLES, generator=torch.Generator().manual_seed(0)).expand(1, 2, -1)
    posed = people.pose(appearance, still(hand_angles=angles, pronation=torch.full((1, 2), 0.6)))
    mirrored = posed.hand_joints[0, 0] * torch.tensor([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(mirrored, posed.hand_joints[0, 1], atol=0.02)  # bodies are nearly symmetric


def test_hands_fit_their_bodies(people: PeopleModel) -> None:
    count = 40
    sampler = Sampler("cpu", 3)
    appearance = people.sample_appearance(count, sampler)
    one = still()
    posture = Posture(
        *(getattr(one, name).expand(count, *getattr(one, name).shape[1:]) for name in vars(one))
    )
    joints = people.pose(appearance, posture).hand_joints
    lengths = (joints[:, :, 12] - joints[:, :, 0]).norm(dim=2)
    vertices = appearance.dressed.vertices
    heights = (vertices[..., 1].amax(1) - vertices[..., 1].amin(1))[:, None]
    ratio = lengths / heights
    assert ratio.min() > 0.085  # a hand is about a ninth of its body
    assert ratio.max() < 0.14

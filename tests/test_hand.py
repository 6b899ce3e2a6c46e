from pathlib import Path

import numpy as np
import pytest

from pipeline.hand import HAND_21, HANDS2017_21, ICVL_16, NYU_14, NYU_16, NYU_36, Skeleton, skeleton_for

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data" / "a2j_published"
SKELETONS = [HAND_21, HANDS2017_21, ICVL_16, NYU_14, NYU_16, NYU_36]


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_skeleton_is_one_tree(skeleton: Skeleton) -> None:
    parents = {child: parent for parent, child in skeleton.bones}
    assert len(parents) == len(skeleton.bones) == skeleton.num_joints - 1
    roots = set()
    for joint in range(skeleton.num_joints):
        steps = 0
        while joint in parents and steps <= skeleton.num_joints:
            joint, steps = parents[joint], steps + 1  # noqa: PLW2901
        roots.add(joint)
    assert len(roots) == 1
    assert skeleton.fingers[roots.pop()] == -1


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_names_are_unique_and_say_the_finger(skeleton: Skeleton) -> None:
    assert len(set(skeleton.joint_names)) == skeleton.num_joints == len(skeleton.fingers)
    for name, finger in zip(skeleton.joint_names, skeleton.fingers, strict=True):
        assert name.split("_")[0] == (("thumb", "index", "middle", "ring", "pinky")[finger]) or finger == -1


def test_joints_in_the_order_of_openpose() -> None:
    assert [HAND_21.joint_names[k] for k in (0, 1, 4, 5, 8, 20)] == [
        "wrist",
        "thumb_cmc",
        "thumb_tip",
        "index_mcp",
        "index_tip",
        "pinky_tip",
    ]


def test_skeleton_is_found_by_its_number_of_joints() -> None:
    assert [skeleton_for(n) for n in (14, 16, 21, 36)] == [NYU_14, NYU_16, HAND_21, NYU_36]
    assert skeleton_for(3).joint_names == ("joint_00", "joint_01", "joint_02")
    assert skeleton_for(3).bones == ()


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs ../shared")
@pytest.mark.parametrize(
    ("file", "skeleton", "camera"),
    [
        ("nyu_861_epoch32_UVD.txt", NYU_14, (588.03, 587.07, 320, 240)),
        ("icvl_646_epoch12_UVD.txt", ICVL_16, (240.99, 240.96, 160, 120)),
    ],
)
def test_bones_keep_their_length_in_published_joints(
    file: str, skeleton: Skeleton, camera: tuple[float, float, float, float]
) -> None:
    """Only bones between true neighbours do, whatever the pose."""
    uvd = np.loadtxt(PUBLISHED / file, max_rows=1500).reshape(-1, skeleton.num_joints, 3)
    fx, fy, cx, cy = camera
    rays = np.stack([(uvd[..., 0] - cx) / fx, (uvd[..., 1] - cy) / fy, np.ones(uvd.shape[:2])], axis=-1)
    xyz = rays * uvd[..., 2:]
    parents, children = np.array(skeleton.bones).T
    lengths = np.linalg.norm(xyz[:, parents] - xyz[:, children], axis=-1)
    assert (lengths.std(axis=0) / lengths.mean(axis=0)).max() < 0.25
    assert lengths.mean(axis=0).min() > 10
    assert lengths.mean(axis=0).max() < 90

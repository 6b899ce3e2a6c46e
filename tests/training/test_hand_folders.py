"""Data sets are read as their archives unpack: the joints lie on the hands that the images show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import HandPoseError, UsageError
from pipeline.hand import HAND_21, NYU_14, NYU_16, NYU_36
from pipeline.training.benchmarks import BENCHMARKS
from pipeline.training.hand_folders import (
    HandFrames,
    read_hands2017,
    read_icvl,
    read_msra,
    read_nyu,
)
from tests.training.data_folders import hand_frames, write_hands2017, write_icvl, write_msra, write_nyu


@pytest.fixture(scope="module")
def nyu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nyu(tmp_path_factory.mktemp("nyu"), count=3)


def test_nyu_frames_have_the_joints_of_their_camera_and_number(nyu: Path) -> None:
    images, joints = hand_frames(BENCHMARKS["nyu"].camera, 3, seed=0)
    frames = read_nyu(nyu, "train", 36)
    assert [path.name for path in frames.paths] == [f"depth_1_{n:07d}.png" for n in (1, 2, 3)]
    assert frames.skeleton == NYU_36
    for n, image in enumerate(images):
        np.testing.assert_array_equal(frames.depth(n), image)
    np.testing.assert_allclose(frames.joints, joints[:, np.arange(36) % 21], rtol=1e-6)


def test_nyu_joints_and_cameras_can_be_chosen(nyu: Path) -> None:
    every = read_nyu(nyu, "test", 36, (1, 2, 3))
    assert len(every) == 4  # there is one image of the second camera
    for count, skeleton, thumb_tip in ((14, NYU_14, 24), (16, NYU_16, 24)):
        frames = read_nyu(nyu, "test", count)
        assert frames.skeleton == skeleton
        thumb = skeleton.joint_names.index("thumb_tip")
        np.testing.assert_array_equal(frames.joints[:, thumb], every.joints[:3, thumb_tip])


@pytest.mark.parametrize(
    ("write", "read", "name", "joints"),
    [
        (write_icvl, read_icvl, "icvl", 16),
        (write_hands2017, read_hands2017, "hands2017", 21),
        (write_msra, read_msra, "msra", 21),
    ],
)
def test_other_data_sets_come_back_as_they_were_written(
    write: Callable[[Path, int], Path],
    read: Callable[[Path, str], HandFrames],
    name: str,
    joints: int,
    tmp_path: Path,
) -> None:
    images, truth = hand_frames(BENCHMARKS[name].camera, 3)
    write(tmp_path, 3)
    train, test = read(tmp_path, "train"), read(tmp_path, "test")
    numbers = {"hands2017": [1, 2]}.get(name, [0, 1, 2])  # its first frame is held out
    np.testing.assert_allclose(train.joints, truth[numbers][:, :joints], atol=2e-3)
    assert len(test) == (1 if name == "hands2017" else 3)
    inside = (slice(10, 230), slice(20, 300)) if name == "msra" else (slice(None), slice(None))
    np.testing.assert_array_equal(train.depth(0)[inside], images[numbers[0]][inside])


def test_msra_frames_have_our_joint_order(tmp_path: Path) -> None:
    assert read_msra(write_msra(tmp_path, 1), "train").skeleton == HAND_21


def test_joints_lie_on_the_hands_surface(nyu: Path) -> None:
    frames = read_nyu(nyu, "train", 14)
    for n, joints in enumerate(frames.joints):
        column, row = joints[:, :2].round().astype(int).T
        behind = joints[:, 2] - frames.depth(n)[row, column].astype(float)
        assert np.median(np.abs(behind)) < 40


def test_folders_of_something_else_are_told_in_words(nyu: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"joint_data\.mat is missing"):
        read_nyu(tmp_path, "train")
    for read in (read_icvl, read_msra):
        with pytest.raises(UsageError, match="no labelled frames"):
            read(tmp_path, "train")
    with pytest.raises(UsageError, match=r"Training_Annotation\.txt cannot be read"):
        read_hands2017(tmp_path, "train")
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "Training_Annotation.txt").write_text("image_D00000001.png 1 2 3\n")
    with pytest.raises(HandPoseError, match="3 numbers in row 1 instead of 63"):
        read_hands2017(tmp_path, "train")


def test_broken_images_and_labels_are_told_in_words(tmp_path: Path) -> None:
    folder = write_nyu(tmp_path, count=1)
    frames = read_nyu(folder, "train")
    frames.paths[0].write_bytes(b"\x89PNG cut off")
    with pytest.raises(HandPoseError, match=r"depth_1_0000001\.png is no depth image"):
        frames.depth(0)
    (folder / "train" / "joint_data.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut off")
    with pytest.raises(HandPoseError, match="cannot be read"):
        read_nyu(folder, "train")

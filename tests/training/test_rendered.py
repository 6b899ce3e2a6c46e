"""Fixed sets stay what they are to the bit, and no run trains on the poses in them."""

from __future__ import annotations

import torch

from pipeline.synthetic.scene_crops import SceneCropGenerator
from pipeline.synthetic.scenes import POSE_SEED, SceneGenerator, pose_bank
from pipeline.training import rendered
from pipeline.training.rendered import TEST_SEED, TRAINING_POSE_SEED, derived_seed

CPU, FIRST = torch.device("cpu"), derived_seed(TEST_SEED, 0)


def test_fixed_scenes_have_the_poses_of_the_default() -> None:
    (found,) = rendered.fixed_scenes(2, TEST_SEED)
    expected = SceneGenerator("cpu", FIRST).batch(2)
    assert torch.equal(found.depth, expected.depth)
    assert torch.equal(found.ir, expected.ir)
    assert torch.equal(torch.cat(found.joints), torch.cat(expected.joints))


def test_fixed_crops_of_scenes_have_the_poses_of_the_default() -> None:
    (found,) = rendered.fixed_scene_crops(8, TEST_SEED, 48, 325.0)
    expected = SceneCropGenerator("cpu", 48, 325.0).batch(8, FIRST)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.joints, expected.joints)


def test_runs_train_on_other_poses() -> None:
    """In the same scenes otherwise: seed and count are alike."""
    fixed, trained = (pose_bank(CPU, 4096, seed).angles for seed in (POSE_SEED, TRAINING_POSE_SEED))
    assert torch.cdist(fixed[:256].double(), trained.double()).min() > 1e-3
    (same,) = rendered.fixed_scenes(2, TEST_SEED)
    other = rendered.scene_renderer(CPU, TEST_SEED)(0, 2)
    assert not torch.equal(torch.cat(same.joints), torch.cat(other.joints))
    expected = SceneGenerator("cpu", FIRST, pose_seed=TRAINING_POSE_SEED).batch(2)
    assert torch.equal(other.depth, expected.depth)
    (crops,) = rendered.fixed_scene_crops(8, TEST_SEED, 48, 325.0)
    others = rendered.scene_crop_renderer(CPU, TEST_SEED, 48, 325.0)(0, 8)
    assert not torch.equal(crops.joints, others.joints)

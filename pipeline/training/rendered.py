"""Rendered samples by their number, for training and for fixed test sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from pipeline.synthetic.crops import CropBatch
    from pipeline.synthetic.scene_crops import SceneCropBatch
    from pipeline.synthetic.scenes import SceneBatch

# (number of the block, samples) -> the block: the same numbers give the same samples.
RenderCrops: TypeAlias = "Callable[[int, int], CropBatch]"
RenderSceneCrops: TypeAlias = "Callable[[int, int], SceneCropBatch]"
RenderScenes: TypeAlias = "Callable[[int, int], SceneBatch]"

TEST_SEED = 0x7E57_0000  # the test split; no run draws from its streams
HELD_OUT_SEED = 0x4E1D_0000  # what a run is evaluated on while it trains
BLOCK = 64  # samples rendered at once: part of the definition of the fixed sets
TRAINING_POSE_SEED = 0x7A41_0000  # of the poses in scenes to train on; the fixed sets have others
_POSES = 32768  # in the store of a training run


def derived_seed(*numbers: int) -> int:
    """One 63-bit seed out of several numbers (splitmix64 over them), so that streams do not overlap."""
    state = 0
    for number in numbers:
        state = (state + 0x9E3779B97F4A7C15 + number) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return state >> 1


def crop_renderer(
    device: torch.device, seed: int, size: int, crop_mm: float, poses: int = _POSES
) -> RenderCrops:
    """Renders crops of right hands."""
    from pipeline.synthetic.crops import CropGenerator

    generator = CropGenerator(device, seed, size=size, crop_mm=crop_mm, poses=poses)

    def render(number: int, count: int) -> CropBatch:
        generator.index = number
        return generator.batch(count)

    return render


def scene_crop_renderer(
    device: torch.device, seed: int, size: int, crop_mm: float, pose_seed: int = TRAINING_POSE_SEED
) -> RenderSceneCrops:
    """Renders crops of hands, and of none, out of scenes with people."""
    from pipeline.synthetic.scene_crops import SceneCropGenerator

    generator = SceneCropGenerator(device, size, crop_mm, pose_seed=pose_seed)

    def render(number: int, count: int) -> SceneCropBatch:
        return generator.batch(count, derived_seed(seed, number))

    return render


def scene_renderer(device: torch.device, seed: int, pose_seed: int = TRAINING_POSE_SEED) -> RenderScenes:
    """Renders scenes with people."""
    from pipeline.synthetic.scenes import SceneGenerator

    def render(number: int, count: int) -> SceneBatch:
        return SceneGenerator(device, derived_seed(seed, number), pose_seed=pose_seed).batch(count)

    return render


def fixed_crops(count: int, seed: int, size: int, crop_mm: float) -> list[CropBatch]:
    """The first `count` crops of a fixed set, rendered on the CPU whatever the run's device.

    They are the first of a larger set for multiples of BLOCK only: a smaller last block is another rendering.
    """
    render = crop_renderer(torch.device("cpu"), seed, size, crop_mm, poses=8192)
    return [render(number, n) for number, n in enumerate(_blocks(count))]


def fixed_scene_crops(count: int, seed: int, size: int, crop_mm: float) -> list[SceneCropBatch]:
    """The first `count` crops of a fixed set, as `fixed_crops` says, rendered on the CPU."""
    from pipeline.synthetic.scenes import POSE_SEED

    render = scene_crop_renderer(torch.device("cpu"), seed, size, crop_mm, POSE_SEED)
    return [render(number, n) for number, n in enumerate(_blocks(count))]


def fixed_scenes(count: int, seed: int) -> list[SceneBatch]:
    """The first `count` scenes of a fixed set, as `fixed_crops` says, rendered on the CPU."""
    from pipeline.synthetic.scenes import POSE_SEED

    render = scene_renderer(torch.device("cpu"), seed, POSE_SEED)
    return [render(number, n) for number, n in enumerate(_blocks(count))]


def _blocks(count: int) -> list[int]:
    return [min(BLOCK, count - first) for first in range(0, count, BLOCK)]

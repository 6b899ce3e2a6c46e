"""Training A2J on published data sets of hands, the way its authors do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.constants import (
    A2J_HANDS2017_MEAN,
    A2J_HANDS2017_STD,
    A2J_ICVL_MEAN,
    A2J_ICVL_STD,
    A2J_INPUT_SIZE,
    A2J_NYU_MEAN,
    A2J_NYU_STD,
    RECROP_MM,
)
from pipeline.crop import HandCrop
from pipeline.hand import Skeleton, centre_of
from pipeline.networks.a2j import A2J, aggregate, anchor_grid
from pipeline.networks.checkpoints import save_a2j
from pipeline.networks.contracts import HandInput
from pipeline.training.contact_sheet import TRUTH, draw_bones, grey, sheet
from pipeline.training.devices import Workers
from pipeline.training.hand_folders import DepthImage, HandFrames
from pipeline.training.losses import A2JOutput
from pipeline.training.metrics import joint_errors, worst_joint_shares
from pipeline.training.original_losses import a2j_loss
from pipeline.training.stream import EpochOrder, Prefetched

_CHUNK = 64  # hands of the evaluation that are read at once


@dataclass(frozen=True)
class Recipe:
    """How A2J's authors see and train on a data set.

    Args:
        half_mm: half the side of the crop, in the plane of its centre.
        mean, std: of the depths in the crops, mm.
        epochs: of the whole training.
        decay_epochs: after so many the learning rate is divided by five.
    """

    half_mm: float
    mean: float
    std: float
    epochs: int
    decay_epochs: int

    def contract(self, skeleton: Skeleton, size: int = A2J_INPUT_SIZE) -> HandInput:
        """The network's input; its depths are mm, what lies 150 mm off counts as the centre."""
        return HandInput(
            size=size,
            crop_mm=2 * self.half_mm,
            depth_range_mm=150.0,
            mean=self.mean,
            std=self.std,
            skeleton=skeleton,
        )


RECIPES = {
    "nyu": Recipe(110.0, A2J_NYU_MEAN, A2J_NYU_STD, 34, 10),
    "icvl": Recipe(95.0, A2J_ICVL_MEAN, A2J_ICVL_STD, 17, 7),
    "hands2017": Recipe(100.0, A2J_HANDS2017_MEAN, A2J_HANDS2017_STD, 17, 7),
    "msra": Recipe(100.0, 0.0, 25.0, 17, 7),  # ours: A2J was not published for it
}


@dataclass(frozen=True)
class FolderAugmentation:
    """How far crops are varied.

    Args:
        shift_px: largest shift of each edge of the window, px of the image.
        roll: largest rotation, rad.
        scale: smallest and largest size of the hand, in all three dimensions.
        erase: share of the crops of which a rectangle is lost (Zhong et al. 2017, with its usual sizes).
        depth_mm: largest error of the crop's centre along the optical axis. A2J's authors have none, for they
            are given the centres; our pipeline crops anew only if it is off by more than this.
        mirror: share of the crops that are mirrored, which makes a network for both hands out of one.
    """

    shift_px: float = 5.0
    roll: float = math.pi
    scale: tuple[float, float] = (0.5, 1.5)
    erase: float = 0.5
    depth_mm: float = RECROP_MM
    mirror: float = 0.0

    def __call__(
        self, depth: DepthImage, joints: NDArray[np.floating], crop: HandCrop, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A varied crop and its joints.

        Args:
            depth: (H, W) mm.
            joints: (J, 3) column px, row px of that image, mm.
            crop: about the hand.

        Returns:
            (S, S) input of the network; (J, 3) row px, column px of it, depth in the network's unit.
        """
        size, contract = crop.contract.size, crop.contract
        left, top, right, bottom = rng.uniform(-self.shift_px, self.shift_px, 4)
        scale = rng.uniform(*self.scale)
        varied = replace(
            crop,
            u=crop.u + (left + right) / 2,
            v=crop.v + (top + bottom) / 2,
            step_x=(crop.step_x + (right - left) / size) / scale,
            step_y=(crop.step_y + (bottom - top) / size) / scale,
            depth_mm=crop.depth_mm + rng.uniform(-self.depth_mm, self.depth_mm),
            roll=rng.uniform(-self.roll, self.roll),
            mirrored=bool(rng.random() < self.mirror),
        )
        image = varied.take(depth) * scale + contract.mean * (scale - 1) / contract.std  # mm times the scale
        if rng.random() < self.erase:
            _erase(image, rng)
        place = varied.from_image(joints) * (1, 1, scale)
        return image.astype(np.float32), place[:, [1, 0, 2]].astype(np.float32)


def _erase(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Sets a rectangle of 2 to 40 % of the image to 0."""
    size = len(image)
    area, aspect = rng.uniform(0.02, 0.4) * size**2, rng.uniform(0.3, 1 / 0.3)
    height, width = (min(size, round(math.sqrt(area * ratio))) for ratio in (aspect, 1 / aspect))
    row, column = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    image[row : row + height, column : column + width] = 0.0


@dataclass(frozen=True)
class HandSamples:
    """A batch: (N, 1, S, S) and (N, J, 3) row px, column px, depth in the network's unit."""

    images: Tensor
    joints: Tensor


class HandFolderTask:
    """A2J on the frames of a data set.

    Args:
        model: on the device.
        frames: to train on.
        held_out: to evaluate.
        batch: samples for each step and process.
        seed: of order and augmentation.
        workers: the processes that train together.
        file_stem: name of the best weights, besides best.pth.
    """

    def __init__(
        self,
        model: A2J,
        frames: HandFrames,
        held_out: HandFrames,
        batch: int,
        seed: int = 0,
        workers: Workers | None = None,
        augmentation: FolderAugmentation | None = None,
        file_stem: str | None = None,
    ) -> None:
        self.model, self._frames, self._held_out, self._file_stem = model, frames, held_out, file_stem
        self._augment = augmentation or FolderAugmentation()
        self.order = EpochOrder(len(frames), batch, seed, workers or Workers())
        self._batches = Prefetched(self.samples)
        self._device = next(model.parameters()).device
        self._anchors = anchor_grid(model.contract.size).to(self._device)

    def cost(self, progress: float) -> float:
        return 1.0

    def samples(self, step: int) -> HandSamples:
        """The varied samples of a step."""
        images, joints = [], []
        for number, seed in self.order.samples(step):
            truth = self._frames.joints[number]
            crop = HandCrop.around(centre_of(truth), self._frames.camera, self.model.contract)
            image, place = self._augment(self._frames.depth(number), truth, crop, np.random.default_rng(seed))
            images.append(image)
            joints.append(place)
        return HandSamples(torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(np.stack(joints)))

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        samples = self._batches.batch(step)
        images = samples.images.to(self._device, memory_format=torch.channels_last)
        output = A2JOutput(*model(images))
        return a2j_loss(aggregate(*output, self._anchors), samples.joints.to(self._device))

    def evaluate(self, model: A2J, progress: float = 1.0) -> dict[str, float]:
        """Errors on the held-out frames, cropped about the true centre, mm."""
        camera, frames = self._held_out.camera, self._held_out
        found = np.concatenate([uvd for _, uvd in predict_frames(model, frames)])
        errors = joint_errors(camera.unproject(found), camera.unproject(frames.joints))
        within = worst_joint_shares(errors, (20.0, 40.0))
        return {
            "mean_mm": float(errors.mean()),
            "median_mm": float(np.median(errors)),
            "within_20mm": float(within[0]),
            "within_40mm": float(within[1]),
        }

    def score(self, figures: dict[str, float]) -> float:
        return figures["mean_mm"]

    def picture(self, model: A2J, progress: float = 1.0) -> NDArray[np.uint8]:
        """Held-out hands with the answer in colours and the truth in white."""
        return hand_sheet(self._held_out.spread(48), model.contract, model)

    def export(self, path: Path, model: A2J, meta: dict[str, Any]) -> None:
        save_a2j(path, model, meta)
        if self._file_stem and path.stem == "best":
            copyfile(path, path.with_name(f"{self._file_stem}.pth"))


@torch.no_grad()
def predict_frames(
    model: A2J, frames: HandFrames
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Inputs (n, S, S) and joints (n, J, 3) column px, row px, mm of all frames, some at a time."""
    device, anchors = next(model.parameters()).device, anchor_grid(model.contract.size)
    for first in range(0, len(frames), _CHUNK):
        numbers = range(first, min(first + _CHUNK, len(frames)))
        crops = [HandCrop.around(centre_of(frames.joints[n]), frames.camera, model.contract) for n in numbers]
        images = np.stack([crop.take(frames.depth(n)) for crop, n in zip(crops, numbers, strict=True)])
        output = [part.cpu() for part in model(torch.from_numpy(images)[:, None].to(device))]
        places = aggregate(output[0], output[1], output[2], anchors).positions[..., [1, 0, 2]].numpy()
        yield images, np.stack([crop.to_image(place) for crop, place in zip(crops, places, strict=True)])


def hand_sheet(
    frames: HandFrames, contract: HandInput, model: A2J | None = None, columns: int = 8
) -> NDArray[np.uint8]:
    """Crops of the frames with the truth in white and, of a network, the answer in colours."""
    side, pictures = 160, []
    scale = side / contract.size
    found = np.concatenate([uvd for _, uvd in predict_frames(model, frames)]) if model else None
    skeleton = frames.skeleton
    for n, truth in enumerate(frames.joints):
        crop = HandCrop.around(centre_of(truth), frames.camera, contract)
        millimetres = crop.take(frames.depth(n)) * contract.std + contract.mean
        if contract.outside == "centre":
            millimetres[np.abs(millimetres) < 1e-3] = np.inf
        picture = grey(millimetres, -150, 150, side)
        draw_bones(picture, crop.from_image(truth)[:, :2] * scale, skeleton, TRUTH)
        if found is not None:
            draw_bones(picture, crop.from_image(found[n])[:, :2] * scale, skeleton)
        pictures.append(picture)
    return sheet(pictures, columns)

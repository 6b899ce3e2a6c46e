"""Training A2J on rendered right hands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.networks.a2j import A2J, AggregatedJoints, aggregate, anchor_grid
from pipeline.networks.checkpoints import save_a2j
from pipeline.networks.contracts import HandInput
from pipeline.training.augment_hands import HandAugmentation
from pipeline.training.contact_sheet import TRUTH, draw_bones, grey, sheet
from pipeline.training.evaluate_synthetic import hand_figures, predict_hands
from pipeline.training.losses import A2JOutput, dense_anchor_loss, joint_loss
from pipeline.training.rendered import RenderCrops, derived_seed
from pipeline.training.replay import ReplayRing
from pipeline.training.siblings import NAMES, Siblings, named, weights_path

if TYPE_CHECKING:
    from pipeline.synthetic.crops import CropBatch

UPRIGHT_SHARE = 0.7  # of the samples of a network that gets a second look
SIDE_SHARE = 0.25  # of the samples that are mirrored, so that a side head learns what the network knows
_CAPACITY = 8  # blocks of the ring, where crops are used more than once
_SIDE_WEIGHT = 2.0  # of the side head's loss, beside pixels
_TEACHER_WEIGHT = 0.5  # of the standard network's answer, at the end of the run, for a lighter one


@dataclass(frozen=True)
class RenderedHands:
    """A block of the ring: (N, 1, R, R) float16 in the "far" form, (N, J, 3) column, row, depth px."""

    images: Tensor
    joints: Tensor


@dataclass(frozen=True)
class HandData:
    """Where a run's hands come from.

    Args:
        render: makes crops, of the network's own scale and at least its size: with a margin, a rotated
            crop has no empty corners.
        seed, rank: of the run and of this process; they name the stream of samples.
        batch: samples in a step.
        reuse: how often a rendered crop is used.
        block: crops rendered at once, about; a GPU wants many.
    """

    render: RenderCrops
    seed: int
    rank: int
    batch: int
    reuse: int
    block: int = 256

    def ring(self) -> ReplayRing[RenderedHands]:
        size = self.batch * max(1, round(self.block / self.batch))
        return ReplayRing(self._rendered(size), size, self.batch, self.reuse, _CAPACITY)

    def _rendered(self, count: int) -> Callable[[int], RenderedHands]:
        def block(number: int) -> RenderedHands:
            crops = self.render(number, count)
            return RenderedHands(crops.images.half(), crops.joints)

        return block


class HandTask:
    """A2J, its data and its losses.

    A lighter network beside the standard one learns from the same crops, and, more and more, from what the
    standard one answers (distillation).

    Args:
        model: one network or two, on the device.
        data: training samples.
        held_out: crops of the network's own size for the evaluation.
        sizes: sides of the input, px, each for an equal share of the run; the last one is the contract's.
    """

    def __init__(
        self,
        model: Siblings[A2J],
        data: HandData,
        held_out: list[CropBatch],
        sizes: tuple[int, ...] | None = None,
    ) -> None:
        self.model, self.held_out, self._data = model, held_out, data
        self._contract = contract = model.first.contract
        assert contract.crop_mm is not None
        self._sizes = sizes or (contract.size,)
        self._ring = data.ring()
        self._augment = HandAugmentation(
            contract.depth_range_mm,
            contract.crop_mm / contract.size,
            upright=UPRIGHT_SHARE if contract.upright else 0.0,
            skeleton=contract.skeleton,
        )
        sided = any(network.side_head is not None for network in model.members)
        self._mirrored = round(SIDE_SHARE * data.batch) if sided else 0
        device = next(model.parameters()).device
        self._anchors = {size: anchor_grid(size).to(device) for size in self._sizes}
        self._generator = torch.Generator(device)

    def size_at(self, progress: float) -> int:
        return self._sizes[min(int(progress * len(self._sizes)), len(self._sizes) - 1)]

    def cost(self, progress: float) -> float:
        return float(self.size_at(progress) ** 2)

    def samples(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """The augmented samples of a step: (N, 1, size, size), (N, J, 3) column, row, depth px."""
        self._generator.manual_seed(derived_seed(self._data.seed, self._data.rank, step, 1))
        choice = torch.Generator().manual_seed(derived_seed(self._data.seed, self._data.rank, step, 2))
        picks = self._ring.draw(step, choice)
        images = torch.cat([block.images[rows] for block, rows in picks]).float()
        joints = torch.cat([block.joints[rows] for block, rows in picks])
        return self._augment(images, joints, size, self._generator, size / self._contract.size)

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        """Mirrored crops, the first of the batch, have a part in the side head's loss only."""
        size, mirrored = self.size_at(progress), self._mirrored
        images, joints = self.samples(step, size)
        images = torch.cat([images[:mirrored].flip(-1), images[mirrored:]])
        target = joints[mirrored:, :, [1, 0, 2]]  # row, column, depth
        answers = model(images.contiguous(memory_format=torch.channels_last))
        losses: dict[str, Tensor] = {}
        taught: Tensor | None = None
        for name, (*votes, side) in zip(NAMES, map(_with_side, answers), strict=False):
            output = A2JOutput(*(part[mirrored:] for part in votes))
            found = aggregate(*output, self._anchors[size])
            terms = self._terms(found, output, target, size, progress)
            if taught is not None:
                terms["teacher"] = progress * _TEACHER_WEIGHT * F.smooth_l1_loss(found.positions, taught)
            if side is not None:
                terms["side"] = _SIDE_WEIGHT * side_loss(side, mirrored)
            taught = found.positions.detach()
            losses |= named(name, terms)
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def _terms(
        self, found: AggregatedJoints, output: A2JOutput, target: Tensor, size: int, progress: float
    ) -> dict[str, Tensor]:
        sigma = 10.0 / 176.0 * size  # 15 mm
        dense = dense_anchor_loss(output, self._anchors[size], target, sigma)
        weight = 0.1 + 0.45 * (1.0 + math.cos(math.pi * progress))
        return {"joints": joint_loss(found, target), "dense": weight * dense}

    def evaluate(self, model: Siblings[A2J], progress: float) -> dict[str, float]:
        size = self.size_at(progress)
        figures: dict[str, float] = {"input_px": float(size)}
        for name, network in zip(NAMES, model.members, strict=False):
            figures |= named(name, hand_figures(network, self.held_out, size))
        return figures

    def score(self, figures: dict[str, float]) -> float:
        """Mean error; weights that have not seen inputs of the full size cannot be the best."""
        if figures["input_px"] != self._contract.size:
            return math.inf
        return sum(figures[key] for key in ("mean_mm", "light_mean_mm") if key in figures)

    def picture(self, model: Siblings[A2J], progress: float) -> NDArray[np.uint8]:
        """48 held-out crops with the first network's answer in colours and the truth in white."""
        batch = self.held_out[0]
        images = batch.images[:48]
        seen = images.to(next(model.parameters()).device)
        found = predict_hands(model.first, seen, self.size_at(progress)).cpu().numpy()
        side, pictures = 160, []
        for image, answer, truth in zip(images[:, 0].numpy(), found, batch.joints.numpy(), strict=False):
            picture, scale = grey(image, -1.0, 1.0, side), side / len(image)
            draw_bones(picture, truth[:, :2] * scale, self._contract.skeleton, TRUTH)
            draw_bones(picture, answer[:, :2] * scale, self._contract.skeleton)
            pictures.append(picture)
        return sheet(pictures, 8)

    def export(self, path: Path, model: Siblings[A2J], meta: dict[str, Any]) -> None:
        for name, network in zip(NAMES, model.members, strict=False):
            save_a2j(weights_path(path, name), network, meta)


def _with_side(answer: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    classification, offsets, depths, *side = answer
    return classification, offsets, depths, side[0] if side else None


def side_loss(logits: Tensor, mirrored: int) -> Tensor:
    """Cross-entropy of (N,) logits, the first `mirrored` of crops that show the other hand; both count alike."""
    known = F.binary_cross_entropy_with_logits(logits[mirrored:].float(), torch.ones_like(logits[mirrored:]))
    other = F.binary_cross_entropy_with_logits(logits[:mirrored].float(), torch.zeros_like(logits[:mirrored]))
    return (known + other) / 2


def hand_contract(size: int, crop_mm: float = 260.0) -> HandInput:
    """What our own A2J sees: a metric cube around a right hand, depths in isotropic pixels."""
    return HandInput(
        size=size,
        crop_mm=crop_mm,
        depth_range_mm=150.0,
        outside="far",
        std=150.0,
        depth_unit_mm=crop_mm / size,
        handedness="right",
        upright=True,
        least_score=0.3,
    )

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

from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J, AggregatedJoints, aggregate, anchor_grid
from pipeline.networks.checkpoints import save_a2j
from pipeline.networks.contracts import HandInput
from pipeline.training.augment_hands import HandAugmentation
from pipeline.training.contact_sheet import TRUTH, draw_bones, grey, sheet
from pipeline.training.evaluate_synthetic import hand_figures, predict_hands, scene_hand_figures
from pipeline.training.losses import A2JOutput, dense_anchor_loss, joint_loss
from pipeline.training.rendered import RenderCrops, RenderSceneCrops, derived_seed
from pipeline.training.replay import ReplayRing
from pipeline.training.siblings import NAMES, Siblings, named, weights_path

if TYPE_CHECKING:
    from pipeline.synthetic.crops import CropBatch
    from pipeline.synthetic.scene_crops import SceneCropBatch

UPRIGHT_SHARE = 0.7  # of the samples of a network that gets a second look
_MIRROR_EVERY = 7  # samples one is mirrored, so that a side head learns what the network knows
_LEAST_SEEN = 0.4  # of a hand's joints, or nobody can tell whether it is there
_CAPACITY = 8  # blocks of the ring, where crops are used more than once
_SCENE_REUSE = 4  # at least
_SIDE_WEIGHT = 2.0  # of the side head's losses, beside pixels
_TEACHER_WEIGHT = 0.5  # of the standard network's answer, at the end of the run, for a lighter one


@dataclass(frozen=True)
class RenderedHands:
    """A block of a ring, or a step's samples.

    Args:
        images: (N, 1, R, R) in the "far" form, float16 in a ring.
        joints: (N, J, 3) column, row, depth px.
        present: (N,) int64: 1 a hand is there, 0 none, -1 it cannot be told.
        told: (N,) bool: the joints are known.
    """

    images: Tensor
    joints: Tensor
    present: Tensor
    told: Tensor

    def __getitem__(self, rows: list[int]) -> RenderedHands:
        return RenderedHands(*(part[rows] for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return self.images, self.joints, self.present, self.told

    @classmethod
    def joined(cls, blocks: Sequence[RenderedHands]) -> RenderedHands:
        return cls(*(torch.cat(parts) for parts in zip(*(block._parts for block in blocks), strict=True)))


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
        render_in_scenes: makes crops of whole people, with hands and without; None for none of them.
        scene_share: of a step's samples that these are.
    """

    render: RenderCrops
    seed: int
    rank: int
    batch: int
    reuse: int
    block: int = 256
    render_in_scenes: RenderSceneCrops | None = None
    scene_share: float = 0.3

    def rings(self) -> list[ReplayRing[RenderedHands]]:
        """One for each kind of crops."""
        in_scenes = round(self.scene_share * self.batch) if self.render_in_scenes else 0
        rings = [_ring(_hands(self.render), self.batch - in_scenes, self.reuse, self.block)]
        if self.render_in_scenes and in_scenes:  # whole people cost more
            render, reuse = _in_scenes(self.render_in_scenes), max(_SCENE_REUSE, self.reuse)
            rings.append(_ring(render, in_scenes, reuse, self.block // 4))
        return rings


def _ring(
    render: Callable[[int, int], RenderedHands], batch: int, reuse: int, block: int
) -> ReplayRing[RenderedHands]:
    size = batch * max(1, round(block / batch))
    return ReplayRing(lambda number: render(number, size), size, batch, reuse, _CAPACITY)


def _hands(render: RenderCrops) -> Callable[[int, int], RenderedHands]:
    def block(number: int, count: int) -> RenderedHands:
        crops = render(number, count)
        seen = crops.visible.float().mean(1) >= _LEAST_SEEN
        present = torch.where(seen, 1, -1)
        return RenderedHands(crops.images.half(), crops.joints, present, torch.ones_like(seen))

    return block


def _in_scenes(render: RenderSceneCrops) -> Callable[[int, int], RenderedHands]:
    def block(number: int, count: int) -> RenderedHands:
        crops = render(number, count)
        return RenderedHands(crops.images.half(), crops.joints, crops.present, crops.present == 1)

    return block


class HandTask:
    """A2J, its data and its losses.

    A lighter network beside the standard one learns from the same crops, and, more and more, from what the
    standard one answers (distillation).

    Args:
        model: one network or two, on the device.
        data: training samples.
        held_out, in_scenes: crops for the evaluation.
        sizes: sides of the input, px, each for an equal share of the run; the last one is the contract's.

    Raises:
        UsageError: the last size is another one.
    """

    def __init__(
        self,
        model: Siblings[A2J],
        data: HandData,
        held_out: list[CropBatch],
        in_scenes: Sequence[SceneCropBatch] = (),
        sizes: tuple[int, ...] | None = None,
    ) -> None:
        self.model, self.held_out, self._data = model, held_out, data
        self._in_scenes = in_scenes
        self._contract = contract = model.first.contract
        assert contract.crop_mm is not None
        self._sizes = sizes or (contract.size,)
        if self._sizes[-1] != contract.size:
            raise UsageError(
                f"--sizes ends on {self._sizes[-1]} px, but the network reads {contract.size} px: "
                f"let it end on {contract.size}"
            )
        self._rings = data.rings()
        self._augment = HandAugmentation(
            contract.depth_range_mm,
            contract.crop_mm / contract.size,
            upright=UPRIGHT_SHARE if contract.upright else 0.0,
            skeleton=contract.skeleton,
        )
        self._sided = any(network.side_head is not None for network in model.members)
        device = next(model.parameters()).device
        self._anchors = {size: anchor_grid(size).to(device) for size in self._sizes}
        self._generator = torch.Generator(device)

    def size_at(self, progress: float) -> int:
        return self._sizes[min(int(progress * len(self._sizes)), len(self._sizes) - 1)]

    def cost(self, progress: float) -> float:
        return float(self.size_at(progress) ** 2)

    def samples(self, step: int, size: int) -> RenderedHands:
        """The augmented samples of a step, `size` px wide."""
        self._generator.manual_seed(derived_seed(self._data.seed, self._data.rank, step, 1))
        choice = torch.Generator().manual_seed(derived_seed(self._data.seed, self._data.rank, step, 2))
        picks = [pick for ring in self._rings for pick in ring.draw(step, choice)]
        hands = RenderedHands.joined([block[rows] for block, rows in picks])
        images, joints = self._augment(
            hands.images.float(), hands.joints, size, self._generator, size / self._contract.size
        )
        return RenderedHands(images, joints, hands.present, hands.told)

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        """Mirrored crops have a part in the side head's losses only; those of no joints at all are 0."""
        size = self.size_at(progress)
        hands = self.samples(step, size)
        mirrored = torch.arange(len(hands.images), device=hands.images.device) % _MIRROR_EVERY == 0
        mirrored &= torch.full_like(mirrored, self._sided)
        images = torch.where(mirrored[:, None, None, None], hands.images.flip(-1), hands.images)
        answers = model(images.contiguous(memory_format=torch.channels_last))
        rows = (hands.told & ~mirrored).nonzero().squeeze(1)
        target = hands.joints[rows][..., [1, 0, 2]]  # row, column, depth
        losses: dict[str, Tensor] = {}
        taught: Tensor | None = None
        for name, (*votes, about) in zip(NAMES, map(_with_sides, answers), strict=False):
            output = A2JOutput(*(part[rows] for part in votes))
            found = aggregate(*output, self._anchors[size])
            terms = self._terms(found, output, target, size, progress)
            if taught is not None:
                terms["teacher"] = progress * _TEACHER_WEIGHT * F.smooth_l1_loss(found.positions, taught)
            if not len(rows):  # the mean of nothing is no number; every weight keeps a gradient
                terms = dict.fromkeys(terms, found.positions.sum())
            told = (hands.present == 1) & ~mirrored, (hands.present == 1) & mirrored
            kinds = {"side": told, "presence": (hands.present == 1, hands.present == 0)}
            for (kind, (yes, no)), logits in zip(kinds.items(), about, strict=False):
                terms[kind] = _SIDE_WEIGHT * balanced_loss(logits, yes, no)
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
            figures |= named(name, scene_hand_figures(network, self._in_scenes, size))
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


def _with_sides(answer: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Sequence[Tensor]]:
    classification, offsets, depths, *about = answer
    return classification, offsets, depths, about


def balanced_loss(logits: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Cross-entropy of (N,) logits; both kinds count alike, however many there are of each, (N,) bool."""
    errors = F.softplus(torch.where(yes, -logits.float(), logits.float()))
    positive, negative = ((errors * kind).sum() / kind.sum().clamp(min=1) for kind in (yes, no))
    return (positive + negative) / 2


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
        least_score=0.7,
    )

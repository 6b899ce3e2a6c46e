"""Training CenterNet on rendered scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_centernet
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.preprocess import detector_batch, image_statistics
from pipeline.training.augment_scenes import SceneAugmentation
from pipeline.training.contact_sheet import SIDE_COLOURS, TRUTH, draw_box, grey, sheet
from pipeline.training.detector_targets import BoxBatch, detector_targets
from pipeline.training.devices import Workers
from pipeline.training.evaluate_synthetic import detect_scenes, scene_figures
from pipeline.training.losses import box_losses, focal_loss
from pipeline.training.metrics import LEAST_VISIBLE
from pipeline.training.rendered import RenderScenes, derived_seed
from pipeline.training.replay import ReplayRing
from pipeline.training.siblings import NAMES, Siblings, named, weights_path

if TYPE_CHECKING:
    from pipeline.synthetic.scenes import SceneBatch

_MOST_HANDS = 8  # labels of an image
_INT16_MAX = 32767.0


@dataclass(frozen=True)
class RenderedScenes:
    """A block of the ring: (N, 2, S, S) int16 depth mm and brightness, and their labels."""

    images: Tensor
    labels: BoxBatch


@dataclass(frozen=True)
class SceneData:
    """Where a run's scenes come from.

    Args:
        render: makes scenes.
        seed, rank: of the run and of this process; they name the stream of samples.
        batch: samples in a step.
        reuse: how often a rendered scene is used.
        block: scenes rendered at once, about; a GPU wants many.
        capacity: blocks held, when scenes are used more than once.
    """

    render: RenderScenes
    seed: int
    rank: int
    batch: int
    reuse: int
    block: int = 64
    capacity: int = 16

    def ring(self) -> ReplayRing[RenderedScenes]:
        size = self.batch * max(1, round(self.block / self.batch))
        return ReplayRing(self._rendered(size), size, self.batch, self.reuse, self.capacity)

    def _rendered(self, count: int) -> Callable[[int], RenderedScenes]:
        def block(number: int) -> RenderedScenes:
            return packed(self.render(number, count))

        return block


def packed(scenes: SceneBatch) -> RenderedScenes:
    """Scenes in little memory; hands that are hardly seen are to be ignored."""
    images = torch.stack([scenes.depth, scenes.ir], dim=1).clamp(0.0, _INT16_MAX).round().short()
    states = [torch.where(visible < LEAST_VISIBLE, -1, 1) for visible in scenes.visible]
    boxes, classes, state = (
        pad_sequence(parts, batch_first=True) for parts in (scenes.boxes, scenes.classes, states)
    )
    boxes = pad(boxes, (0, 0, 0, _MOST_HANDS))[:, :_MOST_HANDS]
    classes, state = (pad(part, (0, _MOST_HANDS))[:, :_MOST_HANDS] for part in (classes, state))
    return RenderedScenes(images, BoxBatch(boxes, classes, state))


class SceneTask:
    """CenterNet, its data and its losses.

    Args:
        model: one network or two, on the device.
        data: training samples.
        held_out: scenes for the evaluation.
        stages: (progress, side px): windows of that side until that progress; then whole images.
        workers: the processes that train together.
    """

    def __init__(
        self,
        model: Siblings[CenterNet],
        data: SceneData,
        held_out: list[SceneBatch],
        stages: tuple[tuple[float, int], ...] = ((0.5, 128), (0.92, 192)),
        workers: Workers | None = None,
    ) -> None:
        self.model, self._data, self._held_out, self._stages = model, data, held_out, stages
        self._contract = model.first.contract
        self._workers = workers or Workers()
        self._ring = data.ring()
        self._augment = SceneAugmentation()
        self._generator = torch.Generator(next(model.parameters()).device)

    def size_at(self, progress: float) -> int:
        for until, size in self._stages:
            if progress < until:
                return size
        return self._contract.size

    def cost(self, progress: float) -> float:
        return float(self.size_at(progress) ** 2)

    def samples(self, step: int, size: int) -> tuple[Tensor, BoxBatch]:
        """The augmented samples of a step: (N, 3, size, size) and their labels."""
        self._generator.manual_seed(derived_seed(self._data.seed, self._data.rank, step, 1))
        choice = torch.Generator().manual_seed(derived_seed(self._data.seed, self._data.rank, step, 2))
        picks = self._ring.draw(step, choice)
        images = torch.cat([block.images[rows] for block, rows in picks]).float()
        labels = BoxBatch(
            *(
                torch.cat([getattr(block.labels, name)[rows] for block, rows in picks])
                for name in ("boxes", "classes", "state")
            )
        )
        camera = self._augment.conditions(len(images), images.device, self._generator)
        whole = size == images.shape[-1]
        coarse = images if whole else images[..., ::2, ::2]  # enough for the statistics
        statistics = image_statistics(*camera.seen(*coarse.unbind(1)), self._contract)
        if whole:
            labels = self._augment.in_view(labels, size)
        else:
            images, labels = self._augment.windows(images, labels, size, self._generator)
        depth, ir = camera.seen(*images.unbind(1))
        depth, labels = self._augment.tear(depth, ir, labels, self._generator)
        depth = camera.grained(depth, self._generator)
        inputs = detector_batch(depth, ir, self._contract, statistics)
        return self._augment.flipped(inputs, labels, self._generator)

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        size, contract = self.size_at(progress), self._contract
        images, labels = self.samples(step, size)
        answers = model(images.contiguous(memory_format=torch.channels_last))
        targets = detector_targets(labels, contract, size)
        classes = len(contract.classes)
        # Means over all processes, so that several make the same step as one with the whole batch.
        num_boxes = self._workers.mean(targets.num_boxes.float()).clamp(min=1.0)
        weight = self._workers.mean(targets.box_weight.sum()).clamp(min=1.0)
        losses: dict[str, Tensor] = {}
        for name, answer in zip(NAMES, answers, strict=False):
            output = answer.float()
            heat = focal_loss(output[:, :classes], targets, num_boxes)
            l1, giou = box_losses(output[:, classes:], targets, contract, weight)
            losses |= named(name, {"heat": heat, "l1": l1, "giou": giou})
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def evaluate(self, model: Siblings[CenterNet], progress: float) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, network in zip(NAMES, model.members, strict=False):
            figures |= named(name, scene_figures(network, self._held_out))
        return figures

    def score(self, figures: dict[str, float]) -> float:
        factors = {"ap50": 1.0, "ap75": 1.0, "handedness": 0.5}
        return -sum(
            factor * float(np.nan_to_num(figures.get(key, 0.0)))
            for name in NAMES
            for key, factor in named(name, factors).items()
        )

    def picture(self, model: Siblings[CenterNet], progress: float) -> NDArray[np.uint8]:
        """24 held-out scenes, the first network's detections (left blue, right orange), truth in white."""
        batch = self._held_out[0]
        depth, device = batch.depth[:24], next(model.parameters()).device
        inputs = detector_batch(depth.to(device), batch.ir[:24].to(device), self._contract)
        found = detect_scenes(model.first, inputs)
        pictures = []
        for image, truth, (boxes, scores, classes) in zip(depth, batch.boxes, found, strict=False):
            near = image.numpy()
            picture = grey(np.where(near > 0, near, np.inf), 300.0, 4000.0, image.shape[-1])
            for box in truth.numpy():
                draw_box(picture, box, TRUTH)
            for box, score, side in zip(boxes, scores, classes, strict=True):
                if score > 0.3:
                    colour = SIDE_COLOURS[self._contract.classes[side]]
                    draw_box(picture, box, colour, f"{score:.2f}")
            pictures.append(picture)
        return sheet(pictures, 6)

    def export(self, path: Path, model: Siblings[CenterNet], meta: dict[str, Any]) -> None:
        for name, network in zip(NAMES, model.members, strict=False):
            save_centernet(weights_path(path, name), network, meta)


def scene_contract() -> DetectorInput:
    """What our own CenterNet sees and answers."""
    return DetectorInput(
        size=320,
        channels="fused",
        depth_max_mm=4000.0,
        ir_max=3000.0,
        ir_sqrt=True,
        size_scale=10.0,
        offset_scale=2.0,
        score_threshold=0.06,
        peak_window=3,
        classes=("left", "right"),
    )

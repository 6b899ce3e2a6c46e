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

from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_centernet
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.preprocess import detector_batch, image_statistics
from pipeline.training.augment_scenes import SceneAugmentation
from pipeline.training.contact_sheet import SIDE_COLOURS, TRUTH, draw_box, grey, sheet
from pipeline.training.detector_targets import BoxBatch, detector_targets
from pipeline.training.devices import Workers
from pipeline.training.evaluate_synthetic import LEAST_VISIBLE, detect_scenes, scene_figures
from pipeline.training.losses import box_losses, focal_loss
from pipeline.training.rendered import RenderScenes, derived_seed
from pipeline.training.replay import ReplayRing

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
        block, capacity: scenes rendered at once, and blocks held, when they are used more than once.
    """

    render: RenderScenes
    seed: int
    rank: int
    batch: int
    reuse: int
    block: int = 64
    capacity: int = 16

    def ring(self) -> ReplayRing[RenderedScenes]:
        if self.reuse == 1:
            return ReplayRing(self._rendered(self.batch), self.batch, self.batch, 1, 1)
        size = max(self.block, self.batch)
        return ReplayRing(self._rendered(size), size, self.batch, self.reuse, self.capacity)

    def _rendered(self, count: int) -> Callable[[int], RenderedScenes]:
        def block(number: int) -> RenderedScenes:
            return packed(self.render(number, count))

        return block


def packed(scenes: SceneBatch) -> RenderedScenes:
    """Scenes in little memory; hands that are hardly seen are to be ignored."""
    images = torch.stack([scenes.depth, scenes.ir], dim=1).clamp(0.0, _INT16_MAX).round().short()
    count, device = len(scenes.boxes), images.device
    boxes = torch.zeros(count, _MOST_HANDS, 4, device=device)
    classes = torch.zeros(count, _MOST_HANDS, dtype=torch.int64, device=device)
    state = torch.zeros_like(classes)
    for n, (box, side, visible) in enumerate(zip(scenes.boxes, scenes.classes, scenes.visible, strict=True)):
        k = min(len(box), _MOST_HANDS)
        boxes[n, :k], classes[n, :k] = box[:k], side[:k]
        state[n, :k] = torch.where(visible[:k] < LEAST_VISIBLE, -1, 1)
    return RenderedScenes(images, BoxBatch(boxes, classes, state))


class SceneTask:
    """CenterNet, its data and its losses.

    Args:
        model: on the device.
        data: training samples.
        held_out: scenes for the evaluation.
        stages: (progress, side px): windows of that side until that progress; then whole images.
        workers: the processes that train together.
    """

    def __init__(
        self,
        model: CenterNet,
        data: SceneData,
        held_out: list[SceneBatch],
        stages: tuple[tuple[float, int], ...] = ((0.5, 128), (0.92, 192)),
        workers: Workers | None = None,
    ) -> None:
        self.model, self._data, self._held_out, self._stages = model, data, held_out, stages
        self._workers = workers or Workers()
        self._ring = data.ring()
        self._augment = SceneAugmentation()
        self._generator = torch.Generator(next(model.parameters()).device)

    def size_at(self, progress: float) -> int:
        for until, size in self._stages:
            if progress < until:
                return size
        return self.model.contract.size

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
        statistics = image_statistics(*camera.seen(*coarse.unbind(1)), self.model.contract)
        if whole:
            labels = self._augment.in_view(labels, size)
        else:
            images, labels = self._augment.windows(images, labels, size, self._generator)
        depth, ir = camera.seen(*images.unbind(1))
        depth = camera.grained(depth, self._generator)
        inputs = detector_batch(depth, ir, self.model.contract, statistics)
        return self._augment.flipped(inputs, labels, self._generator)

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        size, contract = self.size_at(progress), self.model.contract
        images, labels = self.samples(step, size)
        output = model(images.contiguous(memory_format=torch.channels_last)).float()
        targets = detector_targets(labels, contract, size)
        classes = len(contract.classes)
        # Means over all processes, so that several make the same step as one with the whole batch.
        num_boxes = self._workers.mean(targets.num_boxes.float()).clamp(min=1.0)
        weight = self._workers.mean(targets.box_weight.sum()).clamp(min=1.0)
        heat = focal_loss(output[:, :classes], targets, num_boxes)
        l1, giou = box_losses(output[:, classes:], targets, contract, weight)
        return {"total": heat + l1 + giou, "heat": heat, "l1": l1, "giou": giou}

    def evaluate(self, model: CenterNet, progress: float) -> dict[str, float]:
        return scene_figures(model, self._held_out)

    def score(self, figures: dict[str, float]) -> float:
        return -(figures["ap50"] + figures["ap75"] + 0.5 * np.nan_to_num(figures["handedness"]))

    def picture(self, model: CenterNet, progress: float) -> NDArray[np.uint8]:
        """24 held-out scenes with detections (left blue, right orange) and the truth in white."""
        batch = self._held_out[0]
        depth, device = batch.depth[:24], next(model.parameters()).device
        inputs = detector_batch(depth.to(device), batch.ir[:24].to(device), model.contract)
        found = detect_scenes(model, inputs)
        pictures = []
        for image, truth, (boxes, scores, classes) in zip(depth, batch.boxes, found, strict=False):
            near = image.numpy()
            picture = grey(np.where(near > 0, near, np.inf), 300.0, 4000.0, image.shape[-1])
            for box in truth.numpy():
                draw_box(picture, box, TRUTH)
            for box, score, side in zip(boxes, scores, classes, strict=True):
                if score > 0.3:
                    colour = SIDE_COLOURS[model.contract.classes[side]]
                    draw_box(picture, box, colour, f"{score:.2f}")
            pictures.append(picture)
        return sheet(pictures, 6)

    def export(self, path: Path, model: CenterNet, meta: dict[str, Any]) -> None:
        save_centernet(path, model, meta)


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
        classes=("left", "right"),
    )

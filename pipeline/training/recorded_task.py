"""Training CenterNet on recorded frames, alone or mixed with rendered scenes."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_centernet
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.preprocess import detector_batch
from pipeline.training.augment_recorded import LabelledImage, RecordedAugmentation
from pipeline.training.contact_sheet import SIDE_COLOURS, TRUTH, Image, draw_box, grey, sheet
from pipeline.training.detector_targets import BoxBatch, detector_targets
from pipeline.training.devices import Workers
from pipeline.training.evaluate_recorded import compare_boxes, frame_detector
from pipeline.training.metrics import summarize_boxes
from pipeline.training.original_losses import HeatLoss, centernet_loss, file_stem
from pipeline.training.recorded_scenes import RecordedFrames
from pipeline.training.scene_task import SceneTask
from pipeline.training.stream import EpochOrder, Prefetched

_SHOWN_SCORE = 0.3


class RecordedTask:
    """CenterNet, recorded frames and the losses of centernet_kinect.

    Args:
        model: on the device.
        frames: to train on.
        held_out: to evaluate; may be empty.
        batch: recorded frames for each step and process.
        loss: of the heat maps.
        rendered: a task for the same network that adds its rendered scenes to each step, or None.
        seed: of order and augmentation.
        workers: the processes that train together.
    """

    def __init__(
        self,
        model: CenterNet,
        frames: RecordedFrames,
        held_out: RecordedFrames,
        batch: int,
        loss: HeatLoss = "Logistic",
        rendered: SceneTask | None = None,
        seed: int = 0,
        workers: Workers | None = None,
        augmentation: RecordedAugmentation | None = None,
    ) -> None:
        self.model, self._frames, self._held_out = model, frames, held_out
        self._loss, self._rendered = loss, rendered
        self._workers = workers or Workers()
        self._augment = augmentation or RecordedAugmentation()
        self.order = EpochOrder(len(frames), batch, seed, self._workers)
        self._batches = Prefetched(self.recorded_samples)
        self._device = next(model.parameters()).device

    def cost(self, progress: float) -> float:
        return 1.0

    def recorded_samples(self, step: int) -> list[LabelledImage]:
        """The varied recorded frames of a step."""
        contract = self.model.contract
        return [
            self._augment(
                self._frames.labelled(number, contract.classes), contract.size, np.random.default_rng(seed)
            )
            for number, seed in self.order.samples(step)
        ]

    def samples(self, step: int) -> tuple[Tensor, BoxBatch]:
        """All samples of a step: (N, 3, S, S) and their labels."""
        contract = self.model.contract
        images, labels = collated(self._batches.batch(step), contract, self._device)
        if self._rendered is not None:
            more, others = self._rendered.samples(step, contract.size)
            images, labels = torch.cat([images, more]), joined(labels, others)
        one_class = len(contract.classes) == 1  # mirroring has made another one out of it
        classes = torch.zeros_like(labels.classes) if one_class else labels.classes
        return images, BoxBatch(labels.boxes, classes, labels.state)

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        images, labels = self.samples(step)
        contract = self.model.contract
        output = model(images.contiguous(memory_format=torch.channels_last)).float()
        targets = detector_targets(labels, contract, contract.size)
        # A mean over all processes, so that several make the same step as one with the whole batch.
        num_boxes = self._workers.mean(targets.num_boxes.float()).clamp(min=1.0)
        return centernet_loss(output, targets, contract, self._loss, num_boxes)

    def evaluate(self, model: CenterNet, progress: float = 1.0) -> dict[str, float]:
        """Average precision, and share of the found hands whose side is right, on the held-out frames."""
        detect, held_out = frame_detector(model), self._held_out
        numbers = range(len(held_out))
        images = [compare_boxes(detect(held_out.frame(n)), held_out.annotation(n)) for n in numbers]
        figures = summarize_boxes(images)
        names = ("ap50", "ap75", "handedness_accuracy", "hands")
        return {**{name: float(figures[name]) for name in names}, "progress": progress}

    def score(self, figures: dict[str, float]) -> float:
        """Without held-out hands the last weights are the best."""
        return -(figures["ap50"] + figures["ap75"] if figures["hands"] else figures["progress"])

    def picture(self, model: CenterNet, progress: float = 1.0) -> NDArray[np.uint8]:
        """Held-out frames with detections (left blue, right orange) and the truth in white."""
        return recorded_sheet((self._held_out if len(self._held_out) else self._frames).spread(24), model)

    def export(self, path: Path, model: CenterNet, meta: dict[str, Any]) -> None:
        save_centernet(path, model, meta)
        if path.stem == "best":
            copyfile(path, path.with_name(f"{file_stem(self._loss, model.contract)}.pth"))


def collated(
    frames: list[LabelledImage], contract: DetectorInput, device: torch.device
) -> tuple[Tensor, BoxBatch]:
    """Frames of the input's size as the network's input, and their labels."""
    most = max(1, *(len(frame.boxes) for frame in frames))
    boxes = torch.zeros(len(frames), most, 4)
    classes, state = (torch.zeros(len(frames), most, dtype=torch.int64) for _ in range(2))
    for n, frame in enumerate(frames):
        count = len(frame.boxes)
        boxes[n, :count] = torch.from_numpy(frame.boxes).float()
        classes[n, :count] = torch.from_numpy(frame.classes)
        state[n, :count] = torch.from_numpy(frame.state)
    depth, ir = torch.from_numpy(np.stack([frame.images for frame in frames])).to(device).unbind(1)
    labels = BoxBatch(boxes.to(device), classes.to(device), state.to(device))
    return detector_batch(depth, ir, contract), labels


def joined(first: BoxBatch, second: BoxBatch) -> BoxBatch:
    """Labels of two batches as those of one."""
    most = max(first.state.shape[1], second.state.shape[1])

    def padded(labels: BoxBatch) -> BoxBatch:
        count = most - labels.state.shape[1]
        pad = torch.nn.functional.pad
        return BoxBatch(
            pad(labels.boxes, (0, 0, 0, count)),
            pad(labels.classes, (0, count)),
            pad(labels.state, (0, count)),
        )

    a, b = padded(first), padded(second)
    return BoxBatch(
        torch.cat([a.boxes, b.boxes]), torch.cat([a.classes, b.classes]), torch.cat([a.state, b.state])
    )


@torch.no_grad()
def recorded_sheet(frames: RecordedFrames, model: CenterNet | None = None, columns: int = 6) -> Image:
    """Depth images with the truth in white and, of a detector, the answer in colours."""
    detect = frame_detector(model) if model else None
    pictures = []
    for n in range(len(frames)):
        frame = frames.frame(n)
        side, (height, width) = 320, frame.depth.shape
        scale = np.array([side / width, side / height] * 2)
        depth = frame.depth.astype(np.float32)
        picture = grey(np.where(depth > 0, depth, np.inf), 300.0, 4000.0, side)
        for box in frames.annotation(n).boxes:
            draw_box(picture, box * scale, TRUTH)
        for one in detect(frame) if detect else []:
            if one.score > _SHOWN_SCORE:
                draw_box(picture, one.box * scale, SIDE_COLOURS[one.handedness], f"{one.score:.2f}")
        pictures.append(picture)
    return sheet(pictures, columns)

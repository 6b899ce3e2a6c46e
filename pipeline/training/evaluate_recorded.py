"""A detector on frames that were recorded and annotated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.cameras.folder import FolderCamera
from pipeline.errors import UsageError
from pipeline.frame import Frame
from pipeline.hand import Detection
from pipeline.networks.centernet import CenterNet, decode_detections
from pipeline.networks.checkpoints import load_centernet
from pipeline.networks.preprocess import detector_input
from pipeline.training.annotation_files import Annotation, read_annotations
from pipeline.training.metrics import ImageBoxes, summarize_boxes

_LOWEST_SCORE = 0.02  # the precision-recall curve ends here, below what the program shows
_SIDES = {"left": 0, "right": 1}


def evaluate_recorded(folder: str | Path, centernet: str | Path) -> dict[str, Any]:
    """Measures weights of CenterNet on a recorded folder.

    Args:
        folder: as the recorder writes it. Its val.json says where hands are, or without one its `annotation`.
        centernet: a checkpoint.

    Returns:
        The figures of `metrics.summarize_boxes`.

    Raises:
        HandPoseError: no annotated frames, or a file that cannot be read.
    """
    return summarize_boxes(recorded_boxes(Path(folder), detector(centernet)))


def recorded_boxes(folder: Path, detect: Callable[[Frame], Sequence[Detection]]) -> list[ImageBoxes]:
    """Detections beside the annotations of a recorded folder.

    Raises:
        HandPoseError: as above.
    """
    truth_path = folder / "val.json" if (folder / "val.json").exists() else folder / "annotation"
    annotated = {annotation.image: annotation for annotation in read_annotations(truth_path)}
    with FolderCamera(folder) as camera:
        images = [
            compare_boxes(detect(frame), annotated[name])
            for frame, name in zip(camera, camera.names, strict=False)
            if name in annotated
        ]
    if not images:
        raise UsageError(f"{truth_path} annotates none of the frames in {folder}: annotate some of them")
    return images


def detector(path: str | Path) -> Callable[[Frame], list[Detection]]:
    """The detector of a checkpoint; see `frame_detector`."""
    return frame_detector(load_centernet(path))


def frame_detector(model: CenterNet) -> Callable[[Frame], list[Detection]]:
    """CenterNet with its faintest detections, in pixels of the frame."""
    contract, device = model.contract, next(model.parameters()).device

    @torch.no_grad()
    def detect(frame: Frame) -> list[Detection]:
        image = torch.from_numpy(detector_input(frame.depth, frame.ir, contract))
        answer = model(image[None].to(device))[0].float().cpu().numpy()
        boxes, scores, classes = decode_detections(answer, contract, _LOWEST_SCORE)
        height, width = frame.depth.shape
        boxes = boxes * np.array([width, height, width, height], np.float32) / np.float32(contract.size)
        return [
            Detection(box, float(score), contract.classes[k])
            for box, score, k in zip(boxes, scores, classes, strict=True)
        ]

    return detect


def compare_boxes(found: Sequence[Detection], truth: Annotation) -> ImageBoxes:
    """Detections of a frame beside its annotation; sides count where both know them."""
    sided = set(truth.labels) <= _SIDES.keys() and all(one.handedness for one in found)
    return ImageBoxes(
        boxes=np.array([one.box for one in found]).reshape(-1, 4),
        scores=np.array([one.score for one in found]),
        truth=truth.boxes,
        classes=np.array([_SIDES[one.handedness or "left"] for one in found]) if sided else None,
        truth_classes=np.array([_SIDES[label] for label in truth.labels]) if sided else None,
        ignored=truth.difficult,
    )

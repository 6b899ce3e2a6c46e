"""Where hands are: the detector at work, or boxes that are given in its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from pipeline.constants import CENTERNET_NMS_IOU
from pipeline.engines import Engine
from pipeline.frame import Frame
from pipeline.hand import Detection, Handedness, in_image
from pipeline.networks.centernet import decode_detections
from pipeline.networks.contracts import DetectorInput
from pipeline.networks.preprocess import measured_input


class HandDetector:
    """Finds hands.

    Args:
        engine: runs CenterNet on the measured channels of its input.
        contract: of its weights.
        nms_iou: of two boxes whose IoU exceeds it, one is dropped.
    """

    def __init__(self, engine: Engine, contract: DetectorInput, nms_iou: float = CENTERNET_NMS_IOU) -> None:
        self.engine, self.contract, self._nms_iou = engine, contract, nms_iou

    def __call__(self, frame: Frame) -> list[Detection]:
        """Where hands are, best score first; boxes lie inside the image."""
        image = measured_input(frame.depth, frame.ir, self.contract)
        (output,) = self.engine.run(image[None])
        boxes, scores, classes = decode_detections(
            output[0], self.contract, self.contract.score_threshold, self._nms_iou
        )
        limits = np.tile(np.array([frame.camera.width, frame.camera.height], np.float32), 2)
        boxes = np.clip(boxes * (limits / np.float32(self.contract.size)), 0, limits)
        return [
            Detection(box, float(score), in_image(self.contract.classes[k]))
            for box, score, k in zip(boxes, scores, classes, strict=True)
            if (box[:2] < box[2:]).all()
        ]


def given_hands(boxes: ArrayLike, handedness: Sequence[Handedness] | None = None) -> list[Detection]:
    """Boxes as detections without a score.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 px.
        handedness: of the N hands, or None: not known.

    Raises:
        ValueError: boxes of another shape, or not as many sides as boxes.
    """
    boxes = np.asarray(boxes, dtype=np.float32)
    if boxes.size == 0:
        return []
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have the shape (N, 4), x0 y0 x1 y1 in px, found {boxes.shape}")
    sides = [None] * len(boxes) if handedness is None else list(handedness)
    if len(sides) != len(boxes) or not set(sides) <= {"left", "right", None}:
        raise ValueError(f'handedness must be "left" or "right" for each of {len(boxes)} boxes')
    return [Detection(box, np.nan, side) for box, side in zip(boxes, sides, strict=True)]

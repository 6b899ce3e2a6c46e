"""Which of the detector's proposals are hands: on those the joint network's anchors agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from pipeline.constants import CENTERNET_NMS_IOU, FINGER_MM, PROPOSALS
from pipeline.crop import CropPose
from pipeline.frame import DepthCamera
from pipeline.hand import Detection

Found = tuple[Detection, CropPose]


def proposals(found: list[Detection]) -> list[Detection]:
    """The detections that are worth a look by the joint network, best score first."""
    return sorted(found, key=lambda one: one.score, reverse=True)[:PROPOSALS]


def confirmed(found: Sequence[Found], camera: DepthCamera, least_score: float) -> list[Found]:
    """Proposals that prove to be hands, each with its joints' box, best score first.

    A hand's score is the geometric mean of the detector's score and the mean confidence of its joints. Of two
    whose boxes overlap more than CENTERNET_NMS_IOU, the better one stays: both read the same hand.

    Args:
        found: detections and what was read there.
        camera: of the depth image.
        least_score: hands below are dropped.
    """
    hands = []
    for one, pose in found:
        score = float(np.sqrt(one.score * pose.confidence.mean()))
        box = joints_box(pose, camera)
        if score >= least_score and (box[:2] < box[2:]).all():
            hands.append((Detection(box, score, one.handedness), pose))
    if not hands:
        return []
    boxes = torch.from_numpy(np.stack([one.box for one, _ in hands]))
    kept = nms(boxes, torch.tensor([one.score for one, _ in hands]), CENTERNET_NMS_IOU)
    return [hands[k] for k in kept.tolist()]


def joints_box(pose: CropPose, camera: DepthCamera) -> NDArray[np.float32]:
    """(4,) px: around the joints and the flesh about them, inside the image."""
    flesh = FINGER_MM / pose.crop.scale_mm * np.array([pose.crop.step_x, pose.crop.step_y])
    corners = np.concatenate([pose.uvd[:, :2].min(axis=0) - flesh, pose.uvd[:, :2].max(axis=0) + flesh])
    return np.clip(corners, 0, [camera.width, camera.height] * 2).astype(np.float32)

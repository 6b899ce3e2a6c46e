"""Which of the detector's proposals are hands: detector, joints and presence together tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from pipeline.constants import (
    CENTERNET_NMS_IOU,
    CONFIRM_BIAS,
    CONFIRM_BOX,
    CONFIRM_DETECTOR,
    CONFIRM_JOINTS,
    CONFIRM_PRESENCE,
    FINGER_MM,
    HOPELESS_SCORE,
    PROPOSAL_SCORE,
    PROPOSALS,
)
from pipeline.crop import CropPose
from pipeline.frame import DepthCamera
from pipeline.hand import Detection, box_of

FloatArray = NDArray[np.float32]
Found = tuple[Detection, CropPose]
_LEAST, _MOST_PRESENCE = 1e-4, 8.0  # evidence is kept within


def proposals(found: list[Detection]) -> list[Detection]:
    """The detections that are worth a look by the joint network, best score first."""
    found = [one for one in found if one.score >= PROPOSAL_SCORE]
    return sorted(found, key=lambda one: one.score, reverse=True)[:PROPOSALS]


def confirmed(found: Sequence[Found], camera: DepthCamera, least_score: float) -> list[Found]:
    """Proposals that prove to be hands, each with the box of `agreed_box`, best score first.

    Of two whose joints' boxes overlap more than CENTERNET_NMS_IOU, the better one stays: both read the same
    hand.

    Args:
        found: detections and what was read there.
        camera: of the depth image.
        least_score: hands below are dropped.
    """
    hands, around_joints = [], []
    for one, pose in found:
        score = hand_score(one.score, pose)
        box = joints_box(pose, camera)
        if score >= least_score and (box[:2] < box[2:]).all():
            hands.append((Detection(agreed_box(one.box, box), score, one.handedness), pose))
            around_joints.append(box)
    if not hands:
        return []
    scores = torch.tensor([one.score for one, _ in hands])
    kept = nms(torch.from_numpy(np.stack(around_joints)), scores, CENTERNET_NMS_IOU)
    return [hands[k] for k in kept.tolist()]


def agreed_box(detected: FloatArray, around_joints: FloatArray) -> FloatArray:
    """(4,) px: a mean of the detector's box and the joints' one, whose errors differ.

    Where the two do not overlap, the joints were found elsewhere, and theirs is the hand's.
    """
    low, high = np.maximum(detected[:2], around_joints[:2]), np.minimum(detected[2:], around_joints[2:])
    if not (low < high).all():
        return around_joints
    return around_joints + CONFIRM_BOX * (detected - around_joints)


def evidence(detector: float, pose: CropPose) -> NDArray[np.float64]:
    """(3,) log-odds of a hand: by the detector's score, by the joints' mean confidence, by the presence."""
    presence = min(max(pose.presence_log_odds or 0.0, -_MOST_PRESENCE), _MOST_PRESENCE)
    return np.array([_log_odds(detector), _log_odds(float(pose.confidence.mean())), presence])


def _log_odds(share: float) -> float:
    share = min(max(share, _LEAST), 1 - _LEAST)
    return math.log(share / (1 - share))


def hand_score(detector: float, pose: CropPose) -> float:
    """Probability 0..1 of a hand, by logistic regression."""
    weights = (CONFIRM_DETECTOR, CONFIRM_JOINTS, CONFIRM_PRESENCE)
    return float(1 / (1 + np.exp(-(CONFIRM_BIAS + evidence(detector, pose) @ weights))))


def hopeless(detector: float, pose: CropPose) -> bool:
    """Whether another look would not make a hand of it; never where the box was given (a score of NaN)."""
    return hand_score(detector, pose) < HOPELESS_SCORE


def joints_box(pose: CropPose, camera: DepthCamera) -> FloatArray:
    """(4,) px: around the joints and the flesh about them, inside the image."""
    flesh = FINGER_MM / pose.crop.scale_mm * np.array([pose.crop.step_x, pose.crop.step_y])
    return box_of(pose.uvd, flesh, camera.width, camera.height).astype(np.float32)

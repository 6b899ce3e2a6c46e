"""Fits how much detector, joints and presence say that a proposal is a hand, on rendered scenes.

python3 -m pipeline.training.fit_confirmation [--scenes N] [--centernet FILE] [--a2j FILE]

Prints the CONFIRM_... lines of constants.py, and how many hands are found at which threshold. What the
present ones call hopeless has had one look only: after large changes, fit once more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torchvision.ops import box_iou
from tqdm import tqdm

from pipeline.confirmation import Found, evidence, joints_box
from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT
from pipeline.errors import UsageError, command
from pipeline.frame import DepthCamera, Frame
from pipeline.hand_pose import HandPosePipeline
from pipeline.synthetic.scenes import SceneBatch
from pipeline.training.evaluate_synthetic import FRAME_PX, SMALLEST_HAND_PX
from pipeline.training.metrics import LEAST_VISIBLE
from pipeline.training.rendered import HELD_OUT_SEED, fixed_scenes

FloatArray = NDArray[np.float64]

CAMERA = DepthCamera(640, 576, 504.6, 504.7, 320.0, 288.0)
_HAND_IOU, _UNCLEAR_IOU = 0.45, 0.2  # a proposal is a hand from the one on; between them it is not counted
_RIDGE = 1e-3
_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
NAMES = ("CONFIRM_BIAS", "CONFIRM_DETECTOR", "CONFIRM_JOINTS", "CONFIRM_PRESENCE")


@dataclass(frozen=True, eq=False)
class Proposals:
    """What was proposed in some frames.

    Args:
        evidence: (N, 3) of `confirmation.evidence`.
        is_hand: (N,) bool.
        hands: that there are to be found.
        frames: number of frames.
    """

    evidence: FloatArray
    is_hand: NDArray[np.bool_]
    hands: int
    frames: int


def scene_frames(batch: SceneBatch) -> Iterator[tuple[Frame, FloatArray, NDArray[np.bool_]]]:
    """Scenes as frames of 640 x 576 px, the boxes (K, 4) px of their hands, and which are to be found."""
    size = (CAMERA.width, CAMERA.height)
    for depth, ir, boxes, visible in zip(batch.depth, batch.ir, batch.boxes, batch.visible, strict=True):
        near, bright = (
            np.asarray(cv2.resize(image.numpy(), size, interpolation=cv2.INTER_NEAREST)).astype(np.uint16)
            for image in (depth, ir)
        )
        corners = boxes.double().numpy() * FRAME_PX
        longer = (corners[:, 2:] - corners[:, :2]).max(axis=1, initial=0.0)
        wanted = (longer >= SMALLEST_HAND_PX) & (visible.numpy() >= LEAST_VISIBLE)
        yield Frame(near, bright if bright.any() else None, CAMERA, 0, 0), corners, wanted


def gather(pose: HandPosePipeline, batches: Sequence[SceneBatch]) -> Proposals:
    """The pipeline's proposals in rendered scenes."""
    rows: list[FloatArray] = []
    answers: list[bool] = []
    hands = frames = 0
    for frame, boxes, wanted in tqdm([one for batch in batches for one in scene_frames(batch)], unit="frame"):
        hands, frames = hands + int(wanted.sum()), frames + 1
        for found in pose.propose(frame):
            answer = _is_hand(found, boxes, wanted)
            if answer is not None:
                rows.append(evidence(found[0].score, found[1]))
                answers.append(answer)
    return Proposals(np.array(rows).reshape(-1, 3), np.array(answers, dtype=bool), hands, frames)


def fit(proposals: Proposals) -> FloatArray:
    """(4,) bias and weights of a logistic regression, in the order of `NAMES`."""
    inputs = np.column_stack([np.ones(len(proposals.evidence)), proposals.evidence])
    signs = np.where(proposals.is_hand, 1.0, -1.0)

    def loss(weights: FloatArray) -> float:
        return float(np.logaddexp(0, -signs * (inputs @ weights)).mean() + _RIDGE * weights @ weights)

    return minimize(loss, np.zeros(4)).x


def _is_hand(found: Found, boxes: FloatArray, wanted: NDArray[np.bool_]) -> bool | None:
    """Whether a proposal's joints lie on a hand; None for one that is not to be found, or off its place."""
    box = torch.from_numpy(joints_box(found[1], CAMERA)[None].astype(np.float64))
    overlap = box_iou(box, torch.from_numpy(boxes))[0].numpy() if len(boxes) else np.zeros(1)
    best = int(overlap.argmax())
    if overlap[best] <= _UNCLEAR_IOU:
        return False
    return True if overlap[best] >= _HAND_IOU and wanted[best] else None


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="fit_confirmation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=192, metavar="N")
    parser.add_argument("--centernet", type=Path, metavar="FILE", default=CENTERNET_CHECKPOINT)
    parser.add_argument("--a2j", type=Path, metavar="FILE", default=A2J_CHECKPOINT)
    options = parser.parse_args(arguments)
    if options.scenes < 1:
        raise UsageError(f"--scenes {options.scenes} teaches nothing: give a number from 1 on")
    pose = HandPosePipeline(centernet=options.centernet, a2j=options.a2j)
    if not pose.one_sided:
        raise UsageError(f"{options.a2j} reads both hands as they are: give weights that were trained on one")
    proposals = gather(pose, fixed_scenes(options.scenes, HELD_OUT_SEED))
    if proposals.is_hand.all() or not proposals.is_hand.any():
        raise UsageError("the detector proposes hands only, or none at all: give it more --scenes")
    weights = fit(proposals)
    for name, weight in zip(NAMES, weights, strict=True):
        print(f"{name} = {weight:.2f}")
    score = 1 / (1 + np.exp(-(weights[0] + proposals.evidence @ weights[1:])))
    for threshold in _THRESHOLDS:
        kept = score >= threshold
        found = int((kept & proposals.is_hand).sum())
        false = (kept & ~proposals.is_hand).sum() / proposals.frames
        print(f"from {threshold}: {found} readings of {proposals.hands} hands, {false:.2f} false in a frame")
    return 0


if __name__ == "__main__":
    sys.exit(main())

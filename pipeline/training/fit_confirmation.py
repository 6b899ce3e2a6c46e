"""Fits how much detector, joints and presence say that a proposal is a hand, on rendered scenes.

python3 -m pipeline.training.fit_confirmation [--scenes N] [--centernet FILE] [--a2j FILE]

Prints the CONFIRM_... lines of constants.py, and how many hands are found at which threshold. What the
present ones call hopeless has had one look only: after large changes, fit once more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torchvision.ops import box_iou
from tqdm import tqdm

from pipeline.confirmation import Found, evidence, joints_box
from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT
from pipeline.errors import UsageError, command
from pipeline.hand_pose import HandPosePipeline
from pipeline.synthetic.scenes import SceneBatch
from pipeline.training.evaluate_program import CAMERA, SceneFrame, scene_frames
from pipeline.training.rendered import HELD_OUT_SEED, fixed_scenes

FloatArray = NDArray[np.float64]

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


def gather(pose: HandPosePipeline, batches: Sequence[SceneBatch]) -> Proposals:
    """The pipeline's proposals in rendered scenes."""
    rows: list[FloatArray] = []
    answers: list[bool] = []
    hands = frames = 0
    for scene in tqdm([one for batch in batches for one in scene_frames(batch)], unit="frame"):
        hands, frames = hands + int(scene.wanted.sum()), frames + 1
        for found in pose.propose(scene.frame):
            answer = _is_hand(found, scene)
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


def _is_hand(found: Found, scene: SceneFrame) -> bool | None:
    """Whether a proposal's joints lie on a hand; None for one that is not to be found, or off its place."""
    box = torch.from_numpy(joints_box(found[1], CAMERA)[None].astype(np.float64))
    overlap = box_iou(box, torch.from_numpy(scene.boxes))[0].numpy() if len(scene.boxes) else np.zeros(1)
    best = int(overlap.argmax())
    if overlap[best] <= _UNCLEAR_IOU:
        return False
    return True if overlap[best] >= _HAND_IOU and scene.wanted[best] else None


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

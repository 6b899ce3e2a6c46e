"""Tracking measured on rendered videos: every frame with tracking, and once more each frame for itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.hand_pose import HandPosePipeline
from pipeline.synthetic.sequences import HandSequence, hand_sequences
from pipeline.training.rendered import TEST_SEED
from pipeline.training.sequence_metrics import SHOWN_KIND, Step, Video, matched, summarize_videos

_SHOWN_JOINT = 8  # of the plot: the tip of the index
_SHOWN_S = 4.0


def evaluate_sequences(
    centernet: Path, a2j: Path, frames: int, kinds: Sequence[str] | None = None, engine: str = "auto"
) -> dict[str, Any]:
    """The figures of `sequence_metrics.summarize_videos` over all videos, and for each kind of them.

    Args:
        centernet, a2j: checkpoints.
        frames: in all, of videos of all kinds in turn.
        kinds: of `acts.ACTS`; None for all.
        engine: one of `pipeline.engines.ENGINES`.

    Returns:
        also `kinds` (name -> figures), and `smoothing`, the curves for `sequence_plot`.

    Raises:
        HandPoseError: checkpoints that cannot be read, or motmetrics is missing.
    """
    tracked, plain = (
        HandPosePipeline(engine, track=track, centernet=centernet, a2j=a2j) for track in (True, False)
    )
    videos: dict[str, list[Video]] = {}
    for sequence in hand_sequences(frames, TEST_SEED, kinds=kinds):
        videos.setdefault(sequence.kind, []).append(play(sequence, tracked, plain))
    figures = summarize_videos([video for each in videos.values() for video in each])
    figures["kinds"] = {kind: summarize_videos(each) for kind, each in videos.items()}
    if SHOWN_KIND in videos:
        figures["smoothing"] = smoothing_curves(videos[SHOWN_KIND][0])
    return figures


def play(sequence: HandSequence, tracked: HandPosePipeline, plain: HandPosePipeline) -> Video:
    """One video through both pipelines."""
    tracked.reset()
    steps = []
    for frame, truth in _progress(sequence, sequence.kind):
        hands = tracked(frame)
        times = tracked.timings
        single = plain(frame)
        steps.append(
            Step(
                seconds=frame.timestamp_us / 1e6,
                truth=truth,
                hands=hands,
                plain=single,
                detected=times.detect_ms > 0,
                ms=times.total_ms,
                plain_ms=plain.timings.total_ms,
            )
        )
    return steps


def smoothing_curves(video: Video) -> dict[str, Any]:
    """Along the image's x, mm: a joint's truth, as found in each frame for itself, and as tracked."""
    owners = [true.owner for step in video for true in step.visible]
    owner = max(set(owners), key=owners.count)
    curves: dict[str, list[float]] = {"seconds": [], "truth_mm": [], "plain_mm": [], "tracked_mm": []}
    for step in video:
        truth = [true for true in step.visible if true.owner == owner]
        if not truth or step.seconds > _SHOWN_S:
            continue
        found = [
            next((hand for true, hand in matched(step.visible, hands) if true.owner == owner), truth[0])
            for hands in (step.plain, step.hands)
        ]
        missing = [one is truth[0] for one in found]
        values = [float(one.joints_xyz[_SHOWN_JOINT, 0]) for one in (truth[0], *found)]
        curves["seconds"].append(step.seconds)
        for name, value, gone in zip(list(curves)[1:], values, (False, *missing), strict=True):
            curves[name].append(np.nan if gone else value)
    return curves


def _progress(sequence: HandSequence, name: str) -> Iterable[Any]:
    quiet = not sys.stderr.isatty() or os.environ.get("TERM") == "dumb"
    return tqdm(sequence, desc=name, total=len(sequence), unit=" frames", disable=quiet, leave=False)

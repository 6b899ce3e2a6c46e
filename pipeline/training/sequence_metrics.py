"""How well hands were followed through videos with known truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.errors import HandPoseError, requirements
from pipeline.hand import Hand
from pipeline.synthetic.sequences import TrueHand
from pipeline.training.metrics import LEAST_VISIBLE

FloatArray = NDArray[np.float64]

MATCH_MM = 100.0  # between the centres of a hand and of its truth
SHOWN_KIND = "steady"  # of the videos, in plots: a hand held still, then moved
CLEARLY_VISIBLE = 0.8  # hands of which less shows do not count for jitter and lag
STILL_MM_S, FAST_MM_S = 30.0, 700.0  # no joint of a still hand moves faster; the centre of a fast one does
_STILL_FRAMES = 15  # jitter is measured about the mean over so many frames


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of a video and what was made of it.

    Args:
        seconds: time stamp.
        truth: all hands of which a pixel shows.
        hands: with tracking.
        plain: without tracking, each frame for itself.
        detected: whether tracking ran the detector.
        ms, plain_ms: time that the frame took with and without tracking.
    """

    seconds: float
    truth: Sequence[TrueHand]
    hands: Sequence[Hand]
    plain: Sequence[Hand]
    detected: bool
    ms: float
    plain_ms: float

    @property
    def visible(self) -> list[TrueHand]:
        return [true for true in self.truth if true.visible >= LEAST_VISIBLE]


Video = Sequence[Step]
Choice = Callable[[Step], Sequence[Hand]]


def summarize_videos(videos: Sequence[Video]) -> dict[str, Any]:
    """Every figure.

    Returns:
        `frames`, `hands` (true ones to be followed, over all frames); per 1000 frames: `id_switches`,
        `lost_tracks` (a hand followed in a frame and not in the next, though visible), `false_tracks` (most
        of whose frames have no hand there); `mota`, `idf1`; `handedness` (share of followed hands with the
        right side); `found`, `plain_found` (shares of the visible hands); `longest_afterlife` (frames a
        track lived after its hand was gone); `detector_share` of the frames; of the hands found with and
        without tracking `error_mm`, `plain_error_mm`; `jitter_mm`, `plain_jitter_mm` (RMS of still hands'
        joints about their mean); `lag_frames`, `plain_lag_frames` of fast hands; `ms`, `plain_ms` (medians).
    """
    steps = [step for video in videos for step in video]
    per_1000 = 1000 / max(len(steps), 1)
    mot = clear_mot(videos)
    both, plain = ([choice(step) for step in steps] for choice in (_tracked, _plain))
    visible = sum(len(step.visible) for step in steps)
    sides = [
        hand.handedness == true.handedness
        for step in steps
        for true, hand in matched(step.visible, step.hands)
    ]
    errors = paired_errors(steps)
    figures: dict[str, Any] = {
        "frames": len(steps),
        "hands": visible,
        "id_switches": mot["num_switches"] * per_1000,
        "lost_tracks": sum(map(lost_tracks, videos)) * per_1000,
        "false_tracks": sum(map(false_tracks, videos)) * per_1000,
        "mota": mot["mota"],
        "idf1": mot["idf1"],
        "handedness": _mean(sides),
        "longest_afterlife": max((life for video in videos for life in afterlives(video)), default=0),
        "detector_share": _mean([step.detected for step in steps]),
    }
    for name, found in (("found", both), ("plain_found", plain)):
        figures[name] = sum(
            len(matched(step.visible, hands)) for step, hands in zip(steps, found, strict=True)
        ) / max(visible, 1)
    figures |= {"error_mm": _mean(errors[:, 0]), "plain_error_mm": _mean(errors[:, 1])}
    for prefix, choice in (("", _tracked), ("plain_", _plain)):
        paths = [path for video in videos for path in hand_paths(video, choice, CLEARLY_VISIBLE)]
        figures[f"{prefix}jitter_mm"] = jitter_mm(paths)
        figures[f"{prefix}lag_frames"] = lag_s(paths) / _frame_s(videos)
    figures["ms"] = float(np.median([step.ms for step in steps])) if steps else float("nan")
    figures["plain_ms"] = float(np.median([step.plain_ms for step in steps])) if steps else float("nan")
    return figures


# --- Which hand is which -----------------------------------------------------------------------------------


def matched(truth: Sequence[TrueHand], hands: Sequence[Hand]) -> list[tuple[TrueHand, Hand]]:
    """Pairs of least total distance, none further apart than MATCH_MM."""
    distance = centre_distances(truth, hands)
    pairs = zip(*linear_sum_assignment(distance.clip(max=MATCH_MM)), strict=True)
    return [(truth[t], hands[h]) for t, h in pairs if distance[t, h] < MATCH_MM]


def centre_distances(truth: Sequence[TrueHand], hands: Sequence[Hand]) -> FloatArray:
    """(M, N) mm."""
    here, there = (
        np.array([one.joints_xyz.mean(axis=0) for one in ones], dtype=np.float64).reshape(-1, 3)
        for ones in (truth, hands)
    )
    return np.linalg.norm(here[:, None] - there[None], axis=2)


def clear_mot(videos: Sequence[Video]) -> dict[str, float]:
    """MOTA (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al. 2016) and the number of id switches."""
    try:
        import motmetrics
    except ImportError as error:
        raise HandPoseError(
            f"tracking cannot be measured ({error}): pip install {requirements('training')}"
        ) from None

    accumulators = []
    for video in videos:
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for step in video:
            hidden = {
                id(hand) for true, hand in matched(step.truth, step.hands) if true.visible < LEAST_VISIBLE
            }
            counted = [hand for hand in step.hands if id(hand) not in hidden]
            distance = centre_distances(step.visible, counted)
            distance[distance >= MATCH_MM] = np.nan
            owners, ids = [true.owner for true in step.visible], [hand.id for hand in counted]
            accumulator.update(owners, ids, distance)
        accumulators.append(accumulator)
    names = ["mota", "idf1", "num_switches"]
    table = motmetrics.metrics.create().compute_many(accumulators, metrics=names, generate_overall=True)
    return {name: float(table.loc["OVERALL", name]) for name in names}


def lost_tracks(video: Video) -> int:
    """How often a hand is followed in a frame and not in the next one, though it is visible in both."""
    lost = 0
    for before, after in pairwise(video):
        kept = {true.owner for true, _ in matched(after.truth, after.hands)}
        visible = {true.owner for true in after.visible}
        lost += sum(true.owner in visible - kept for true, _ in matched(before.visible, before.hands))
    return lost


def false_tracks(video: Video) -> int:
    """Tracks that are at no hand in more than half of their frames."""
    frames: dict[int | None, list[bool]] = defaultdict(list)
    for step in video:
        true = {id(hand) for _, hand in matched(step.truth, step.hands)}
        for hand in step.hands:
            frames[hand.id].append(id(hand) in true)
    return sum(2 * sum(found) < len(found) for found in frames.values())


def afterlives(video: Video) -> Iterator[int]:
    """For each time that a followed hand goes: frames in which its track lives on without a hand."""
    following: dict[int, int | None] = {}  # owner -> id
    ghosts: dict[int | None, int] = {}
    for step in video:
        pairs = matched(step.truth, step.hands)
        placed = {hand.id for _, hand in pairs}
        here = {true.owner for true in step.truth}
        for owner in [owner for owner in following if owner not in here]:
            ghosts[following.pop(owner)] = 0
        alive = {hand.id for hand in step.hands}
        for number in list(ghosts):
            if number in alive and number not in placed:
                ghosts[number] += 1
            else:
                yield ghosts.pop(number)
        following |= {true.owner: hand.id for true, hand in pairs}
    yield from ghosts.values()


# --- Where the joints are ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Path:
    """A hand found in successive frames: (T,) seconds, (T, J, 3) mm of its joints and of the true ones."""

    seconds: FloatArray
    joints: FloatArray
    truth: FloatArray


def hand_paths(video: Video, choice: Choice, visible: float = LEAST_VISIBLE) -> list[Path]:
    """Every unbroken stretch in which a hand was found of which at least a share is visible."""
    open_ones: dict[int, list[tuple[float, FloatArray, FloatArray]]] = {}
    done = []
    for step in video:
        found = {
            true.owner: (step.seconds, hand.joints_xyz.astype(np.float64), true.joints_xyz)
            for true, hand in matched(step.visible, choice(step))
            if true.visible >= visible
        }
        done += [open_ones.pop(owner) for owner in list(open_ones) if owner not in found]
        for owner, entry in found.items():
            open_ones.setdefault(owner, []).append(entry)
    stretches = [*done, *open_ones.values()]
    return [
        Path(*(np.array(part) for part in zip(*entries, strict=True)))
        for entries in stretches
        if len(entries) > 1
    ]


def jitter_mm(paths: Sequence[Path]) -> float:
    """RMS of how far joints of still hands are from their mean over half a second, after half a second."""
    squares = []
    for path in paths:
        speed = np.linalg.norm(np.diff(path.truth, axis=0), axis=2).max(axis=1) / np.diff(path.seconds)
        error = path.joints - path.truth
        still = np.convolve(speed < STILL_MM_S, np.ones(2 * _STILL_FRAMES), "valid") > 2 * _STILL_FRAMES - 0.5
        for start in np.flatnonzero(still):
            window = error[start + 1 + _STILL_FRAMES : start + 1 + 2 * _STILL_FRAMES]
            squares.append(np.square(window - window.mean(axis=0)).sum(axis=2).mean())
    return float(np.sqrt(np.mean(squares))) if squares else float("nan")


def lag_s(paths: Sequence[Path]) -> float:
    """Seconds by which fast hands come too late: least squares over all of their frames."""
    late = moved = 0.0
    for path in paths:
        truth, found = path.truth.mean(axis=1), path.joints.mean(axis=1)
        velocity = np.diff(truth, axis=0) / np.diff(path.seconds)[:, None]
        fast = np.linalg.norm(velocity, axis=1) > FAST_MM_S
        behind = ((truth - found)[1:] * velocity).sum(axis=1)
        late += float(behind[fast].sum())
        moved += float(np.square(velocity[fast]).sum())
    return late / moved if moved else float("nan")


def paired_errors(steps: Sequence[Step]) -> FloatArray:
    """(N, 2) mean error of the joints, mm, with and without tracking, of hands found in both ways."""
    errors = []
    for step in steps:
        both = [
            {true.owner: (true, hand) for true, hand in matched(step.visible, hands)}
            for hands in (step.hands, step.plain)
        ]
        for owner in both[0].keys() & both[1].keys():
            errors.append([_error(*pairs[owner]) for pairs in both])
    return np.array(errors, dtype=np.float64).reshape(-1, 2)


def _error(true: TrueHand, hand: Hand) -> float:
    return float(np.linalg.norm(hand.joints_xyz - true.joints_xyz, axis=1).mean())


def _tracked(step: Step) -> Sequence[Hand]:
    return step.hands


def _plain(step: Step) -> Sequence[Hand]:
    return step.plain


def _frame_s(videos: Sequence[Video]) -> float:
    """Usual time between frames."""
    gaps = [after.seconds - before.seconds for video in videos for before, after in pairwise(video)]
    return float(np.median(gaps)) if gaps else float("nan")


def _mean(values: Sequence[float] | FloatArray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")

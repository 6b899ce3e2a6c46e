"""How fast the networks and whole frames run on this machine, beside the original's steps.

    python3 -m pipeline.benchmark [--json FILE] [--engines openvino,torch] [--seconds 20]

All contenders run in turn, one call each, so that what else the machine does meets all of them alike. Run it
under `taskset -c 0` for the figures of one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from pipeline.benchmark_contenders import (
    Contender,
    original_frames,
    original_networks,
    our_frames,
    our_networks,
    scene_with_hands,
)
from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT
from pipeline.engines import ENGINES
from pipeline.engines.choice import Kind, usable_kinds
from pipeline.errors import HandPoseError, UsageError

_LEAST_ROUNDS = 5
_GEMM = 1024  # rows and columns of the matrices whose product tells the machine's peak


@dataclass(frozen=True)
class Row:
    """Times of one contender, ms; share of the time that the machine's peak would take (0 if unknown)."""

    what: str
    engine: str
    median_ms: float
    p95_ms: float
    floor_share: float
    accuracy: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        kinds = usable_kinds(_engines(options.engines))
        rows, peak = measure(kinds, options.centernet, options.a2j, options.seconds)
        print(markdown(rows))
        print(f"\nPeak of a float32 matrix product: {peak:.0f} GFLOP/s; {machine()}.")
        if options.json:
            report = {"machine": machine(), "peak_gflops": peak, "rows": [asdict(row) for row in rows]}
            options.json.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        print(f"cannot write {options.json} ({error.strerror}): name another file", file=sys.stderr)
        return 1
    except HandPoseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def measure(kinds: Sequence[Kind], centernet: Path, a2j: Path, seconds: float) -> tuple[list[Row], float]:
    """Times of the networks and of whole frames, and the machine's peak, GFLOP/s.

    Args:
        kinds: engines that are there.
        centernet, a2j: checkpoints.
        seconds: for each of the two parts.

    Raises:
        HandPoseError: a checkpoint cannot be read, or an engine does not work.
    """
    peak = peak_gflops()
    frame, boxes, sides = scene_with_hands()
    networks = [*original_networks(), *our_networks(kinds, centernet, a2j)]
    rows = timed(networks, seconds, peak)
    frames = [*original_frames(frame, boxes), *our_frames(kinds, centernet, a2j, frame, boxes, sides)]
    return rows + timed(frames, seconds, peak), peak


def timed(contenders: Sequence[Contender], seconds: float, peak: float) -> list[Row]:
    """Calls all in turn until the time is over; each once before that."""
    times: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.call()
    end = perf_counter() + seconds
    while len(times[-1]) < _LEAST_ROUNDS or perf_counter() < end:
        for contender, spent in zip(contenders, times, strict=True):
            start = perf_counter()
            contender.call()
            spent.append(1e3 * (perf_counter() - start))
    rows = []
    for one, spent in zip(contenders, times, strict=True):
        median, p95 = np.percentile(spent, [50, 95])
        floor_ms = 1e3 * one.gflop / peak
        rows.append(
            Row(one.what, one.engine, float(median), float(p95), floor_ms / float(median), one.accuracy)
        )
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table of the README."""
    lines = [
        "| what | engine | median ms | p95 ms | share of the floor | accuracy |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        share = f"{row.floor_share:.0%}" if row.floor_share else ""
        lines.append(
            f"| {row.what} | {row.engine} | {row.median_ms:.1f} | {row.p95_ms:.1f} | {share} "
            f"| {row.accuracy} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Processor, GPU and versions."""
    parts = [platform.processor() or platform.machine(), f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"PyTorch {torch.__version__}"])


def peak_gflops() -> float:
    """Of a float32 matrix product in PyTorch: the best of several."""
    left, right = torch.rand(2, _GEMM, _GEMM)
    best = np.inf
    for _ in range(8):
        start = perf_counter()
        torch.mm(left, right)
        best = min(best, perf_counter() - start)
    return 2e-9 * _GEMM**3 / best


def _engines(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise UsageError(f"the engine {unknown[0]!r} is unknown: choose among {', '.join(ENGINES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m pipeline.benchmark", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--engines", default="auto", help="comma-separated (default: all that are here)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for the networks, and for the frames")
    parser.add_argument("--centernet", type=Path, metavar="FILE", default=CENTERNET_CHECKPOINT)
    parser.add_argument("--a2j", type=Path, metavar="FILE", default=A2J_CHECKPOINT)
    return parser


if __name__ == "__main__":
    sys.exit(main())

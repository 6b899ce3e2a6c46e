"""How fast the networks and whole frames run on this machine, beside the original's steps.

    python3 -m pipeline.benchmark [--light] [--json FILE] [--engines openvino,torch] [--device cuda]

All contenders run in turn, one call each, so that what else the machine does meets all of them alike. A call
takes its input from the host and gives its results back there, also on a GPU. Run it under `taskset -c 0` for
the figures of one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from pipeline.benchmark_contenders import (
    CPU,
    EAGER,
    GPU,
    Contender,
    original_frames,
    original_networks,
    our_frames,
    our_networks,
    scenes_with_hands,
)
from pipeline.command_line import at_least_one
from pipeline.constants import (
    A2J_CHECKPOINT,
    A2J_LIGHT_CHECKPOINT,
    CENTERNET_CHECKPOINT,
    CENTERNET_LIGHT_CHECKPOINT,
)
from pipeline.engines import ENGINES
from pipeline.engines.choice import Kind, usable_kinds
from pipeline.errors import HandPoseError, UsageError, command

_LEAST_ROUNDS = 5
_GEMM = {CPU: (2048, 512), GPU: (8192, 8192)}  # rows and columns of the product that tells a device's peak
_PEAK_OF = {CPU: "float32 on the processor", GPU: "float16 on the GPU"}


@dataclass(frozen=True)
class Row:
    """Times of one contender, ms; share that its device's peak would take of them (0 if unknown)."""

    what: str
    engine: str
    median_ms: float
    p95_ms: float
    floor_share: float
    accuracy: str
    device: str = CPU


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.json and not options.json.parent.is_dir():
        raise HandPoseError(f"cannot write {options.json} (there is no such folder): name another file")
    devices = _devices(options.device)
    kinds = _kinds(options.engines, devices)
    originals = [one for one in kinds if options.originals or (one.on_gpu and one.name == "torch")]
    light, standard = (
        (CENTERNET_LIGHT_CHECKPOINT, A2J_LIGHT_CHECKPOINT),
        (CENTERNET_CHECKPOINT, A2J_CHECKPOINT),
    )
    centernet, a2j = light if options.light else standard
    networks = Networks(options.centernet or centernet, options.a2j or a2j, originals)
    rows, peaks = measure(devices, kinds, networks, options.seconds, options.in_a_row)
    print(markdown(rows))
    print(f"\n{ratios(rows)}\n" if ratios(rows) else "")
    print(f"Floor, by the peak of a matrix product: {_told(peaks)}; {machine()}.")
    if options.json:
        report = {"machine": machine(), "peak_gflops": peaks, "rows": [asdict(row) for row in rows]}
        _write(options.json, json.dumps(report, indent=2) + "\n")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise HandPoseError(f"cannot write {path} ({error.strerror}): name another file") from error


@dataclass(frozen=True)
class Networks:
    """What is run.

    Args:
        centernet, a2j: checkpoints of ours.
        originals: engines that run the original's networks too.
    """

    centernet: Path
    a2j: Path
    originals: Sequence[Kind] = ()


def measure(
    devices: Sequence[str], kinds: Sequence[Kind], networks: Networks, seconds: float, in_a_row: int = 1
) -> tuple[list[Row], dict[str, float]]:
    """Times of the networks and of whole frames, and the peak of each device, GFLOP/s.

    Args:
        devices: that run eager PyTorch.
        kinds: engines that are there.
        networks: that they run.
        seconds: for each of the two parts.
        in_a_row: of `timed`.

    Raises:
        HandPoseError: a checkpoint cannot be read, or an engine does not work.
    """
    peaks = {device: Peak(device) for device in devices}
    scenes = scenes_with_hands()
    ours = (networks.centernet, networks.a2j)
    single = [*original_networks(devices, networks.originals), *our_networks(devices, kinds, *ours)]
    rows = timed(single, seconds, peaks, in_a_row)
    whole = [*original_frames(devices, scenes), *our_frames(kinds, *ours, scenes)]
    rows += timed(whole, seconds, {}, in_a_row)
    return rows, {device: peak.gflops for device, peak in peaks.items()}


def timed(
    contenders: Sequence[Contender], seconds: float, peaks: Mapping[str, Peak], in_a_row: int = 1
) -> list[Row]:
    """Calls all in turn until the time is over; each once before that.

    Args:
        contenders: that take part.
        seconds: in all; each is called a few times in any case.
        peaks: of the devices, measured in turn with the contenders; shares of those left out are unknown.
        in_a_row: calls of a contender at its turn. The first finds the caches full of the others' weights:
            of more than one it is not counted.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.call()
    end = perf_counter() + seconds
    while len(times[-1]) < _LEAST_ROUNDS or perf_counter() < end:
        for contender, spent in zip(contenders, times, strict=True):
            for call in range(in_a_row):
                start = perf_counter()
                contender.call()
                if call or in_a_row == 1:
                    spent.append(1e3 * (perf_counter() - start))
        for peak in peaks.values():
            peak.measure()
    rows = []
    for one, spent in zip(contenders, times, strict=True):
        median, p95 = map(float, np.percentile(spent, [50, 95]))
        share = 1e3 * one.gflop / peaks[one.device].gflops / median if one.device in peaks else 0.0
        rows.append(Row(one.what, one.engine, median, p95, share, one.accuracy, one.device))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table of the README."""
    lines = [
        "| what | engine | median ms | p95 ms | share of the floor | accuracy |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        share = f"{row.floor_share:.{0 if row.floor_share >= 0.1 else 1}%}" if row.floor_share else ""
        lines.append(
            f"| {row.what} | {row.engine} | {_ms(row.median_ms)} | {_ms(row.p95_ms)} | {share} "
            f"| {row.accuracy} |"
        )
    return "\n".join(lines)


def ratios(rows: Sequence[Row]) -> str:
    """A table of how much faster engines are than eager PyTorch with the same network on the same device."""
    eager = {(row.what, row.device): row.median_ms for row in rows if row.engine.startswith(EAGER)}
    ours = [row for row in rows if (row.what, row.device) in eager and not row.engine.startswith(EAGER)]
    lines = [
        "| the same network | engine | eager ms | median ms | times faster |",
        "|---|---|---:|---:|---:|",
    ]
    for row in ours:
        slow, fast = eager[row.what, row.device], row.median_ms
        lines.append(f"| {row.what} | {row.engine} | {_ms(slow)} | {_ms(fast)} | {slow / fast:.1f} |")
    return "\n".join(lines) if ours else ""


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> str:
    """Processor, GPU and versions."""
    parts = [platform.processor() or platform.machine(), f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"PyTorch {torch.__version__}"])


class Peak:
    """The fastest matrix product so far: float32 on the CPU, float16 on a GPU.

    It is measured among the contenders, since what else the machine does slows it as well.

    Attributes:
        gflops: GFLOP/s.
    """

    def __init__(self, device: str = CPU) -> None:
        (rows, columns), dtype = _GEMM[device], torch.float16 if device == GPU else torch.float32
        self._left, self._right = (
            torch.rand(n, columns, device=device, dtype=dtype) for n in (rows, columns)
        )
        self._gflop = 2e-9 * rows * columns**2
        self._seconds = _gpu_seconds if device == GPU else _cpu_seconds
        self.gflops = 0.0
        for _ in range(_LEAST_ROUNDS):
            self.measure()

    def measure(self) -> None:
        """One more product."""
        self.gflops = max(self.gflops, self._gflop / self._seconds(self._left, self._right))


@torch.inference_mode()
def _cpu_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """The faster way: as a product, or as the 1x1 convolution of 32 images that is the same.

    The two may come from different libraries, and on some processors the products' is half as fast.
    """
    images = left.view(32, -1, 1, left.shape[1]).permute(0, 3, 1, 2)
    kernels = right.t()[:, :, None, None].contiguous(memory_format=torch.channels_last)
    times = [perf_counter()]
    torch.mm(left, right)
    times.append(perf_counter())
    torch.conv2d(images, kernels)
    times.append(perf_counter())
    return min(times[1] - times[0], times[2] - times[1])


def _gpu_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """By the GPU's own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    torch.mm(left, right)
    end.record()
    end.synchronize()
    return 1e-3 * start.elapsed_time(end)


def _told(peaks: Mapping[str, float]) -> str:
    return ", ".join(f"{_PEAK_OF[device]} {peak:.0f} GFLOP/s" for device, peak in peaks.items())


def _devices(name: str) -> list[str]:
    there = torch.cuda.is_available()
    if name == "auto":
        return [CPU, GPU] if there else [CPU]
    if name == GPU and not there:
        raise UsageError("PyTorch sees no CUDA GPU here: leave --device out or take cpu")
    return [name]


def _kinds(engines: str, devices: Sequence[str]) -> list[Kind]:
    kinds = [kind for kind in usable_kinds(_engines(engines)) if (GPU if kind.on_gpu else CPU) in devices]
    if not kinds:
        raise UsageError(f"the engine {engines} does not run on {devices[0]}: leave --device out")
    return kinds


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
    parser.add_argument(
        "--device", choices=["auto", CPU, GPU], default="auto", help="(default: all that are here)"
    )
    parser.add_argument(
        "--originals", action="store_true", help="the original's networks by each engine, not PyTorch's only"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for the networks, and for the frames")
    parser.add_argument(
        "--in-a-row",
        type=at_least_one,
        default=1,
        metavar="N",
        help="calls at each turn; of several the first, with others' weights in the caches, is left out",
    )
    parser.add_argument("--centernet", type=Path, metavar="FILE", help="instead of the shipped one")
    parser.add_argument("--a2j", type=Path, metavar="FILE", help="instead of the shipped one")
    parser.add_argument("--light", action="store_true", help="the shipped networks for small machines")
    return parser


if __name__ == "__main__":
    sys.exit(main())

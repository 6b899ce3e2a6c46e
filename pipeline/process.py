"""Many recordings, each to a file of JSON Lines.

python3 -m pipeline.process RECORDING... --out DIR [--workers N]

Every recording (FILE.mkv or a folder of frames) becomes DIR/NAME.jsonl, as `azure_kinect.py --output` writes
it. Finished files are left as they are, so that the same command goes on where it was stopped. A recording
that cannot be read does not stop the others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from pipeline.command_line import ENGINES
from pipeline.errors import HandPoseError, SourceError, UsageError, command

if TYPE_CHECKING:
    from pipeline.hand_pose import HandPosePipeline


@dataclass(frozen=True)
class Settings:
    """How recordings are processed; see `HandPosePipeline`.

    Args:
        out: folder of the results.
        threads: that each process's networks may use; None for the engine's choice.
    """

    out: Path
    engine: str = "auto"
    max_hands: int | None = None
    track: bool = True
    centernet: Path | None = None
    a2j: Path | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Args:
        recording: its path.
        output: the file of JSON Lines.
        frames: written into it.
        seconds: that it took.
        error: why there is no file, in one sentence; None if there is one.
    """

    recording: Path
    output: Path
    frames: int = 0
    seconds: float = 0.0
    error: str | None = None


def process(recording: str | Path, settings: Settings) -> Outcome:
    """Writes the hands of a recording's frames to `settings.out`, unless that is done already.

    Function, arguments and result can be pickled, so that any scheduler can map it over recordings. The
    networks are loaded once in each process. The file appears when it is complete.
    """
    recording = Path(recording)
    output = output_path(recording, settings)
    start = perf_counter()
    if output.is_file():
        return Outcome(recording, output)
    try:
        frames = _write(recording, output, settings)
    except HandPoseError as error:
        return Outcome(recording, output, error=str(error), seconds=perf_counter() - start)
    except Exception as error:  # whatever it is: the others must go on
        reason = f"{recording} failed ({type(error).__name__}: {error}): try it with azure_kinect.py"
        return Outcome(recording, output, error=reason, seconds=perf_counter() - start)
    return Outcome(recording, output, frames, perf_counter() - start)


def process_all(
    recordings: Sequence[Path], settings: Settings, workers: int
) -> Generator[Outcome, None, None]:
    """What becomes of each recording, in the order in which they are done.

    A recording that kills the process it is read in is told from the others by giving each of those that
    were not done a process of its own.
    """
    left = dict.fromkeys(recordings)
    with _pool(min(workers, len(left))) as pool:
        futures = [pool.submit(process, recording, settings) for recording in left]
        for future in as_completed(futures):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                continue
            del left[outcome.recording]
            yield outcome
    for recording in left:
        with _pool(1) as pool:
            try:
                yield pool.submit(process, recording, settings).result()
            except BrokenProcessPool:
                reason = f"{recording} ended its process: memory may be short, or the file is broken"
                yield Outcome(recording, output_path(recording, settings), error=reason)


def output_path(recording: Path, settings: Settings) -> Path:
    """Where the result of a recording goes."""
    return settings.out / f"{Path(os.path.abspath(recording)).stem}.jsonl"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        Exit code: 0 all is done, 1 some recordings failed, 2 wrong use, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    settings = Settings(
        options.out,
        options.engine,
        options.max_hands,
        not options.no_track,
        options.centernet,
        options.a2j,
        max(1, (os.cpu_count() or 1) // options.workers),
    )
    failed = 0
    _check(options.recordings, settings)
    with closing(process_all(options.recordings, settings, options.workers)) as outcomes:
        for outcome in _with_progress(outcomes, options):
            failed += outcome.error is not None
            print(_sentence(outcome), file=sys.stderr if outcome.error else sys.stdout)
    return 1 if failed else 0


def _write(recording: Path, output: Path, settings: Settings) -> int:
    from pipeline.cameras import open_camera
    from pipeline.outputs import JsonLines, write_errors
    from pipeline.result import Result

    part = output.with_suffix(".part")
    frames = 0
    with open_camera(recording) as camera:
        pose = _networks(settings)
        pose.reset()
        lines = JsonLines(part, pose.skeleton, camera.camera, pose.engine_name)
        try:
            for frame in camera:
                hands = pose(frame)
                lines.write(Result(frame, hands, pose.timings))
                frames += 1
        finally:
            lines.close()
    if not frames:
        raise SourceError(f"no frames in {recording}: record again")
    with write_errors(output):
        part.replace(output)
    return frames


@lru_cache(maxsize=1)
def _networks(settings: Settings) -> HandPosePipeline:
    import torch

    from pipeline.hand_pose import HandPosePipeline

    if settings.threads:
        torch.set_num_threads(settings.threads)
    return HandPosePipeline(
        engine=settings.engine,
        max_hands=settings.max_hands,
        track=settings.track,
        centernet=settings.centernet,
        a2j=settings.a2j,
    )


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that do not outlive the block, even if it is left by Ctrl-C."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupts)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal: the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check(recordings: Sequence[Path], settings: Settings) -> None:
    """Before anything is started.

    Raises:
        UsageError: recordings of one name, or a folder that cannot be written.
    """
    names = Counter(output_path(recording, settings).name for recording in dict.fromkeys(recordings))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UsageError(f"two recordings would both become {twice[0]}: give them different names")
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {settings.out} ({error.strerror}): give another --out") from None
    if not os.access(settings.out, os.W_OK):
        raise UsageError(f"cannot write to {settings.out} (permission denied): give another --out")


def _with_progress(outcomes: Iterator[Outcome], options: argparse.Namespace) -> Iterator[Outcome]:
    from tqdm import tqdm

    total = len(dict.fromkeys(options.recordings))
    with tqdm(total=total, unit=" recordings", disable=None, file=sys.stderr) as bar:
        for outcome in outcomes:
            bar.clear()
            yield outcome
            bar.update()


def _sentence(outcome: Outcome) -> str:
    if outcome.error:
        return outcome.error
    if not outcome.seconds:
        return f"{outcome.output}: done before"
    return f"{outcome.output}: {outcome.frames} frames in {outcome.seconds:.1f} s"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m pipeline.process",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 all is done, 1 some recordings failed, 2 wrong use, 130 after Ctrl-C.",
    )
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help="FILE.mkv or a folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--workers", type=_count, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--engine", default="auto", choices=ENGINES, help="what runs the networks")
    parser.add_argument("--max-hands", type=_count, metavar="N", help="at most N hands in a frame")
    parser.add_argument("--no-track", action="store_true", help="each frame for itself")
    parser.add_argument("--centernet", type=Path, metavar="FILE", help="weights of the hand detector")
    parser.add_argument("--a2j", type=Path, metavar="FILE", help="weights of the joint network")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Many recordings, each to a file of JSON Lines.

python3 -m pipeline.process RECORDING... --out DIR [--workers N]

Every recording (FILE.mkv or a folder of frames) becomes DIR/NAME.jsonl, as `azure_kinect.py --output` writes
it. Finished files are left as they are, so that the same command goes on where it was stopped; one that other
options, weights or another recording of the same name gave is an error. A recording that cannot be read does
not stop the others; of one that ends in a fault, the frames before it are kept as DIR/NAME.incomplete.jsonl.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import re
import signal
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pipeline.command_line import ENGINES, at_least_one, given_path
from pipeline.errors import HandPoseError, SourceError, UsageError, command
from pipeline.weights import a2j_weights, centernet_weights
from pipeline.worker_pool import share_of_cores, until_broken

if TYPE_CHECKING:
    from pipeline.frame import Frame
    from pipeline.hand_pose import HandPosePipeline

_INCOMPLETE = ".incomplete"


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
        error: what went wrong, in one sentence; None if the file is there.
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
    try:
        _check_place(output, recording)
        if output.is_file():
            _check_finished(output, recording, settings)
            return Outcome(recording, output)
        frames, fault = _write(recording, output, settings)
    except HandPoseError as error:
        return Outcome(recording, output, error=str(error), seconds=perf_counter() - start)
    except Exception as error:  # whatever it is: the others must go on
        reason = f"{recording} failed ({type(error).__name__}: {error}): try it with azure_kinect.py"
        return Outcome(recording, output, error=reason, seconds=perf_counter() - start)
    return Outcome(recording, output, frames, perf_counter() - start, fault)


def process_all(
    recordings: Sequence[Path], settings: Settings, workers: int
) -> Generator[Outcome, None, None]:
    """What becomes of each recording, in the order in which they are done.

    A recording that kills the process it is read in is told from the others by giving each of those that
    were in work then a process of its own.
    """
    work, waiting = partial(process, settings=settings), deque(dict.fromkeys(recordings))

    def clean_up(recording: Path) -> None:
        _remove_leftovers(output_path(recording, settings))

    while waiting:
        suspects = yield from until_broken(work, waiting, workers, clean_up)
        for recording in suspects:
            if (yield from until_broken(work, deque([recording]), 1, clean_up)):
                reason = f"{recording} ended its process: memory may be short, or the file is broken"
                yield Outcome(recording, output_path(recording, settings), error=reason)


def output_path(recording: Path, settings: Settings) -> Path:
    """Where the result of a recording goes."""
    path = Path(os.path.abspath(recording))
    return settings.out / f"{path.name if os.path.isdir(path) else path.stem}.jsonl"


def _incomplete_path(output: Path) -> Path:
    """Where the frames before a fault go: the longest name of a recording's files."""
    return output.with_suffix(f"{_INCOMPLETE}.jsonl")


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
        share_of_cores(min(options.workers, len(options.recordings))),
    )
    failed = 0
    _check(options.recordings, settings)
    with closing(process_all(options.recordings, settings, options.workers)) as outcomes:
        for outcome in _with_progress(outcomes, options):
            failed += outcome.error is not None
            print(_sentence(outcome), file=sys.stderr if outcome.error else sys.stdout)
    return 1 if failed else 0


def _write(recording: Path, output: Path, settings: Settings) -> tuple[int, str | None]:
    """Frames written, and the fault that the recording ends in, if any."""
    from pipeline.cameras import open_camera
    from pipeline.outputs import JsonLines
    from pipeline.result import Result
    from pipeline.writing import write_errors

    _remove_leftovers(output)
    part = output.with_name(f"{output.stem}.{os.getpid()}.part")
    frames, faults = 0, list[str]()
    try:
        with open_camera(recording) as camera:
            pose = _networks(settings)
            pose.reset()
            origin = _origin(recording, settings)
            lines = JsonLines(part, pose.skeleton, camera.camera, pose.engine_name, origin)
            try:
                for frame in _up_to_fault(camera, faults):
                    hands = pose(frame)
                    lines.write(Result(frame, hands, pose.timings))
                    frames += 1
            finally:
                lines.close()
        if not frames:
            raise SourceError(faults[0] if faults else f"no frames in {recording}: record again")
        incomplete = _incomplete_path(output)
        with write_errors(output):
            part.replace(incomplete if faults else output)
            if not faults:
                incomplete.unlink(missing_ok=True)  # of an earlier try
    finally:
        part.unlink(missing_ok=True)
    return frames, f"{faults[0]}; what comes before is in {incomplete}" if faults else None


def _remove_leftovers(output: Path) -> None:
    """Parts of runs that were killed. One that is still at work ends in an error, never in a mixed file."""
    for path in output.parent.glob("*.part"):
        if re.fullmatch(re.escape(output.stem) + r"\.\d+\.part", path.name):
            with suppress(OSError):
                path.unlink()


def _up_to_fault(frames: Iterable[Frame], faults: list[str]) -> Iterator[Frame]:
    """The frames that can be read; why there are no more is added to `faults`."""
    try:
        yield from frames
    except HandPoseError as error:
        faults.append(str(error))


def _origin(recording: Path, settings: Settings) -> dict[str, Any]:
    """What a result's first line says about where it comes from; engines only differ in digits."""
    weights = _weights(settings)
    options = {
        "max_hands": settings.max_hands,
        "track": settings.track,
        **{name: os.path.abspath(path) for name, path in weights.items()},
        **{f"{name}_sha256": _digest(path) for name, path in weights.items()},
    }
    return {"source": os.path.abspath(recording), "size": _size(recording), "options": options}


def _weights(settings: Settings) -> dict[str, Path]:
    return {"centernet": centernet_weights(settings.centernet), "a2j": a2j_weights(settings.a2j)}


@lru_cache(maxsize=2)
def _digest(weights: Path) -> str:
    """Of the file as it is when it is asked for first.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{weights} cannot be read ({error.strerror}): name other weights") from None


def _size(recording: Path) -> int:
    """Bytes of a recording, images of a folder."""
    try:
        if os.path.isdir(recording):
            return len(os.listdir(recording / "depth_image"))
        return os.path.getsize(recording)
    except OSError as error:
        raise SourceError(
            f"{recording} cannot be read ({error.strerror}): look for it, or leave it out"
        ) from None


def _check_place(output: Path, recording: Path) -> None:
    """Raises UsageError if a result's name is longer than the system allows, or a folder's."""
    for path in (output, _incomplete_path(output)):
        if os.path.isdir(path):
            raise UsageError(f"cannot write {path}: it is a folder, rename it or give another --out")
    try:
        os.lstat(_incomplete_path(output))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"the name of {recording} is too long for those of its results: give it a shorter one"
            ) from None


def _check_finished(output: Path, recording: Path, settings: Settings) -> None:
    """Raises UsageError if a finished file is another recording's of the same name, or of other options."""
    try:
        with output.open(encoding="utf-8") as lines:
            head = json.loads(lines.readline())
        source, size = (head.get("source"), head.get("size")) if head["joint_names"] else (None, None)
        options = head.get("options")
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(f"{output} is no result of this command: move it, or give another --out") from None
    wanted = _origin(recording, settings)
    if source not in (None, wanted["source"]):
        raise UsageError(f"{output} is the result of {source}, not of {recording}: give another --out")
    if size not in (None, wanted["size"]):
        raise UsageError(
            f"{output} was made when {recording} was another one: give another --out, or remove it"
        )
    known = options if isinstance(options, dict) else {}  # earlier versions told less
    if any(wanted["options"].get(name) != value for name, value in known.items()):
        raise UsageError(
            f"{output} was made with other options, {json.dumps(options)}: give another --out, or remove it"
        )


@lru_cache(maxsize=1)
def _networks(settings: Settings) -> HandPosePipeline:
    from pipeline.hand_pose import HandPosePipeline

    return HandPosePipeline(
        engine=settings.engine,
        max_hands=settings.max_hands,
        track=settings.track,
        centernet=settings.centernet,
        a2j=settings.a2j,
        threads=settings.threads,
    )


def _stop_once() -> None:
    """The first Ctrl-C or SIGTERM raises an exception, so that workers end too; more of them do nothing."""
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]

    def stop(number: int, _: object) -> None:
        for other in numbers:
            signal.signal(other, lambda *_: None)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, stop)


def _check(recordings: Sequence[Path], settings: Settings) -> None:
    """Before anything is started.

    Raises:
        UsageError: recordings of one name, weights that cannot be read, or a folder that cannot be written.
    """
    for recording in recordings:
        if output_path(recording, settings).stem.endswith(_INCOMPLETE):
            raise UsageError(f"{recording} is named as the results of faulty recordings are: rename it")
    names = Counter(output_path(recording, settings).name for recording in dict.fromkeys(recordings))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UsageError(f"two recordings would both become {twice[0]}: give them different names")
    for weights in _weights(settings).values():
        _digest(weights)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m pipeline.process",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 all is done, 1 some recordings failed, 2 wrong use, 130 after Ctrl-C.",
    )
    parser.add_argument(
        "recordings", nargs="+", type=given_path, metavar="RECORDING", help="FILE.mkv or a folder"
    )
    parser.add_argument("--out", type=given_path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--workers", type=at_least_one, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--engine", default="auto", choices=ENGINES, help="what runs the networks")
    parser.add_argument(
        "--max-hands", type=at_least_one, metavar="N", help="at most N hands in a frame (few: faster)"
    )
    parser.add_argument("--no-track", action="store_true", help="each frame for itself")
    parser.add_argument("--centernet", type=given_path, metavar="FILE", help="weights of the hand detector")
    parser.add_argument("--a2j", type=given_path, metavar="FILE", help="weights of the joint network")
    return parser


if __name__ == "__main__":
    _stop_once()
    sys.exit(main())

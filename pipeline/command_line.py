"""The program's options, read and checked before anything heavy is loaded."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.errors import UsageError

ENGINES = ("auto", "torch", "tensorrt", "openvino", "onnx")
STDOUT = Path("-")


@dataclass(frozen=True)
class Options:
    """What the user asked for; see `azure_kinect.py --help`."""

    source: str = "azure"
    engine: str = "auto"
    window: bool = True
    output: Path | None = None
    video: Path | None = None
    frames: int | None = None
    max_hands: int | None = None
    track: bool = True
    centernet: Path | None = None
    a2j: Path | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see azure_kinect.py --help")


def parse_options(arguments: list[str] | None = None) -> Options:
    """Reads the command line (sys.argv without arguments); --help ends the program with exit code 0.

    Raises:
        UsageError: an unknown option, a value that does not fit, or options against each other.
    """
    given = _parser().parse_args(arguments)
    if given.video and given.video.suffix.lower() != ".mp4":
        raise UsageError(f"--video writes MP4: give a name that ends in .mp4, not {given.video}")
    if given.video and given.output and given.video.absolute() == given.output.absolute():
        raise UsageError(f"--output and --video both name {given.video}: give two names")
    return Options(
        source=given.source,
        engine=_engine(given.trt, given.engine),
        window=not given.no_window,
        output=given.output,
        video=given.video,
        frames=given.frames,
        max_hands=given.max_hands,
        track=not given.no_track,
        centernet=given.centernet,
        a2j=given.a2j,
    )


def _engine(trt: str | None, engine: str) -> str:
    """--trt True is the engine TensorRT, --trt False is PyTorch unless another one is named."""
    if trt == "True":
        if engine not in ("auto", "tensorrt"):
            raise UsageError(f"--trt True and --engine {engine} do not go together: leave one of them out")
        return "tensorrt"
    if trt == "False" and engine == "tensorrt":
        raise UsageError("--trt False and --engine tensorrt do not go together: leave one of them out")
    return "torch" if trt == "False" and engine == "auto" else engine


def given_path(text: str) -> Path:
    """A file or folder that is named, for argparse; ~ is the home folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text).expanduser()


def at_least_one(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="azure_kinect.py",
        description="Finds hands and their joints in 3D in the depth and infrared images of an Azure Kinect.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 wrong use, nothing to read from or an engine asked "
        "for by name that is not there, 130 after Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--trt",
        nargs="?",
        const="True",
        choices=("True", "False"),
        metavar="True|False",
        help="True (or nothing): run the networks with TensorRT, False: with PyTorch",
    )
    parser.add_argument(
        "--source",
        default="azure",
        metavar="azure|demo|FILE.mkv|FOLDER",
        help="live camera (default), rendered hands, a recording, or a folder of frames",
    )
    parser.add_argument(
        "--engine", default="auto", choices=ENGINES, help="what runs the networks (default: auto)"
    )
    parser.add_argument("--no-window", action="store_true", help="show nothing")
    parser.add_argument(
        "--output",
        type=given_path,
        metavar="FILE.jsonl",
        help="write the hands of each frame as JSON Lines; - is standard output",
    )
    parser.add_argument("--video", type=given_path, metavar="FILE.mp4", help="write what the window shows")
    parser.add_argument("--frames", type=at_least_one, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--max-hands", type=at_least_one, metavar="N", help="at most N hands in a frame (few: faster)"
    )
    parser.add_argument("--no-track", action="store_true", help="each frame for itself: no ids, no smoothing")
    parser.add_argument("--centernet", type=given_path, metavar="FILE", help="weights of the hand detector")
    parser.add_argument("--a2j", type=given_path, metavar="FILE", help="weights of the joint network")
    return parser

"""Frames of a camera, kept for training.

python3 -m pipeline.training.record --source azure OUT [--frames N]

OUT ending in .mkv becomes an Azure Kinect recording, anything else a folder of images; frames are added to a
folder that has some. Ctrl-C ends the recording.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import islice

from tqdm import tqdm

from pipeline.cameras import Camera, open_camera
from pipeline.command_line import given_path
from pipeline.constants import AZURE_FPS
from pipeline.errors import UsageError, command
from pipeline.recording_writer import Recorder, open_recorder


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.frames is not None and options.frames < 1:
        raise UsageError(f"cannot record {options.frames} frames: --frames needs at least 1")
    recorded = 0
    try:
        with (
            open_camera(options.source) as camera,
            open_recorder(options.out, camera.camera, options.fps) as recorder,
        ):
            try:
                record(camera, recorder, options.frames)
            finally:
                recorded = recorder.frames
                if recorded:
                    print(f"{recorded} frames recorded, {camera.dropped} dropped: {options.out}")
    except KeyboardInterrupt:
        if not recorded:
            print("stopped before the first frame: nothing was recorded", file=sys.stderr)
            raise
    return 0


def record(camera: Camera, recorder: Recorder, frames: int | None = None) -> None:
    """Keeps so many frames, or all until the source ends."""
    for frame in tqdm(islice(camera, frames), total=frames, unit=" frames", disable=None):
        recorder.add_frame(frame)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m pipeline.training.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=given_path, metavar="OUT", help="FILE.mkv or a folder")
    parser.add_argument("--source", default="azure", help="azure, demo, a recording or a folder of frames")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many (default: go on)")
    parser.add_argument(
        "--fps", type=int, default=AZURE_FPS, choices=[5, 15, 30], help="frame rate that FILE.mkv states"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

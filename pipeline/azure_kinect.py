"""The program: frames from a camera, through the pipeline, into a window and files.

cd pipeline; python3 azure_kinect.py --source demo
python3 -m pipeline.azure_kinect --source demo         (from the root)
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script: the package comes from the root, nothing from its own folder
    _folder = Path(__file__).resolve().parent
    sys.path = [str(_folder.parent), *(entry for entry in sys.path if Path(entry).resolve() != _folder)]

import logging
import os
import signal
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING

from pipeline.command_line import Options, parse_options
from pipeline.errors import SourceError, command

if TYPE_CHECKING:  # heavy modules are imported when they are used: --help and wrong use answer at once
    from pipeline.cameras import Camera
    from pipeline.frame import Frame
    from pipeline.result import RunSummary

DEMO_FRAMES = 150
DEMO_VIDEO = Path("output") / "demo.mp4"


@command
def main(arguments: list[str] | None = None) -> int:
    """Runs the program.

    Returns:
        Exit code: 0 done, 1 the run failed, 2 wrong use, nothing to read from or an engine asked for by name
        that is not there, 130 after Ctrl-C.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pipeline").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that files are closed
    run(prepare(parse_options(arguments)))
    return 0


def prepare(options: Options) -> Options:
    """Finds out whether there is a display, and whether the files can be written.

    Without a window the demo would run for ever: it ends after `DEMO_FRAMES`, and leaves a video if no
    other file is asked for.

    Raises:
        UsageError: a file cannot be written.
    """
    from pipeline.window import display_problem
    from pipeline.writing import check_writable, write_errors

    for path in (options.output, options.video):
        if path:
            check_writable(path, options.source)
    if options.window and (problem := display_problem()):
        print(f"no window: {problem}, the run goes on without one", file=sys.stderr)
        options = replace(options, window=False)
    if options.source == "demo" and not options.window and not options.frames:
        options = replace(options, frames=DEMO_FRAMES)
        if not (options.output or options.video):
            with write_errors(DEMO_VIDEO):
                DEMO_VIDEO.parent.mkdir(exist_ok=True)
            options = replace(options, video=DEMO_VIDEO)
    return options


def run(options: Options) -> None:
    """Takes every frame of the source through the pipeline to the outputs.

    Raises:
        HandPoseError: one sentence for the user.
    """
    from pipeline.ahead import one_ahead
    from pipeline.cameras import open_camera
    from pipeline.outputs import JsonLines, VideoFile
    from pipeline.result import Result, RunSummary
    from pipeline.view import View
    from pipeline.window import Window

    with ExitStack() as stack:
        camera = stack.enter_context(open_camera(options.source))
        from pipeline.hand_pose import HandPosePipeline  # slow: a source that is not there is told before

        pose = HandPosePipeline(
            engine=options.engine,
            max_hands=options.max_hands,
            track=options.track,
            centernet=options.centernet,
            a2j=options.a2j,
        )
        view = View(pose.skeleton, pose.engine_name, pose)
        summary = RunSummary()
        stack.callback(report, options, summary, camera, camera.dropped)
        outputs: list[JsonLines | VideoFile | Window] = []
        if options.output:
            outputs.append(JsonLines(options.output, pose.skeleton, camera.camera, pose.engine_name))
            stack.callback(outputs[-1].close)
        if options.video:
            outputs.append(VideoFile(options.video, view))
            stack.callback(outputs[-1].close)
        if options.window:
            outputs.append(Window(view, pose, paced=not camera.live))
            stack.callback(outputs[-1].close)

        frames = progress(islice(camera, options.frames), options, camera)
        # The window draws, the files are written, and meanwhile the next frame is grabbed and read.
        for result in one_ahead(Result(frame, pose(frame), pose.timings) for frame in frames):
            summary.add(result)
            view.advance(result)
            for output in outputs:
                output.write(result)
            if any(output.closed for output in outputs):
                break
        if not summary.frames:
            raise SourceError(f"no frames in {options.source}: record again, or give another source")


def progress(frames: Iterable[Frame], options: Options, camera: Camera) -> Iterable[Frame]:
    """Shows on a terminal how far a run without a window has come."""
    if options.window or not sys.stderr.isatty():
        return frames
    from tqdm import tqdm

    lengths = [length for length in (options.frames, length_hint(camera)) if length]
    return tqdm(frames, total=min(lengths, default=None), unit=" frames", file=sys.stderr)


def report(options: Options, summary: RunSummary, camera: Camera, dropped_before: int) -> None:
    """Says how fast the run was, how many frames came too late in it, and where its files are."""
    if not summary.frames:
        return
    print(summary.text(camera.dropped - dropped_before), file=sys.stderr)
    for path in (options.output, options.video):
        if path and os.path.isfile(path):
            print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

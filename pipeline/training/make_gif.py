"""Makes the picture at the top of the README: the demo as the program shows it.

python3 -m pipeline.training.make_gif
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from pipeline.cameras import open_camera
from pipeline.command_line import at_least_one
from pipeline.constants import ROOT
from pipeline.drawing import BACKGROUND, FINGER_COLOURS, PALM_COLOUR, Image, ViewOptions
from pipeline.errors import UsageError, command
from pipeline.hand_pose import HandPosePipeline
from pipeline.panel import SCALE_COLOUR, Viewpoint, follow
from pipeline.view import compose, seconds_between

GIF = ROOT / "readme_files" / "demo.gif"
_NOISE = 9  # grey levels: smaller changes from picture to picture are left out, for the file's size
_GREYS, _SHADES = 96, 22  # of the palette: of the image, and of each colour of the overlay


def pictures(source: str, pose: HandPosePipeline, skip: int, every: int) -> Iterator[Image]:
    """The program's picture of every so many frames of a source, after some to settle.

    Every frame goes through the pipeline, so that tracking sees the video it is made for.
    """
    view: Viewpoint | None = None
    last_us: int | None = None
    with open_camera(source) as camera:
        for number, frame in enumerate(camera):
            hands = pose(frame)
            view = follow(view, hands, seconds_between(last_us, frame.timestamp_us))
            last_us = frame.timestamp_us
            if number >= skip and number % every == 0:
                yield compose(frame, hands, pose.skeleton, ViewOptions(), view)


def steady(images: Iterator[Image], width: int) -> Iterator[Image]:
    """Shrinks pictures to a width, and takes the sensor's noise out of what does not move."""
    shown: Image | None = None
    for image in images:
        height = round(image.shape[0] * width / image.shape[1])
        small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        if shown is not None:
            change = cv2.blur(cv2.absdiff(small, shown).max(axis=2), (3, 3))
            small = np.where(change[..., None] < _NOISE, shown, small)
        shown = small
        yield small


def palette() -> list[int]:
    """RGB, RGB, ...: greys of the infrared image, and the colours of the overlay from dark to full."""
    greys = np.linspace(0, 255, _GREYS).round()[:, None].repeat(3, axis=1)
    colours = np.array([*FINGER_COLOURS, PALM_COLOUR, SCALE_COLOUR], np.float64)[:, ::-1]
    dark = np.array(BACKGROUND, np.float64)[::-1]
    shades = [dark + share * (colours - dark) for share in np.linspace(0, 1, _SHADES)]
    return np.concatenate([greys, *shades]).round().astype(int).ravel().tolist()


def write_gif(path: Path, images: Sequence[Image], fps: float) -> None:
    """Writes BGR pictures with one palette for all of them."""
    from PIL import Image as Pillow

    colours = Pillow.new("P", (1, 1))
    colours.putpalette(palette())
    first, *others = [
        Pillow.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).quantize(
            palette=colours, dither=Pillow.Dither.NONE
        )
        for image in images
    ]
    path.parent.mkdir(exist_ok=True)
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0, optimize=False)


@command
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes the README's picture from the demo.")
    parser.add_argument("--output", type=Path, default=GIF)
    parser.add_argument("--source", default="demo")
    parser.add_argument("--pictures", type=at_least_one, default=60)
    parser.add_argument("--skip", type=int, default=15, help="frames before the first picture")
    parser.add_argument("--every", type=at_least_one, default=2, help="frames from picture to picture")
    parser.add_argument("--width", type=at_least_one, default=720, help="px")
    given = parser.parse_args(arguments)
    pose = HandPosePipeline(track=True)
    taken = islice(pictures(given.source, pose, given.skip, given.every), given.pictures)
    images = list(steady(taken, given.width))
    if not images:
        raise UsageError(
            f"{given.source} ends before the first picture: give a smaller --skip than {given.skip}"
        )
    write_gif(given.output, images, fps=30 / given.every)
    print(f"{given.output}: {len(images)} pictures, {given.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

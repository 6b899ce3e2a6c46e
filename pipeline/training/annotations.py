"""Annotations as the detector's training reads them.

python3 -m pipeline.training.annotations DATA [--out DIR] [--validation 0.1] [--block 30] [--seed 42]

DATA is a recorded folder whose `annotation` folder labelImg saved in, any folder of VOC files, or a COCO
file. Written are train.json, val.json and label_map.json (into the recorded folder, if --out is left out).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import HandPoseError, UsageError, command
from pipeline.training.annotation_files import Annotation, as_json, read_annotations

BACKGROUND = "background"
CLASSES = (("hand",), ("left", "right"))  # the label sets that our detectors know
SEED = 42
BLOCK = 30  # images, about a second of a recording


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    source = options.data / "annotation" if (options.data / "annotation").is_dir() else options.data
    annotations = read_annotations(source)
    out = options.out or (options.data if options.data.is_dir() else options.data.parent)
    train, validation = split(annotations, options.validation, options.seed, options.block)
    write_split(out, train, validation, label_map(annotations, options.classes))
    boxes = sum(len(annotation.boxes) for annotation in annotations)
    print(f"{len(train)} images to train and {len(validation)} to validate, {boxes} boxes: {out}")
    if options.validation and not validation:
        print("to have some to validate, annotate more frames or give a larger --validation", file=sys.stderr)
    return 0


def split(
    annotations: Sequence[Annotation], share: float = 0.1, seed: int = SEED, block: int = BLOCK
) -> tuple[list[Annotation], list[Annotation]]:
    """Images to train on and to validate with, the same for the same images and seed.

    Args:
        share: of the images that validate, 0..1.
        block: consecutive images, at most, that stay together, so that neighbours in a recording do not stand
            on both sides.

    Raises:
        UsageError: a share, seed or block that makes no sense.
    """
    if not 0 <= share < 1 or block < 1 or seed < 0:
        raise UsageError(
            f"cannot split off a share of {share} in blocks of {block} with seed {seed}: "
            "use 0 to 1, at least 1, and a seed from 0 on"
        )
    count, fewer = len(annotations), min(share, 1 - share)
    # As many as make the smaller side of whole blocks; they are of even size.
    blocks = round(min(count, math.ceil(fewer * count / block) / fewer)) if fewer else 1
    order = np.random.default_rng(seed).permutation(blocks)
    chosen = set(order[: round(share * blocks)].tolist())
    validates = [k * blocks // count in chosen for k in range(count)]
    return (
        [a for a, held_out in zip(annotations, validates, strict=True) if not held_out],
        [a for a, held_out in zip(annotations, validates, strict=True) if held_out],
    )


def label_map(annotations: Sequence[Annotation], classes: Sequence[str] | None = None) -> dict[str, int]:
    """Numbers of the labels, 0 for the background.

    Args:
        classes: the labels in order; None finds out which of `CLASSES` they are.

    Raises:
        HandPoseError: labels that are not among the classes.
    """
    found = Counter(label for annotation in annotations for label in annotation.labels)
    candidates = [tuple(classes)] if classes else CLASSES
    for names in candidates:
        if found.keys() <= set(names):
            return {BACKGROUND: 0, **{name: number for number, name in enumerate(names, start=1)}}
    counts = ", ".join(f"{name or '(empty)'} {count}x" for name, count in found.most_common(8))
    raise HandPoseError(
        f"the labels are {counts}: use only hand, or only left and right, or name them with --classes"
    )


def write_split(
    out: Path, train: Sequence[Annotation], validation: Sequence[Annotation], labels: dict[str, int]
) -> None:
    """Writes train.json, val.json and label_map.json.

    Raises:
        UsageError: the folder cannot be written.
    """
    files = {
        "train.json": [as_json(annotation, labels) for annotation in train],
        "val.json": [as_json(annotation, labels) for annotation in validation],
        "label_map.json": labels,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_text(json.dumps(content))
    except OSError as error:
        raise UsageError(f"cannot write to {out} ({error.strerror}): give another --out") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m pipeline.training.annotations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument("--validation", type=float, default=0.1, help="share of the images in val.json")
    parser.add_argument("--seed", type=int, default=SEED, help="of the split")
    parser.add_argument(
        "--block",
        type=int,
        default=BLOCK,
        help="at most so many consecutive images stay together (default: %(default)s, a second; "
        "1 for images that are no video)",
    )
    parser.add_argument("--classes", nargs="+", help="labels in order (default: hand, or left right)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

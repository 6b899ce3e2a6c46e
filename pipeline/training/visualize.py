"""A look at training data, with the truth in white and what networks answer in colours.

python3 -m pipeline.training.visualize --data KIND [DIR...] [--centernet FILE] [--a2j FILE] [--out SHEET.png]

KIND is `hands` or `scenes` (rendered), `real` (recorded, annotated folders), `nyu`, `icvl`, `msra` or
`hands2017`. Without --out a window shows the sheet until a key is pressed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.drawing import Image
from pipeline.errors import UsageError, command
from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.training.contact_sheet import TRUTH, draw_bones, draw_box, grey, sheet
from pipeline.training.evaluate_synthetic import detect_scenes, hand_crops, predict_hands
from pipeline.training.hand_folder_task import RECIPES, hand_sheet
from pipeline.training.hand_folders import (
    NYU_JOINTS,
    HandFrames,
    read_hands2017,
    read_icvl,
    read_msra,
    read_nyu,
)
from pipeline.training.hand_task import hand_contract
from pipeline.training.recorded_scenes import RecordedFrames, read_recorded
from pipeline.training.recorded_task import recorded_sheet
from pipeline.training.rendered import TEST_SEED, fixed_scenes

KINDS = ("hands", "scenes", "real", *RECIPES)
_SIDE = 160  # px of a crop's picture


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.count < 1:
        raise UsageError(f"cannot show {options.count} samples: --count needs at least 1")
    show(contact_sheet(options), options.out)
    return 0


def contact_sheet(options: argparse.Namespace) -> Image:
    """Samples of the data that the options name.

    Raises:
        HandPoseError: data or weights that cannot be read.
    """
    kind, *folders = options.data
    paths = [Path(folder) for folder in folders]
    if kind not in KINDS or (kind in ("hands", "scenes")) == bool(paths):
        raise UsageError(f"--data needs hands or scenes alone, or one of {', '.join(KINDS[2:])} and a folder")
    a2j = load_a2j(options.a2j) if options.a2j else None
    if kind == "hands":
        return rendered_hands_sheet(options.count, a2j)
    if kind == "scenes":
        return rendered_scenes_sheet(options.count, options.centernet)
    if kind == "real":
        detector = load_centernet(options.centernet) if options.centernet else None
        return recorded_sheet(_annotated(paths, options.split).spread(options.count), detector)
    frames = _published(kind, paths[0], options).spread(options.count)
    contract = a2j.contract if a2j else RECIPES[kind].contract(frames.skeleton)
    if contract.skeleton.num_joints != frames.skeleton.num_joints:
        raise UsageError(
            f"{options.a2j} knows {contract.skeleton.num_joints} joints, these frames have "
            f"{frames.skeleton.num_joints}: choose other weights, or --joints"
        )
    return hand_sheet(frames, contract, a2j)


def rendered_hands_sheet(count: int, model: A2J | None) -> Image:
    """Crops that no network was trained on."""
    contract = model.contract if model else hand_contract(128)
    if contract.crop_mm is None:
        raise UsageError("these weights do not see metric crops: show them on --data nyu")
    pictures = []
    for batch in hand_crops(contract, count, TEST_SEED):
        found = predict_hands(model, batch.images).numpy() if model else None
        for n, (image, truth) in enumerate(
            zip(batch.images[:, 0].numpy(), batch.joints.numpy(), strict=True)
        ):
            picture, scale = grey(image, -1.0, 1.0, _SIDE), _SIDE / len(image)
            draw_bones(picture, truth[:, :2] * scale, contract.skeleton, TRUTH)
            if found is not None:
                draw_bones(picture, found[n, :, :2] * scale, contract.skeleton)
            pictures.append(picture)
    return sheet(pictures, 8)


def rendered_scenes_sheet(count: int, centernet: Path | None) -> Image:
    """Scenes that no network was trained on."""
    from pipeline.networks.preprocess import detector_batch
    from pipeline.training.contact_sheet import SIDE_COLOURS

    model = load_centernet(centernet) if centernet else None
    pictures = []
    for batch in fixed_scenes(count, TEST_SEED):
        found = detect_scenes(model, detector_batch(batch.depth, batch.ir, model.contract)) if model else []
        for n, (depth, truth) in enumerate(zip(batch.depth.numpy(), batch.boxes, strict=True)):
            picture = grey(np.where(depth > 0, depth, np.inf), 300.0, 4000.0, depth.shape[-1])
            for box in truth.numpy():
                draw_box(picture, box, TRUTH)
            for box, score, side in zip(*found[n], strict=True) if model else ():
                if model and score > 0.3:
                    draw_box(picture, box, SIDE_COLOURS[model.contract.classes[side]], f"{score:.2f}")
            pictures.append(picture)
    return sheet(pictures, 6)


def show(picture: Image, out: Path | None) -> None:
    """Writes a picture, or shows it until a key is pressed.

    Raises:
        UsageError: it cannot be written, or there is no window.
    """
    from pipeline.window import display_problem

    if out is not None:
        try:
            out.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        except OSError as error:
            raise UsageError(f"cannot write {out} ({error.strerror}): give another --out") from None
        print(out)
        return
    if problem := display_problem():
        raise UsageError(f"no window ({problem}): give --out SHEET.png")
    cv2.imshow("samples", picture)
    cv2.waitKey(0)
    cv2.destroyAllWindows()


def _annotated(folders: Sequence[Path], split: str) -> RecordedFrames:
    return read_recorded(folders, "train.json" if split == "train" else "val.json")


def _published(kind: str, folder: Path, options: argparse.Namespace) -> HandFrames:
    if kind == "nyu":
        return read_nyu(folder, options.split, options.joints)
    return {"icvl": read_icvl, "msra": read_msra, "hands2017": read_hands2017}[kind](folder, options.split)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m pipeline.training.visualize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", required=True, metavar=("KIND", "DIR"))
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--joints", type=int, choices=NYU_JOINTS, default=14, help="of NYU")
    parser.add_argument("--count", type=int, default=24, help="samples on the sheet")
    parser.add_argument("--centernet", type=Path, metavar="FILE", help="weights whose boxes are drawn")
    parser.add_argument("--a2j", type=Path, metavar="FILE", help="weights whose joints are drawn")
    parser.add_argument("--out", type=Path, metavar="SHEET.png", help="write the sheet instead of showing it")
    return parser


if __name__ == "__main__":
    sys.exit(main())

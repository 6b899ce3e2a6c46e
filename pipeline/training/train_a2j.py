"""Trains A2J on rendered hands, or as its authors do on a published data set.

python3 -m pipeline.training.train_a2j --minutes 20 [--light 0.375:96]
python3 -m pipeline.training.train_a2j --data nyu DIR --epochs 34
torchrun --nproc-per-node 2 -m pipeline.training.train_a2j ...     (one process for each GPU)
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.command_line import at_least_one
from pipeline.constants import A2J_INPUT_SIZE, A2J_STRIDE
from pipeline.errors import UsageError, command
from pipeline.networks.a2j import A2J, BACKBONES
from pipeline.networks.checkpoints import load_a2j
from pipeline.training.commands import Place, train
from pipeline.training.evaluate_synthetic import hand_crops, scene_hand_crops
from pipeline.training.hand_folder_task import RECIPES, FolderAugmentation, HandFolderTask, Recipe
from pipeline.training.hand_folders import NYU_JOINTS, read_hands2017, read_icvl, read_msra, read_nyu
from pipeline.training.hand_task import HandData, HandTask, hand_contract
from pipeline.training.loop import Task
from pipeline.training.options import DataChoice, add_loop_options, data_choice
from pipeline.training.original_losses import transfer
from pipeline.training.rendered import HELD_OUT_SEED, crop_renderer, derived_seed, scene_crop_renderer
from pipeline.training.siblings import Siblings, check_alike, check_single, check_start, check_widths
from pipeline.training.widen import widened

_SHAPE = ("backbone", "width", "head_width", "light", "size")  # options that say what a new network is
_OURS = {"backbone": "resnet18", "size": 128, "lr": 1e-3, "held_out": 512}
PRESETS = {
    "cpu": {"batch": 32, "replay": 4, "block": 256, "width": 0.375, "head_width": 96, **_OURS},
    "cuda": {"batch": 128, "replay": 1, "block": 2048, "width": 1.0, "head_width": 128, **_OURS},
}


def authors_presets(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """How A2J's authors train."""
    network = {"backbone": "resnet50", "width": 1.0, "head_width": 256, "size": A2J_INPUT_SIZE}
    steps = {"batch": 64, "lr": 3.5e-4, "optimizer": "adam", "weight_decay": 1e-4, "ema": 0.0}
    decay = {"decay_share": recipe.decay_epochs / recipe.epochs, "held_out": 1024}
    return {device: {**network, **steps, **decay} for device in ("cpu", "cuda")}


def make_folder_task(arguments: argparse.Namespace, place: Place, data: DataChoice) -> Task:
    """Network and published data set that the arguments ask for.

    Raises:
        UsageError: weights to start from of another backbone.
    """
    kind, folder = str(data.kind), data.folders[0]
    if kind == "nyu":
        cameras = (1, 2, 3) if arguments.cameras == "all" else (1,)
        frames = read_nyu(folder, "train", arguments.joints, cameras)
        held_out = read_nyu(folder, "test", arguments.joints)
        stem = f"NYU_{'ALL' if len(cameras) > 1 else '1'}"
    else:
        read = {"icvl": read_icvl, "msra": read_msra, "hands2017": read_hands2017}[kind]
        frames, held_out, stem = read(folder, "train"), read(folder, "test"), f"{kind.upper()}_ALL"
    skeleton = frames.skeleton
    contract = RECIPES[kind].contract(skeleton, arguments.size)
    model = A2J(arguments.backbone, skeleton.num_joints, arguments.width, arguments.head_width, contract)
    if arguments.init:
        _transfer_backbone(model, arguments.init[0])
    model = model.to(place.device).to(memory_format=torch.channels_last)
    return HandFolderTask(
        model,
        frames,
        held_out.spread(arguments.held_out),
        arguments.batch,
        arguments.seed,
        place.workers,
        FolderAugmentation(mirror=arguments.mirror),
        f"{stem}_{arguments.backbone}_{skeleton.num_joints}_a2j",
    )


def _transfer_backbone(model: A2J, path: Path) -> None:
    """Takes over what fits of a file's weights: its heads may be for other joints."""
    start = load_a2j(path)
    taken = transfer(model, start.state_dict())
    if any(f"back_bone.{name}" not in taken for name in model.back_bone.state_dict()):
        raise UsageError(
            f"the backbone of {path} does not fit --backbone {model.backbone} --width {model.width:g}: "
            f"give --backbone {start.backbone} --width {start.width:g}, or other weights to start from"
        )


def make_task(arguments: argparse.Namespace, place: Place) -> HandTask:
    """Networks and rendered hands that the arguments ask for.

    Raises:
        UsageError: weights to start from that read no metric crops of one hand, have different inputs, or are
            wider than they should become.
    """
    if arguments.init:
        networks = [_started(path) for path in arguments.init]
        if arguments.widen:
            networks[-1] = _widened(networks[-1], *arguments.widen)
        grown = "--widen" if arguments.widen else "the second file of --init"
        check_widths([(network.width, network.head_width) for network in networks], grown)
    else:
        shapes = [(arguments.width, arguments.head_width)]
        shapes += [arguments.light] if arguments.light else []
        check_widths(shapes)
        networks = [
            A2J(
                arguments.backbone,
                21,
                width,
                head,
                hand_contract(arguments.size),
                side_head=True,
                presence=True,
            )
            for width, head in shapes
        ]
    contract = networks[0].contract
    check_alike([network.contract for network in networks])
    model = Siblings(networks).to(place.device).to(memory_format=torch.channels_last)
    assert contract.crop_mm is not None
    rendered = 2 * round(contract.size * arguments.margin / 2)
    stream = derived_seed(arguments.seed, place.workers.rank)
    shape = rendered, contract.crop_mm * rendered / contract.size
    data = HandData(
        crop_renderer(place.device, stream, *shape),
        arguments.seed,
        place.workers.rank,
        arguments.batch,
        arguments.replay,
        arguments.block,
        scene_crop_renderer(place.device, stream, *shape),
    )
    held_out = hand_crops(contract, arguments.held_out, HELD_OUT_SEED)
    in_scenes = scene_hand_crops(contract, arguments.held_out, HELD_OUT_SEED)
    return HandTask(model, data, held_out, in_scenes, arguments.sizes)


def _started(path: Path) -> A2J:
    model = load_a2j(path).train()
    if model.contract.handedness is None or model.contract.crop_mm is None:
        raise UsageError(
            f"{path} reads no metric crops of one hand: give a network that was trained on those"
        )
    if not model.presence:
        model.add_side_head()
    return model


def _widened(network: A2J, width: float, head_width: int) -> A2J:
    try:
        return widened(network, width, head_width)
    except ValueError as error:
        raise UsageError(f"--widen: {error}") from error


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="train_a2j", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_loop_options(parser, "a2j")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--width", type=float, help="factor on the backbone's channels")
    parser.add_argument("--head-width", type=int, help="channels of the heads")
    parser.add_argument(
        "--light",
        type=_widths,
        metavar="WIDTH:HEAD",
        help="train a lighter network beside it, which learns from its answers too, e.g. 0.375:96",
    )
    parser.add_argument(
        "--widen",
        type=_widths,
        metavar="WIDTH:HEAD",
        help="go on from --init (of two, its second file) with a wider network, e.g. 0.5:112",
    )
    parser.add_argument("--size", type=int, help="side of the input, px")
    parser.add_argument(
        "--sizes", type=_sizes, help="let the input grow, e.g. 64,96,128: each for an equal share of the run"
    )
    parser.add_argument("--margin", type=float, default=1.25, help="side of the rendered crops over --size")
    parser.add_argument("--held-out", type=at_least_one, help="hands of the periodic evaluation")
    folders = parser.add_argument_group("published data sets")
    folders.add_argument(
        "--data", nargs="+", metavar=("KIND", "DIR"), help=f"{', '.join(RECIPES)}, and its folder"
    )
    folders.add_argument("--joints", type=int, choices=NYU_JOINTS, default=14, help="of NYU")
    folders.add_argument("--cameras", choices=("1", "all"), default="1", help="of NYU, to train on")
    folders.add_argument("--mirror", type=float, default=0.0, help="share of the hands to mirror")
    arguments = parser.parse_args(argv)
    _check_sizes([arguments.size, *(arguments.sizes or ())])
    given = {"--width": arguments.width, "--head-width": arguments.head_width, "--margin": arguments.margin}
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} {value} must be positive and finite")
    data = data_choice(parser, arguments.data, list(RECIPES))
    if data.kind is None:
        check_start(arguments.init, {name: getattr(arguments, name) for name in _SHAPE})
        if arguments.widen and not arguments.init:
            raise UsageError("--widen needs --init with the network to widen")
        if arguments.init:
            arguments.size = load_a2j(arguments.init[0]).contract.size
        return train(arguments, PRESETS, make_task, ("replay", "block", "size", "sizes", "margin", "widen"))
    if arguments.widen:
        raise UsageError("--widen is for networks that learn from rendered hands: leave --data or it out")
    check_single(arguments.init, arguments.light)
    arguments.data = data
    return train(
        arguments,
        authors_presets(RECIPES[data.kind]),
        lambda given, place: make_folder_task(given, place, data),
        ("data", "size", "joints", "cameras", "mirror"),
    )


def _check_sizes(sizes: Sequence[int | None]) -> None:
    """Raises UsageError for inputs that anchors do not fill; None is none."""
    wrong = [size for size in sizes if size is not None and (size <= 0 or size % A2J_STRIDE)]
    if wrong:
        raise UsageError(
            f"--size and --sizes are in steps of {A2J_STRIDE} px: give "
            f"{max(1, round(wrong[0] / A2J_STRIDE)) * A2J_STRIDE} instead of {wrong[0]}"
        )


def _widths(text: str) -> tuple[float, int]:
    try:
        width, head = text.split(":")
        shape = float(width), int(head)
    except ValueError:
        shape = 0.0, 0
    if not all(0 < size < math.inf for size in shape):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTH:HEAD, such as 0.375:96")
    return shape


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not PX,PX, such as 64,96") from None


if __name__ == "__main__":
    sys.exit(main())

"""Trains CenterNet on rendered scenes, or on your own recorded and annotated frames.

python3 -m pipeline.training.train_centernet --minutes 20 [--light 0.375]
python3 -m pipeline.training.train_centernet --data real DIR --mix 0.5 --epochs 30
torchrun --nproc-per-node 2 -m pipeline.training.train_centernet ...     (one process for each GPU)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from pipeline.command_line import at_least_one
from pipeline.errors import UsageError, command
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_centernet
from pipeline.networks.contracts import DETECTOR_STEP_PX
from pipeline.training.commands import Place, train
from pipeline.training.loop import Task
from pipeline.training.options import DataChoice, add_loop_options, data_choice
from pipeline.training.recorded_scenes import Classes, read_recorded
from pipeline.training.recorded_task import RecordedTask
from pipeline.training.rendered import HELD_OUT_SEED, derived_seed, fixed_scenes, scene_renderer
from pipeline.training.scene_task import SceneData, SceneTask, scene_contract
from pipeline.training.siblings import Siblings, check_alike, check_single, check_start, check_widths

PRESETS = {
    "cpu": {"batch": 16, "replay": 24, "block": 64, "width": 0.375, "lr": 1e-3},
    "cuda": {"batch": 64, "replay": 3, "block": 512, "width": 1.0, "lr": 1e-3},
}


def make_task(arguments: argparse.Namespace, place: Place) -> Task:
    """Network and data that the arguments ask for."""
    if arguments.init:
        networks = [load_centernet(path).train() for path in arguments.init]
        check_widths([(network.width,) for network in networks], "the second file of --init")
    else:
        contract = replace(scene_contract(), channels=arguments.channels)
        widths = [arguments.width, *([arguments.light] if arguments.light else [])]
        check_widths([(width,) for width in widths])
        networks = [CenterNet(len(contract.classes), w, plain_head=True, contract=contract) for w in widths]
    check_alike([network.contract for network in networks])
    model = Siblings(networks).to(place.device).to(memory_format=torch.channels_last)
    held_out = fixed_scenes(arguments.held_out, HELD_OUT_SEED)
    return SceneTask(model, _scenes(arguments, place), held_out, arguments.stages, place.workers)


def _scenes(arguments: argparse.Namespace, place: Place, batch: int | None = None) -> SceneData:
    render = scene_renderer(place.device, derived_seed(arguments.seed, place.workers.rank))
    return SceneData(
        render,
        arguments.seed,
        place.workers.rank,
        batch or arguments.batch,
        arguments.replay,
        arguments.block,
    )


def make_recorded_task(arguments: argparse.Namespace, place: Place, data: DataChoice) -> Task:
    """Network and recorded frames that the arguments ask for.

    Raises:
        UsageError: weights that tell sides, frames that do not, or a mix that leaves none of them.
    """
    frames, held_out = (read_recorded(data.folders, name) for name in ("train.json", "val.json"))
    rendered_count = round(arguments.batch * arguments.mix)
    if not 0 <= arguments.mix < 1 or rendered_count >= arguments.batch or not len(frames):
        raise UsageError(
            f"--mix {arguments.mix} of --batch {arguments.batch} and {len(frames)} annotated frames leave "
            "nothing recorded to train on: use less than 1, and annotate"
        )
    if arguments.init:
        model = load_centernet(arguments.init[0]).train()
        if model.contract.classes != frames.classes:
            raise UsageError(
                f"{arguments.init[0]} knows {_named(model.contract.classes)}, the frames "
                f"{_named(frames.classes)}: "
                "label them alike (prelabel --handedness), or leave --init out"
            )
    else:
        contract = replace(scene_contract(), classes=frames.classes, channels=arguments.channels)
        model = CenterNet(len(contract.classes), arguments.width, plain_head=True, contract=contract)
    model = model.to(place.device).to(memory_format=torch.channels_last)
    rendered = None
    if rendered_count:
        scenes = _scenes(arguments, place, rendered_count)
        rendered = SceneTask(Siblings([model]), scenes, [], (), place.workers)
    return RecordedTask(
        model,
        frames,
        held_out.spread(arguments.held_out),
        arguments.batch - rendered_count,
        "MSE" if arguments.loss == "mse" else "Logistic",
        rendered,
        arguments.seed,
        place.workers,
    )


def _named(classes: Classes) -> str:
    return "left and right" if len(classes) > 1 else "hands without sides"


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="train_centernet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_loop_options(parser, "centernet")
    parser.add_argument("--width", type=float, help="factor on the network's channels")
    parser.add_argument(
        "--light", type=float, metavar="WIDTH", help="train a lighter network beside it, e.g. 0.375"
    )
    parser.add_argument(
        "--stages",
        type=_stages,
        default=((0.5, 128), (0.92, 192)),
        metavar="SHARE:PX,...",
        help="windows of PX until SHARE of the run, then whole images (default 0.5:128,0.92:192)",
    )
    parser.add_argument(
        "--channels", choices=("fused", "depth"), help="with or without infrared (default: fused)"
    )
    parser.add_argument(
        "--held-out", type=at_least_one, default=128, help="scenes of the periodic evaluation"
    )
    own = parser.add_argument_group("your own data")
    own.add_argument("--data", nargs="+", metavar=("real", "DIR"), help="real, and recorded folders")
    own.add_argument("--mix", type=float, default=0.5, help="share of rendered scenes in each step (0: none)")
    own.add_argument("--loss", choices=("logistic", "mse"), default="logistic", help="of the heat maps")
    arguments = parser.parse_args(argv)
    _check_stages(arguments.stages)
    data = data_choice(parser, arguments.data, ["real"])
    check_start(arguments.init, {name: getattr(arguments, name) for name in ("width", "light", "channels")})
    if data.kind is not None:
        check_single(arguments.init, arguments.light)
    if arguments.init:
        arguments.channels = load_centernet(arguments.init[0]).contract.channels
    arguments.channels = arguments.channels or "fused"
    if data.kind is None:
        return train(arguments, PRESETS, make_task, ("replay", "block", "stages", "channels"))
    arguments.data = data

    def recorded_task(given: argparse.Namespace, place: Place) -> Task:
        return make_recorded_task(given, place, data)

    return train(arguments, PRESETS, recorded_task, ("data", "replay", "block", "mix", "loss", "channels"))


def _check_stages(stages: Sequence[tuple[float, int]]) -> None:
    """Raises UsageError for windows that CenterNet does not read, or that do not follow each other."""
    largest = scene_contract().size
    wrong = [side for _, side in stages if not 0 < side <= largest or side % DETECTOR_STEP_PX]
    if wrong:
        raise UsageError(
            f"a window of {wrong[0]} px does not fit: give --stages sides in steps of {DETECTOR_STEP_PX} px, "
            f"{largest} at most"
        )
    shares = [share for share, _ in stages]
    if not all(0 <= share <= 1 for share in shares) or any(a >= b for a, b in pairwise(shares)):
        raise UsageError(
            f"the shares of --stages are {', '.join(f'{share:g}' for share in shares)}: let them rise, "
            "within 0 to 1"
        )


def _stages(text: str) -> tuple[tuple[float, int], ...]:
    try:
        pairs = (part.split(":") for part in text.split(","))
        return tuple((float(share), int(side)) for share, side in pairs)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not SHARE:PX,..., such as 0.5:128,0.92:192") from None


if __name__ == "__main__":
    sys.exit(main())

"""Trains CenterNet on rendered scenes: python3 -m pipeline.training.train_centernet --minutes 20"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_centernet
from pipeline.training.commands import Place, train
from pipeline.training.loop import Task
from pipeline.training.options import add_loop_options
from pipeline.training.rendered import HELD_OUT_SEED, derived_seed, fixed_scenes, scene_renderer
from pipeline.training.scene_task import SceneData, SceneTask, scene_contract

PRESETS = {
    "cpu": {"batch": 16, "replay": 24, "width": 0.5},
    "cuda": {"batch": 64, "replay": 2, "width": 1.0},
}


def make_task(arguments: argparse.Namespace, place: Place) -> Task:
    """Network and data that the arguments ask for."""
    if arguments.init:
        model = load_centernet(arguments.init).train()
    else:
        contract = scene_contract()
        model = CenterNet(len(contract.classes), arguments.width, plain_head=True, contract=contract)
    model = model.to(place.device).to(memory_format=torch.channels_last)
    render = scene_renderer(place.device, derived_seed(arguments.seed, place.workers.rank))
    data = SceneData(render, arguments.seed, place.workers.rank, arguments.batch, arguments.replay)
    held_out = fixed_scenes(arguments.held_out, HELD_OUT_SEED)
    return SceneTask(model, data, held_out, arguments.stages, place.workers)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train_centernet", description=__doc__)
    add_loop_options(parser, "centernet")
    parser.add_argument("--width", type=float, help="factor on the network's channels")
    parser.add_argument(
        "--stages",
        type=_stages,
        default=((0.5, 128), (0.92, 192)),
        metavar="SHARE:PX,...",
        help="windows of PX until SHARE of the run, then whole images (default 0.5:128,0.92:192)",
    )
    parser.add_argument("--held-out", type=int, default=128, help="scenes of the periodic evaluation")
    return train(parser.parse_args(argv), PRESETS, make_task)


def _stages(text: str) -> tuple[tuple[float, int], ...]:
    pairs = (part.split(":") for part in text.split(",") if part)
    return tuple((float(share), int(side)) for share, side in pairs)


if __name__ == "__main__":
    sys.exit(main())

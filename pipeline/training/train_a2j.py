"""Trains A2J on rendered hands: python3 -m pipeline.training.train_a2j --minutes 20"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from pipeline.networks.a2j import A2J, BACKBONES
from pipeline.networks.checkpoints import load_a2j
from pipeline.training.commands import Place, train
from pipeline.training.evaluate_synthetic import hand_crops
from pipeline.training.hand_task import HandData, HandTask, hand_contract
from pipeline.training.loop import Task
from pipeline.training.options import add_loop_options
from pipeline.training.rendered import HELD_OUT_SEED, crop_renderer, derived_seed

PRESETS = {
    "cpu": {"batch": 32, "replay": 4, "width": 0.5, "head_width": 64, "size": 96},
    "cuda": {"batch": 128, "replay": 1, "width": 1.0, "head_width": 256, "size": 176},
}


def make_task(arguments: argparse.Namespace, place: Place) -> Task:
    """Network and data that the arguments ask for."""
    if arguments.init:
        model = load_a2j(arguments.init).train()
    else:
        contract = hand_contract(arguments.size)
        model = A2J(arguments.backbone, 21, arguments.width, arguments.head_width, contract)
    model = model.to(place.device).to(memory_format=torch.channels_last)
    size, crop_mm = model.contract.size, model.contract.crop_mm
    assert crop_mm is not None
    rendered = 2 * round(size * arguments.margin / 2)
    stream = derived_seed(arguments.seed, place.workers.rank)
    data = HandData(
        crop_renderer(place.device, stream, rendered, crop_mm * rendered / size),
        arguments.seed,
        place.workers.rank,
        arguments.batch,
        arguments.replay,
    )
    held_out = hand_crops(model.contract, arguments.held_out, HELD_OUT_SEED)
    return HandTask(model, data, held_out, arguments.sizes)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train_a2j", description=__doc__)
    add_loop_options(parser, "a2j")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet18")
    parser.add_argument("--width", type=float, help="factor on the backbone's channels")
    parser.add_argument("--head-width", type=int, help="channels of the heads")
    parser.add_argument("--size", type=int, help="side of the input, px")
    parser.add_argument(
        "--sizes", type=_sizes, help="let the input grow, e.g. 64,96,128: each for an equal share of the run"
    )
    parser.add_argument("--margin", type=float, default=1.25, help="side of the rendered crops over --size")
    parser.add_argument("--held-out", type=int, default=512, help="hands of the periodic evaluation")
    return train(parser.parse_args(argv), PRESETS, make_task)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())

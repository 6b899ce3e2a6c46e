"""Trains a side head on a finished A2J: which hand a crop shows, told from the features of its joints.

python3 -m pipeline.training.train_side --init runs/a2j/best.pth --minutes 8

Nothing but the head learns; the weights of the run are those of --init with the head.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.networks.checkpoints import load_a2j, read_meta
from pipeline.training.commands import Place, train
from pipeline.training.options import add_loop_options
from pipeline.training.side_task import SideTask
from pipeline.training.train_a2j import make_hand_task

_OURS = {"lr": 2e-3, "held_out": 256}
PRESETS = {
    "cpu": {"batch": 32, "replay": 4, **_OURS},
    "cuda": {"batch": 128, "replay": 1, **_OURS},
}


def make_task(arguments: argparse.Namespace, place: Place) -> SideTask:
    """The network of --init, and the data that the arguments ask for.

    Raises:
        UsageError: no network, or one that sides mean nothing to.
    """
    if arguments.init is None:
        raise UsageError("a side head reads the features of a network: give its weights with --init")
    model = load_a2j(arguments.init)
    if model.contract.handedness is None or model.contract.crop_mm is None:
        raise UsageError(f"{arguments.init} reads both hands as they are: give a network trained on one side")
    return SideTask(make_hand_task(model, arguments, place), read_meta(arguments.init))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="train_side", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_loop_options(parser, "side")
    parser.set_defaults(evaluations=4, sizes=None)
    parser.add_argument(
        "--margin", type=float, default=1.25, help="side of the rendered crops over the input"
    )
    parser.add_argument("--held-out", type=int, help="hands of the periodic evaluation")
    return train(parser.parse_args(argv), PRESETS, make_task)


if __name__ == "__main__":
    sys.exit(main())

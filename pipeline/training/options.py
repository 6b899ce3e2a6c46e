"""Options that both training commands share."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError


@dataclass(frozen=True)
class LoopOptions:
    """How a run is driven; see `add_loop_options` for each."""

    out: Path
    minutes: float | None
    steps: int | None
    batch: int
    lr: float
    seed: int
    evaluations: int = 20
    state_minutes: float = 3.0
    weight_decay: float = 1e-3
    ema: float = 0.998
    resume: bool = False
    compile: bool = False
    tensorboard: bool = True
    progress_bar: bool = True

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise UsageError("A run needs either --minutes or --steps, not both.")
        if min(self.batch, self.evaluations, self.minutes or 1, self.steps or 1) <= 0 or self.lr <= 0:
            raise UsageError("--minutes, --steps, --batch, --lr and --evaluations must be positive.")


def add_loop_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds the options of `LoopOptions`, --device, --threads and --init."""
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time for the whole run; steps follow from the speed")
    length.add_argument("--steps", type=int, help="exact number of steps, whatever time they take")
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="start from these weights")
    parser.add_argument("--batch", type=int, help="samples for each step and process")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of AdamW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--replay", type=int, help="how often a rendered sample is used")
    parser.add_argument("--evaluations", type=int, default=20, help="number of evaluations in the run")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")


def loop_options(arguments: argparse.Namespace) -> LoopOptions:
    """Those of the parsed arguments.

    Raises:
        UsageError: numbers that make no run.
    """
    names = LoopOptions.__dataclass_fields__
    return LoopOptions(**{k: v for k, v in vars(arguments).items() if k in names})


def recorded(options: LoopOptions) -> dict[str, Any]:
    """The options as plain values, for the run's files."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}

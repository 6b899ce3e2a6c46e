"""Options that both training commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.command_line import at_least_one, given_path
from pipeline.errors import UsageError


@dataclass(frozen=True)
class LoopOptions:
    """How a run is driven; see `add_loop_options` for most.

    Args:
        optimizer: AdamW, or Adam with the weights' decay in its loss.
        decay_share: the learning rate is divided by five each time this share of the run is done; None for
            half a cosine.
        task: the command's own options that decide what is learnt from, as text.
    """

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
    epochs: float | None = None
    optimizer: Literal["adamw", "adam"] = "adamw"
    decay_share: float | None = None
    task: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if [self.minutes, self.steps, self.epochs].count(None) != 2:
            raise UsageError("A run needs one of --minutes, --steps or --epochs.")
        lengths = [length for length in (self.minutes, self.steps, self.epochs) if length is not None]
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed} must be from 0 on, and below 2^63")
        if not all(0 < value < math.inf for value in (self.batch, self.evaluations, self.lr, *lengths)):
            raise UsageError(
                "--minutes, --steps, --epochs, --batch, --lr and --evaluations must be positive and finite."
            )


@dataclass(frozen=True)
class DataChoice:
    """A kind of data, None for rendered ones, and the folders they are in."""

    kind: str | None
    folders: list[Path]

    def __str__(self) -> str:
        """What a resumed run must share: the folders may have been moved."""
        return " ".join([str(self.kind), *(folder.resolve().name for folder in self.folders)])


def add_loop_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds the options of `LoopOptions`, --device, --threads and --init."""
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time for the whole run; steps follow from the speed")
    length.add_argument("--steps", type=int, help="exact number of steps, whatever time they take")
    length.add_argument("--epochs", type=float, help="with --data: how often each frame is used")
    parser.add_argument("--out", type=given_path, default=Path("runs") / name, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument(
        "--init",
        type=given_path,
        nargs="+",
        metavar="CHECKPOINT",
        help="start from these weights; a second file: of the light network beside",
    )
    parser.add_argument("--batch", type=int, help="samples for each step and process")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=at_least_one, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--replay", type=at_least_one, help="how often a rendered sample is used")
    parser.add_argument("--block", type=at_least_one, help="samples rendered at once, about")
    parser.add_argument("--evaluations", type=int, default=20, help="number of evaluations in the run")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")


def loop_options(arguments: argparse.Namespace, of_task: Sequence[str] = ()) -> LoopOptions:
    """Those of the parsed arguments.

    Args:
        of_task: names of the command's own options that decide what is learnt from.

    Raises:
        UsageError: numbers that make no run.
    """
    given = vars(arguments)
    loop = {name: given[name] for name in LoopOptions.__dataclass_fields__ if name in given}
    return LoopOptions(**loop, task={name: typed(given[name]) for name in of_task})


def typed(value: object) -> str:
    """An option's value as one types it: 64,96 for sizes, 0.5:128,0.92:192 for shares and sizes."""
    if not isinstance(value, tuple):
        return str(value)
    return (":" if isinstance(value[0], float) else ",").join(map(typed, value))


def data_choice(
    parser: argparse.ArgumentParser, given: Sequence[str] | None, kinds: Sequence[str]
) -> DataChoice:
    """What --data names; ends the program with exit code 2 if it names nothing that can be."""
    if given is None:
        return DataChoice(None, [])
    kind, *folders = given
    if kind not in kinds or not folders:
        parser.error(f"--data needs one of {', '.join(kinds)} and a folder, found {' '.join(given)}")
    missing = [folder for folder in folders if not Path(folder).is_dir()]
    if missing:
        parser.error(f"--data {kind}: there is no folder {missing[0]}")
    return DataChoice(kind, [Path(folder) for folder in folders])


def recorded(options: LoopOptions) -> dict[str, Any]:
    """The options as plain values, for the run's files."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}

"""The command that measures: published predictions, rendered data, real frames, or tracking.

python3 -m pipeline.training.evaluate --predictions FILE --truth FILE --dataset nyu [--json OUT] [--plot OUT]
python3 -m pipeline.training.evaluate --sequences [--frames N] [--json OUT] [--plot OUT]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.command_line import ENGINES
from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT
from pipeline.errors import UsageError, command
from pipeline.training.benchmarks import BENCHMARKS, NYU_EVALUATED
from pipeline.training.metrics import WORST_JOINT_THRESHOLDS_MM, summarize_joints
from pipeline.training.published import JointTable, pair_tables, read_joints

FloatArray = NDArray[np.float64]
_NAME_WIDTH = 24  # of the first column of the table


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    _check(options)
    figures = _measure(options)
    print(format_figures(figures))
    if options.json:
        write_json(options.json, figures)
    if options.plot:
        from pipeline.training.evaluate_plot import write_plot

        write_plot(options.plot, figures)
    return 0


def evaluate_predictions(
    predictions: str | Path, truth: str | Path, dataset: str, coordinates: str | None = None
) -> dict[str, Any]:
    """Measures published joints against the truth.

    Args:
        predictions, truth: files that `read_joints` reads.
        dataset: one of `BENCHMARKS`.
        coordinates: "uvd" (px, px, mm) or "xyz" (mm) in both files; None for what is usual with the data set.

    Returns:
        The figures of `metrics.summarize_joints`, and `dataset`.

    Raises:
        HandPoseError: files that cannot be read, or do not belong together.
    """
    benchmark = BENCHMARKS[dataset]
    tables = read_joints(predictions), read_joints(truth)
    if dataset == "nyu":
        tables = _common_nyu_joints(*tables)
    predicted, true = pair_tables(*tables)
    if (coordinates or benchmark.coordinates) == "uvd":
        predicted, true = benchmark.camera.unproject(predicted), benchmark.camera.unproject(true)
    figures = summarize_joints(predicted, true, benchmark.joints.get(true.shape[1]))
    return {"dataset": dataset, **figures}


def evaluate_boxes(predictions: str | Path, truth: str | Path) -> dict[str, Any]:
    """Measures a detector's boxes against annotated ones: the figures of `metrics.summarize_boxes`.

    Args:
        predictions: JSON list of objects with `img_path`, `boxes` and `scores`.
        truth: annotations that `annotation_files.read_annotations` reads.

    Raises:
        HandPoseError: files that cannot be read.
    """
    from pipeline.training.annotation_files import match_predictions, read_annotations
    from pipeline.training.metrics import summarize_boxes

    return summarize_boxes(match_predictions(Path(predictions), read_annotations(truth)))


def format_figures(figures: dict[str, Any]) -> str:
    """Figures as a table for reading; nested ones are indented, curves left out."""
    return "\n".join(_rows(figures, indent=0))


def write_json(path: str | Path, figures: dict[str, Any]) -> None:
    """Writes figures; those that are not finite become null.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        Path(path).write_text(json.dumps(_finite(figures), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror}): name a file in an existing folder"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m pipeline.training.evaluate", description=__doc__)
    what = parser.add_argument_group("what is measured")
    what.add_argument("--predictions", type=Path, help="joints (text or .mat) or boxes (JSON)")
    what.add_argument(
        "--truth", type=Path, help="joints (text or .mat), or annotated boxes (JSON, VOC, COCO)"
    )
    what.add_argument(
        "--dataset", choices=[*BENCHMARKS, "boxes"], help="which data set the two files belong to"
    )
    what.add_argument(
        "--coordinates", choices=["uvd", "xyz"], help="of the joints (default: usual for the data set)"
    )
    what.add_argument(
        "--synthetic", action="store_true", help="both networks, and the program, on rendered data"
    )
    what.add_argument("--real", type=Path, metavar="DIR", help="both networks on annotated real frames")
    what.add_argument(
        "--recorded", type=Path, metavar="DIR", help="the detector on your own recorded, annotated frames"
    )
    what.add_argument("--sequences", action="store_true", help="tracking on rendered videos")
    what.add_argument(
        "--frames", type=int, metavar="N", default=10_000, help="with --sequences: how many (default: 10000)"
    )
    what.add_argument("--pictures", type=Path, metavar="DIR", help="with --real: draw every frame here")
    weights = parser.add_argument_group("networks")
    weights.add_argument("--centernet", type=Path, metavar="FILE", default=CENTERNET_CHECKPOINT)
    weights.add_argument("--a2j", type=Path, metavar="FILE", default=A2J_CHECKPOINT)
    weights.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="of the program, not of networks that are measured alone (default: auto)",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures here")
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the curves here")
    return parser


def _check(options: argparse.Namespace) -> None:
    files = (options.predictions, options.truth, options.dataset)
    folders = (options.real is not None, options.recorded is not None)
    ways = (any(files), options.synthetic, options.sequences, *folders)
    if sum(ways) != 1 or (ways[0] and not all(files)):
        raise UsageError(
            "nothing to measure: give --predictions FILE --truth FILE --dataset NAME, or --synthetic, "
            "--sequences, --real DIR or --recorded DIR"
        )
    if options.engine != "auto" and not (options.synthetic or options.sequences or options.real):
        raise UsageError("--engine is for --synthetic, --sequences and --real: leave it out")
    if options.frames < 1:
        raise UsageError(f"--frames {options.frames} measures nothing: give a number from 1 on")


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    if options.synthetic:
        return _measure_synthetic(options.centernet, options.a2j, options.engine)
    if options.sequences:
        from pipeline.training.evaluate_sequences import evaluate_sequences

        return evaluate_sequences(options.centernet, options.a2j, options.frames, engine=options.engine)
    if options.real:
        from pipeline.training.evaluate_real import evaluate_real

        networks = options.centernet, options.a2j
        return evaluate_real(options.real, *networks, options.pictures, engine=options.engine)
    if options.recorded:
        from pipeline.training.evaluate_recorded import evaluate_recorded

        return evaluate_recorded(options.recorded, options.centernet)
    if options.dataset == "boxes":
        return evaluate_boxes(options.predictions, options.truth)
    return evaluate_predictions(options.predictions, options.truth, options.dataset, options.coordinates)


def _measure_synthetic(centernet: Path, a2j: Path, engine: str) -> dict[str, Any]:
    from pipeline.hand_pose import HandPosePipeline
    from pipeline.networks.checkpoints import load_a2j, load_centernet
    from pipeline.training.evaluate_program import program_figures
    from pipeline.training.evaluate_synthetic import TEST_SCENES, evaluate_hands, scene_figures
    from pipeline.training.rendered import TEST_SEED, fixed_scenes

    pose = HandPosePipeline(engine, centernet=centernet, a2j=a2j)  # first: there may be no such engine
    figures = {"hands": evaluate_hands(load_a2j(a2j))}
    scenes = fixed_scenes(TEST_SCENES, TEST_SEED)
    figures["scenes"] = scene_figures(load_centernet(centernet), scenes)
    if pose.confirms:
        figures["program"] = program_figures(pose, scenes)
    return figures


def _common_nyu_joints(predicted: JointTable, truth: JointTable) -> tuple[JointTable, JointTable]:
    """The evaluated 14 where one of the two has all 36."""
    counts = {table.joints.shape[1] for table in (predicted, truth)}
    if counts != {14, 36}:
        return predicted, truth
    first, second = (
        JointTable(table.path, table.joints[:, NYU_EVALUATED], table.names)
        if table.joints.shape[1] == 36
        else table
        for table in (predicted, truth)
    )
    return first, second


def _rows(figures: dict[str, Any], indent: int) -> list[str]:
    rows = []
    width = _NAME_WIDTH - indent
    for name, value in figures.items():
        label = " " * indent + str(name).replace("_mm", " (mm)").replace("_", " ").ljust(width)
        if name == "frames_within":
            rows.append(label.rstrip() + " (mm): share of frames with the worst joint under it")
            rows.append("    " + "".join(f"{t:>7}" for t in WORST_JOINT_THRESHOLDS_MM))
            rows.append("    " + "".join(f"{share:>7.1%}" for share in value.values()))
        elif isinstance(value, dict):
            if not any(isinstance(item, (list, tuple)) for item in value.values()):
                rows += [label.rstrip(), *_rows(value, indent + 4)]
        elif isinstance(value, float):
            rows.append(label + (f"{value:10.3f}" if math.isfinite(value) else f"{'-':>10}"))
        else:
            rows.append(label + f"{value!s:>10}")
    return rows


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())

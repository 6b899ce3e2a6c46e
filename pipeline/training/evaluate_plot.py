"""Evaluation figures as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.errors import UsageError
from pipeline.training.sequence_plot import draw_smoothing


def write_plot(path: str | Path, figures: dict[str, Any]) -> None:
    """Draws the curves among the figures: of joints, of boxes, or of tracking.

    Raises:
        UsageError: there are no curves, or the file cannot be written.
    """
    picture = Figure(figsize=(12, 4.5), layout="constrained")
    if "pck" in figures:
        _draw_joints(picture, figures)
    elif "precision_recall" in figures:
        _draw_boxes(picture.add_subplot(), figures)
    elif "smoothing" in figures:
        draw_smoothing(picture, figures)
    else:
        raise UsageError("nothing to plot: these figures have no curves, leave out --plot")
    try:
        picture.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot write {path} ({error}): name a .png or .pdf in an existing folder"
        ) from None


def _draw_joints(picture: Figure, figures: dict[str, Any]) -> None:
    curve, frames, bars = picture.subplots(1, 3)
    pck = figures["pck"]
    curve.plot(pck["thresholds_mm"], pck["share"])
    _label(curve, "error (mm)", "share of joints within it", f"Correct keypoints, AUC {figures['auc']:.3f}")
    within = figures["frames_within"]
    frames.plot([int(threshold) for threshold in within], list(within.values()), marker="o")
    _label(frames, "error (mm)", "share of frames", "Frames with the worst joint within")
    errors = figures["per_joint_mm"]
    bars.barh(list(errors), list(errors.values()))
    bars.axvline(figures["mean_mm"], color="black", linewidth=1)
    bars.invert_yaxis()
    bars.tick_params(axis="y", labelsize=7)
    bars.set(xlabel="mean error (mm)", title=f"Joints, mean {figures['mean_mm']:.3f} mm")


def _draw_boxes(axes: Axes, figures: dict[str, Any]) -> None:
    curve = figures["precision_recall"]
    axes.step(curve["recall"], curve["precision"], where="post")
    axes.set_xlim(0, 1)
    title = f"AP50 {figures['ap50']:.3f}, AP75 {figures['ap75']:.3f}, {figures['hands']} hands"
    _label(axes, "recall", "precision", title)


def _label(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y, title=title, ylim=(0, 1.02))
    axes.grid(alpha=0.3)

"""What the filter does to trembling and to lag, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.errors import UsageError

_STILL_S, _MOVING_S = (0.5, 1.9), (2.0, 3.1)  # of the video "steady"


def write_smoothing_plot(path: str | Path, figures: dict[str, Any]) -> None:
    """Draws `evaluate_sequences`' curves: a hand held still, and one at a metre a second.

    Raises:
        UsageError: there are no curves, or the file cannot be written.
    """
    if "smoothing" not in figures:
        raise UsageError(
            "nothing to plot: give --frames enough for a video of each kind, or leave out --plot"
        )
    picture = Figure(figsize=(12, 4.2), layout="constrained")
    still, moving = picture.subplots(1, 2)
    curves = {name: np.array(values) for name, values in figures["smoothing"].items()}
    jitter = "RMS {plain_jitter_mm:.2f} mm each frame for itself, {jitter_mm:.2f} mm tracked".format(
        **figures
    )
    _draw(still, curves, _STILL_S, "A hand held still: " + jitter)
    lag = "lag {lag_frames:.2f} frames".format(**figures)
    _draw(moving, curves, _MOVING_S, f"Tip of the index at about 1 m/s: {lag}")
    try:
        picture.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path} ({error}): name a .png in an existing folder") from None


def _draw(axes: Axes, curves: dict[str, Any], span: tuple[float, float], title: str) -> None:
    shown = (curves["seconds"] >= span[0]) & (curves["seconds"] <= span[1])
    for name, label, style in (
        ("plain_mm", "each frame for itself", {"color": "tab:orange", "marker": ".", "linewidth": 0.8}),
        ("tracked_mm", "tracked and filtered", {"color": "tab:blue"}),
        ("truth_mm", "truth", {"color": "black", "linestyle": "--", "linewidth": 1}),
    ):
        axes.plot(curves["seconds"][shown], curves[name][shown], label=label, **style)
    axes.set(xlabel="seconds", ylabel="x (mm)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()

"""What the filter does to trembling and to lag, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.training.sequence_metrics import SHOWN_KIND

_STILL_S, _MOVING_S = (0.5, 1.9), (2.0, 3.1)  # of the video "steady"


def draw_smoothing(picture: Figure, figures: dict[str, Any]) -> None:
    """Draws the curves of `evaluate_sequences`: a hand held still, and one at about a metre a second."""
    still, moving = picture.subplots(1, 2)
    curves = {name: np.array(values) for name, values in figures["smoothing"].items()}
    figures = figures.get("kinds", {}).get(SHOWN_KIND, figures)  # of the videos that the curves are from
    jitter = "RMS {plain_jitter_mm:.2f} mm each frame for itself, {jitter_mm:.2f} mm tracked".format(
        **figures
    )
    _draw(still, curves, _STILL_S, f"A hand held still: {jitter}")
    lag = "lag {plain_lag_frames:.2f} frames each for itself, {lag_frames:.2f} tracked".format(**figures)
    _draw(moving, curves, _MOVING_S, f"A hand at about 1 m/s: {lag}")


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

"""Compares the hands of synthetic scenes with those that people marked in real Azure Kinect frames.

    python3 -m pipeline.training.compare_scenes --boxes hand_boxes_train.json --out readme_files/boxes.png

The JSON files are lists of {"boxes": [[x0, y0, x1, y1], ...]} in pixels of 640 x 576 images.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, command
from pipeline.training.metrics import LEAST_VISIBLE

_WIDTH, _HEIGHT = 640, 576
_LEAST_PX = 12.0  # longer side: smaller ones were not marked
_PERCENTILES = (5, 25, 50, 75, 95)
_MOST_HANDS = 6


@dataclass(frozen=True, eq=False)
class BoxStatistics:
    """Boxes of many frames.

    Args:
        boxes: (N, 4) px of a 640 x 576 image.
        counts: (frames,) boxes in each frame.
    """

    boxes: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(N, 2) px, width and height."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def longer(self) -> NDArray[np.float64]:
        """(N,) px, longer sides."""
        return self.sizes.max(1)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(N, 2) px."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def summary(self) -> dict[str, list[float]]:
        """Percentiles 5, 25, 50, 75, 95 of sizes and positions; shares of frames with 0 to 6 hands."""
        ratio = self.sizes[:, 0] / self.sizes[:, 1].clip(1)
        shares = np.bincount(self.counts.clip(max=_MOST_HANDS), minlength=_MOST_HANDS + 1) / len(self.counts)
        figures = {
            "longer side, px": np.percentile(self.longer, _PERCENTILES),
            "width / height": np.percentile(ratio, _PERCENTILES),
            "centre x, px": np.percentile(self.centres[:, 0], _PERCENTILES),
            "centre y, px": np.percentile(self.centres[:, 1], _PERCENTILES),
            "share of frames with 0.. hands": shares,
        }
        return {name: [round(float(v), 3) for v in values] for name, values in figures.items()}


def read_boxes(paths: list[Path]) -> BoxStatistics:
    """Marked boxes of all files together.

    Raises:
        SourceError: a file that is missing or of another form.
    """
    frames: list[NDArray[np.float64]] = []
    for path in paths:
        try:
            entries = json.loads(path.read_text())
            frames += [np.asarray(entry["boxes"], dtype=np.float64).reshape(-1, 4) for entry in entries]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SourceError(
                f"{path} holds no list of frames with boxes ({error}); give another file"
            ) from error
    if not frames:
        raise SourceError(f"no frames in {', '.join(map(str, paths))}; give a file with some")
    return BoxStatistics(np.concatenate(frames), np.array([len(frame) for frame in frames]))


def synthetic_boxes(frames: int, seed: int) -> BoxStatistics:
    """Boxes of random scenes seen by an Azure Kinect, hidden and tiny hands left out."""
    from pipeline.synthetic.scenes import SIZE, SceneGenerator

    generator = SceneGenerator("cpu", seed, other_cameras=0.0)
    found: list[NDArray[np.float64]] = []
    while len(found) < frames:
        batch = generator.batch(min(16, frames - len(found)))
        for boxes, visible in zip(batch.boxes, batch.visible, strict=True):
            scaled = boxes.double().numpy() * np.array([_WIDTH, _HEIGHT] * 2) / SIZE
            longer = (scaled[:, 2:] - scaled[:, :2]).max(1, initial=0)
            found.append(scaled[(visible.numpy() >= LEAST_VISIBLE) & (longer >= _LEAST_PX)])
    return BoxStatistics(np.concatenate(found), np.array([len(boxes) for boxes in found]))


def plot(real: BoxStatistics, synthetic: BoxStatistics, path: Path) -> None:
    """Both distributions in one picture: sizes, counts, positions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 8), layout="constrained")
    pairs = ((real, "real", "tab:blue"), (synthetic, "synthetic", "tab:orange"))
    bins = np.geomspace(10, 400, 40)
    for boxes, label, colour in pairs:
        style = {"label": label, "color": colour, "density": True, "histtype": "step", "linewidth": 2}
        axes[0, 0].hist(boxes.longer, bins=bins, **style)
        axes[0, 1].hist(boxes.counts.clip(max=_MOST_HANDS), bins=np.arange(_MOST_HANDS + 2) - 0.5, **style)
        ratio = boxes.sizes[:, 0] / boxes.sizes[:, 1].clip(1)
        axes[0, 2].hist(np.log2(ratio.clip(0.1, 10)), bins=40, **style)
    axes[0, 0].set(xscale="log", xlabel="longer side of the box, px", ylabel="density")
    axes[0, 1].set(xlabel=f"hands in a frame ({_MOST_HANDS}: or more)")
    axes[0, 2].set(xlabel="log2(width / height)")
    for axis in axes[0]:
        axis.legend()
    for axis, (boxes, label, _) in zip(axes[1], pairs, strict=False):
        axis.hist2d(*boxes.centres.T, bins=(40, 36), range=((0, _WIDTH), (0, _HEIGHT)), cmap="magma")
        axis.set(
            title=f"centres, {label}: {len(boxes.boxes)} hands", xlabel="px", ylabel="px", aspect="equal"
        )
        axis.invert_yaxis()
    for boxes, label, colour in pairs:
        for dim, name, line in ((0, "x", "-"), (1, "y", ":")):
            share = np.linspace(0, 1, len(boxes.centres))
            axes[1, 2].plot(
                np.sort(boxes.centres[:, dim]), share, line, color=colour, label=f"{name}, {label}"
            )
    axes[1, 2].set(xlabel="centre, px", ylabel="share below")
    axes[1, 2].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


@command
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--boxes", type=Path, nargs="+", required=True, help="JSON files of marked boxes")
    parser.add_argument("--out", type=Path, default=Path("readme_files/boxes.png"))
    parser.add_argument("--frames", type=int, default=1000, help="synthetic scenes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    real = read_boxes(options.boxes)
    synthetic = synthetic_boxes(options.frames, options.seed)
    for (name, found), made in zip(real.summary().items(), synthetic.summary().values(), strict=True):
        print(f"{name}: real {found}, synthetic {made}")
    plot(real, synthetic, options.out)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

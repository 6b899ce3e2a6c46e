"""Puts real Azure Kinect frames beside simulated ones, in a picture and in figures.

    python3 -m pipeline.training.compare_sensor readme_files/sensor.png --recording FILE.mkv --ir FILE.png

Three columns, depth above infrared: the recording's first frame; the same surfaces, smoothed and completed,
through the simulated sensor; a rendered scene. The figures compare how much is missing, and the noise from
pixel to pixel against the distance.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.cameras import open_camera
from pipeline.errors import SourceError, command
from pipeline.frame import DepthCamera
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.sensor import field_of_view, simulate_tof

FloatImage = NDArray[np.float32]
_DISTANCES_MM = (0, 800, 1200, 1800, 2600, 4000)
_DRAWS = 6  # simulated frames that the figures are means of
_POSES = 1024  # in the store of hands
_FEWEST = 200  # pixels for a figure
_FLAT_MM = 15.0  # larger second differences are edges
_SHOWN_MM, _SHOWN_IR = 4000.0, 2000.0
_BRIGHTEST_IR = 65535


@dataclass(frozen=True, eq=False)
class Capture:
    """One depth and infrared image under a title.

    Args:
        title: of the column.
        depth: (H, W) mm, 0 = no measurement.
        ir: (H, W) brightness.
    """

    title: str
    depth: FloatImage
    ir: FloatImage


def figures(captures: list[Capture]) -> str:
    """Shares of missing pixels, in all and inside the field of view, and noise by distance: their means."""
    height, width = captures[0].depth.shape
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = field_of_view(column, row, width, height).numpy()
    missing = np.stack([capture.depth == 0 for capture in captures])
    noise = np.stack([noise_by_distance(capture.depth) for capture in captures])
    entries = [
        f"{low / 1000:.1f}-{high / 1000:.1f} m {np.nanmean(values):.2f}"
        for (low, high), values in zip(pairwise(_DISTANCES_MM), noise.T, strict=True)
        if np.isfinite(values).any()
    ]
    return (
        f"{captures[0].title}: missing {missing.mean():.1%}, in the field of view "
        f"{missing[:, inside].mean():.1%}; noise in mm {', '.join(entries)}"
    )


def noise_by_distance(depth: FloatImage) -> NDArray[np.float64]:
    """(D,) mm: standard deviation of the depth of single pixels in each range of distances, nan without data.

    From second differences along rows, which vanish on planes; without outliers.
    """
    before, here, after = depth[:, :-2], depth[:, 1:-1], depth[:, 2:]
    second = before - 2 * here + after
    flat = (before > 0) & (here > 0) & (after > 0) & (np.abs(second) < _FLAT_MM)
    noise = np.full(len(_DISTANCES_MM) - 1, np.nan)
    for number, (low, high) in enumerate(pairwise(_DISTANCES_MM)):
        values = second[flat & (here >= low) & (here < high)]
        if len(values) >= _FEWEST:
            usual = values[np.abs(values) <= 3 * np.percentile(np.abs(values), 75) + 1]
            noise[number] = np.sqrt(np.mean(np.square(usual)) / 6)
    return noise


def simulate_again(real: Capture, focal_px: float, seed: int) -> Capture:
    """The surfaces of a real frame through the simulated sensor."""
    z = _completed(real.depth) / 1000
    ir = cv2.medianBlur(real.ir, 5)
    lit = (ir > 0) & (real.ir < _BRIGHTEST_IR)
    gain = float(np.percentile((ir * z**2)[lit], 95))
    albedo = np.clip(ir * z**2 / gain, 0.02, None)
    depth, brightness = simulate_tof(
        torch.from_numpy(z)[None],
        torch.from_numpy(albedo)[None],
        focal_px,
        Sampler("cpu", seed),
        gain=gain,
    )
    row, column = torch.meshgrid(torch.arange(z.shape[0]), torch.arange(z.shape[1]), indexing="ij")
    inside = field_of_view(column, row, z.shape[1], z.shape[0])
    images = [torch.where(inside, image[0], 0.0).numpy() for image in (depth, brightness)]
    return Capture("the same surfaces, simulated", *images)


def rendered_scene(camera: DepthCamera, seed: int) -> Capture:
    """A rendered scene as the same camera sees it."""
    from pipeline.synthetic.scene_view import View, measure
    from pipeline.synthetic.scenes import pose_bank, scene_renderer
    from pipeline.synthetic.staging import sample_scene

    device, sampler = torch.device("cpu"), Sampler("cpu", seed)
    renderer = scene_renderer(device)
    view = View.azure_kinect(camera)
    scene, posed = sample_scene(1, renderer.people, pose_bank(device, _POSES), sampler)
    surface, _ = renderer.surface(scene, posed, view, textured=sampler)
    depth, ir = measure(surface, view, sampler)
    return Capture("a rendered scene", depth[0].numpy(), ir[0].numpy())


def picture(captures: list[Capture], real_ir: NDArray[Any] | None) -> NDArray[Any]:
    """Columns of depth (coloured) over infrared; the further real infrared image, if any, last."""
    columns = []
    for capture in captures:
        near = (255 * (1 - np.clip(capture.depth / _SHOWN_MM, 0, 1))).astype(np.uint8)
        depth = cv2.applyColorMap(near, cv2.COLORMAP_TURBO)
        depth[capture.depth == 0] = 0
        bright = (255 * np.sqrt(np.clip(capture.ir / _SHOWN_IR, 0, 1))).astype(np.uint8)
        cv2.putText(
            depth, capture.title, (12, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA
        )
        columns.append(np.vstack([depth, cv2.cvtColor(bright, cv2.COLOR_GRAY2BGR)]))
    if real_ir is not None:
        height, width = columns[0].shape[0] // 2, columns[0].shape[1]
        shown = cv2.cvtColor(cv2.resize(real_ir, (width, height)), cv2.COLOR_GRAY2BGR)
        columns.append(np.vstack([np.zeros_like(shown), shown]))
    return np.hstack(columns)


def _completed(depth: FloatImage) -> FloatImage:
    """Depth without noise and holes: holes take the nearest depth, then an edge-keeping filter smooths."""
    missing = (depth == 0).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    value_of = np.zeros(labels.max() + 1, np.float32)
    value_of[labels[missing == 0]] = depth[missing == 0]
    return cv2.bilateralFilter(value_of[labels], 9, 30.0, 3.0).astype(np.float32)


@command
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path, help="the picture to write")
    parser.add_argument("--recording", type=Path, required=True, help="an Azure Kinect recording (.mkv)")
    parser.add_argument("--ir", type=Path, help="a further real infrared image (.png), shown only")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args(arguments)
    with open_camera(options.recording) as camera:
        frame = next(iter(camera))
    further = None
    if options.ir is not None and (further := cv2.imread(str(options.ir), cv2.IMREAD_GRAYSCALE)) is None:
        raise SourceError(f"cannot read an image from {options.ir}: give a PNG file")
    if frame.ir is None:
        raise SourceError(f"{options.recording} has no infrared images: give a recording with both")
    real = Capture("real", frame.depth.astype(np.float32), frame.ir.astype(np.float32))
    seeds = range(options.seed, options.seed + _DRAWS)
    groups = [
        [real],
        [simulate_again(real, frame.camera.fx, seed) for seed in seeds],
        [rendered_scene(frame.camera, seed) for seed in seeds],
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(options.out), picture([group[0] for group in groups], further)):
        raise SourceError(f"cannot write {options.out}: choose a .png file in a writable folder")
    for group in groups:
        print(figures(group))
    return 0


if __name__ == "__main__":
    sys.exit(main())

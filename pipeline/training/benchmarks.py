"""The published data sets whose results can be evaluated: their cameras, joints and coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.frame import DepthCamera
from pipeline.hand import FINGERS, HANDS2017_21, ICVL_16, NYU_14, NYU_16, NYU_36

Coordinates = Literal["uvd", "xyz"]

# Of the 36 joints in NYU's files the 14 that everybody reports (Tompson et al., TOG 2014, and later work).
NYU_EVALUATED = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)


@dataclass(frozen=True)
class Benchmark:
    """How results on a data set are written and measured.

    Args:
        camera: unprojects u, v (px), d (mm).
        joints: names, for each number of joints that results come with.
        coordinates: what results are usually written in: u, v, d or x, y, z (mm).
    """

    camera: DepthCamera
    joints: dict[int, tuple[str, ...]]
    coordinates: Coordinates = "uvd"


_MSRA_21 = (
    "wrist",
    *(f"{finger}_{part}" for finger in (*FINGERS[1:], FINGERS[0]) for part in ("mcp", "pip", "dip", "tip")),
)

BENCHMARKS = {
    "nyu": Benchmark(
        DepthCamera(640, 480, 588.03, 587.07, 320.0, 240.0),
        {skeleton.num_joints: skeleton.joint_names for skeleton in (NYU_14, NYU_16, NYU_36)},
    ),
    "icvl": Benchmark(
        DepthCamera(320, 240, 240.99, 240.96, 160.0, 120.0),
        {16: ICVL_16.joint_names},
    ),
    "msra": Benchmark(
        DepthCamera(320, 240, 241.42, 241.42, 160.0, 120.0),
        {21: _MSRA_21},
    ),
    "hands2017": Benchmark(
        DepthCamera(640, 480, 475.065948, 475.065857, 315.944855, 245.287079),
        {21: HANDS2017_21.joint_names},
        coordinates="xyz",
    ),
}

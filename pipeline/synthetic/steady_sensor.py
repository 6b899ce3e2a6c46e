"""One time-of-flight camera frame after frame: its errors are mild, and none jumps between frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.sensor import FAR, IR_LIMIT


def steady_tof(
    z: Tensor, albedo: Tensor, focal_px: float, gain: float, sampler: Sampler
) -> tuple[Tensor, Tensor]:
    """Depth and active infrared, quicker than and with the units of `sensor.simulate_tof`.

    Args:
        z: (H, W) metres, infinite where nothing is.
        albedo: (H, W) reflectivity.
        focal_px: focal length, px.
        gain: brightness of a white surface at one metre.
        sampler: draws the noise.

    Returns:
        depth (H, W) float32 whole mm, 0 where there is no measurement; ir (H, W) float32, 0 to 65535.
    """
    found = torch.isfinite(z)
    z = torch.where(found, z, FAR)
    padded = functional.pad(z[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    nearest = torch.minimum(torch.minimum(left, right), torch.minimum(above, below))
    slope_x = torch.minimum((z - left).abs(), (right - z).abs())
    slope_y = torch.minimum((z - above).abs(), (below - z).abs())
    squared = z.square()
    cosine = (1 + (slope_x.square() + slope_y.square()) * (focal_px**2 / squared)).rsqrt()
    light = albedo * cosine / squared

    noise, lottery = sampler.normal(*z.shape), sampler.uniform(*z.shape)
    ir = (gain * light * (1 + 0.02 * lottery) + 4 * lottery).clamp(0, IR_LIMIT)
    depth = 1000 * z + noise * (0.5 + 0.25 / (light + 0.03))
    rim = (z - nearest > 0.02 + 0.015 * z) & (lottery < 0.9)
    missing = rim | (light < 0.008 * (0.5 + lottery)) | ~found | (ir >= IR_LIMIT)
    return torch.where(missing, 0.0, depth.clamp(min=1).round()), ir.round()

"""Ideal depth to what a depth camera measures: time of flight, and structured light.

The time-of-flight figures were measured on a real Azure Kinect: noise of 0.45 mm + 230 mm per count of
infrared brightness, alike in neighbouring pixels (correlation 0.6, 0.4, 0.2 at 1, 2, 3 px); rims of missing
pixels, one wide far away; next to near objects a shadow, as the illuminator sits 9 mm beside the lens; a
saturated pixel has no depth; brightness times squared distance is constant for a material. The noise here is
a little stronger, and how strong each effect is differs from image to image, so that a network learns to rely
on none of them. `pipeline.training.compare_sensor` shows both side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.sampling import Sampler

FAR = 8.0  # metres: stands for "nothing there" in computations that need a number
IR_LIMIT = 65535.0


def field_of_view(column: Tensor, row: Tensor, width: float, height: float) -> Tensor:
    """True inside the Azure Kinect's hexagonal field of view (narrow modes), measured on a real frame.

    Args:
        column, row: pixel coordinates, any shape.
        width, height: size of the whole image in the same pixels.
    """
    across, down = (column / width - 0.5).abs(), (row / height - 0.5).abs()
    return (across + 0.451 * down < 0.523) & (across < 0.5) & (down < 0.5)


def simulate_tof(
    z: Tensor,
    albedo: Tensor,
    focal_px: Tensor | float,
    sampler: Sampler,
    *,
    gain: Tensor | float = 1000.0,
    strength: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Depth and active infrared as a time-of-flight camera measures them.

    Args:
        z: (B, H, W) metres along the optical axis, infinite where nothing is.
        albedo: (B, H, W) infrared reflectivity, about 0.05 (black cloth) to 1 (white, skin is 0.6 to 0.9);
            fall-off towards the image's corners can be multiplied in.
        focal_px: focal length in pixels of these images, (B,) or one number.
        gain: brightness of a white surface facing the camera at one metre, (B,) or one number.
        strength: scales the noise of all depths.

    Returns:
        depth (B, H, W) float32, whole mm, 0 where there is no measurement; ir (B, H, W) float32, 0 to 65535.
    """
    draws, focal = _Draws(sampler, z.shape), _per_image(focal_px)
    found = torch.isfinite(z)
    z = torch.where(found, z, FAR)
    outlines, cosine = _outlines(z), _facing(z, focal)
    dimmed = draws.each(0.02, 0.6)
    shadow = _one_sided_shadow(z, focal * draws.each(0.0, 0.012), draws.chance(0.3))
    light = albedo * cosine / z.square() * torch.where(shadow, dimmed, 1.0)
    ir = _brightness(light, _per_image(gain), draws)

    depth = 1000 * z + _photon_noise(light, draws) * strength
    depth = _with_slow_errors(depth, outlines, draws)
    draw, share, lottery = draws.uniform(), draws.uniform().square(), draws.uniform()
    flying = outlines.edge & (lottery < draws.each(-0.1, 0.35))
    depth = torch.where(flying, 1000 * _mixed(outlines, draw < 0.5, share), depth)

    missing = _dropped_rims(outlines, shadow & (dimmed < 0.3), lottery, focal, draws)
    missing |= _too_dark(light, cosine, lottery, draws)
    missing |= ir >= IR_LIMIT
    missing |= _lost(draw, draws)
    return torch.where(missing | ~found, 0.0, depth.clamp(min=1).round()), ir


def simulate_structured_light(z: Tensor, focal_px: Tensor | float, sampler: Sampler) -> Tensor:
    """Depth as a camera with a separate pattern projector measures it (Kinect v1, RealSense SR300).

    What the projector cannot see lies in shadow on one side of near objects; depth is quantised in steps
    that grow with its square (Kinect v1: 2.8e-6 z^2 mm); outlines are ragged, surfaces smoothed.

    Args:
        z: (B, H, W) metres, infinite where nothing is.
        focal_px: focal length in pixels of these images, (B,) or one number.

    Returns:
        (B, H, W) float32, whole mm, 0 where there is no measurement.
    """
    draws = _Draws(sampler, z.shape)
    shadow = _one_sided_shadow(z, _per_image(focal_px) * draws.each(0.015, 0.085), draws.chance(0.5))
    measured, shadow = _matched(z, shadow, draws)
    found = torch.isfinite(measured)
    measured = torch.where(found, measured, FAR)
    limit = _outline_limit(measured)
    edge = _window_max(measured, 3) - _window_min(measured, 3) > limit
    near_edge = _window_max(measured, 5) - _window_min(measured, 5) > 2 * limit
    depth = 1000 * measured + draws.each(0.2, 1.5) * measured.square() * draws.field(3)
    depth = depth + draws.each(0.0, 4.0) * draws.field(24) + draws.each(-5.0, 5.0)
    depth = _quantised(torch.where(near_edge, depth, _window_mean(depth, 5)), draws)
    missing = shadow | ~found | (depth > 6000)
    missing |= edge & (draws.field(6) > draws.each(0.0, 3.0))
    missing |= draws.field(8) > draws.each(2.6, 4.8)
    return torch.where(missing, 0.0, depth.round())


@dataclass(frozen=True)
class _Draws:
    """Random numbers for images of one shape (B, H, W). Seeds stand for images: their order is fixed."""

    sampler: Sampler
    shape: torch.Size

    def each(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, 1, 1), uniform: one number per image."""
        return self.sampler.uniform(self.shape[0], 1, 1, low=low, high=high)

    def chance(self, probability: float) -> Tensor:
        """(B, 1, 1) bool."""
        return self.sampler.chance(probability, self.shape[0], 1, 1)

    def uniform(self) -> Tensor:
        """(B, H, W), 0 to 1."""
        return self.sampler.uniform(*self.shape)

    def normal(self) -> Tensor:
        """(B, H, W)."""
        return self.sampler.normal(*self.shape)

    def field(self, cell: int) -> Tensor:
        """(B, H, W) that varies over `cell` pixels."""
        batch, height, width = self.shape
        return self.sampler.smooth_field(batch, height, width, cell)


@dataclass(frozen=True)
class _Outlines:
    """Where depth jumps, all (B, H, W).

    Args:
        z, nearest, farthest: metres, of the pixel itself and of it and its neighbours.
        limit: metres; what lies farther apart belongs to different surfaces.
        edge: True where nearest and farthest do.
    """

    z: Tensor
    nearest: Tensor
    farthest: Tensor
    limit: Tensor
    edge: Tensor


def _outlines(z: Tensor) -> _Outlines:
    nearest, farthest, limit = _window_min(z, 3), _window_max(z, 3), _outline_limit(z)
    return _Outlines(z, nearest, farthest, limit, farthest - nearest > limit)


def _outline_limit(z: Tensor) -> Tensor:
    return 0.02 + 0.015 * z


def _photon_noise(light: Tensor, draws: _Draws) -> Tensor:
    """(B, H, W) mm: falls with the light that comes back; the camera's own filter spreads it over pixels."""
    sigma = draws.each(0.35, 0.75) + draws.each(0.18, 0.42) / (light + 0.02)
    grain, coarseness = draws.normal(), draws.each(0.3, 0.95)
    return torch.lerp(grain, 3 * _window_mean(grain, 3), coarseness) * sigma


def _with_slow_errors(depth: Tensor, outlines: _Outlines, draws: _Draws) -> Tensor:
    """Errors that vary slowly over the image are added to depths in mm: multipath, calibration."""
    hollow = 1000 * (_window_mean(outlines.z, 9) - outlines.z)
    spread = torch.where(outlines.edge, 0.0, hollow).clamp(-30, 30)
    depth = depth + draws.each(0.0, 0.15) * spread + draws.each(-3.0, 3.0)
    depth = depth + draws.each(0.0, 2.5) * draws.field(24)
    return depth + draws.each(0.0, 1.2) * draws.field(6)


def _mixed(outlines: _Outlines, near_side: Tensor, share: Tensor) -> Tensor:
    """Metres of flying pixels, in which light of both sides of an edge mixes."""
    height = (outlines.farthest - outlines.nearest).clamp(max=0.6)
    return outlines.nearest + torch.where(near_side, share, 1 - share) * height


def _dropped_rims(
    outlines: _Outlines, dark: Tensor, lottery: Tensor, focal: Tensor | float, draws: _Draws
) -> Tensor:
    """True for mixed pixels that the camera recognises and drops.

    They lie in stretches along the far side of edges (seldom the near one) and in dark shadows, and some are
    single; near things have wider rims.

    Args:
        dark, lottery: (B, H, W) bool, and uniform numbers.
        focal: px, (B, 1, 1) or one number.
    """
    z, limit = outlines.z, outlines.limit
    stretches = draws.field(8) < draws.each(-1.0, 2.5)
    missing = (z - outlines.nearest > limit) & stretches
    missing |= (outlines.farthest - z > limit) & stretches & draws.chance(0.2)
    missing |= outlines.edge & (lottery > draws.each(0.55, 1.1))
    missing |= dark & stretches
    around = _window_min(z, 5)
    parallax = focal * draws.each(0.0, 0.004) * (1 / around - 1 / z)
    return missing | (stretches & (z - around > 0.03 + limit) & (parallax > 1))


def _too_dark(light: Tensor, cosine: Tensor, lottery: Tensor, draws: _Draws) -> Tensor:
    """True where little light comes back, and on some grazing surfaces."""
    dark = light < draws.each(0.003, 0.012) * (0.5 + draws.uniform())
    return dark | ((cosine < draws.each(0.02, 0.1)) & (lottery < draws.each(0.2, 1.0)))


def _lost(draw: Tensor, draws: _Draws) -> Tensor:
    """True for pixels and patches that are missing without a cause."""
    single = draw < draws.each(0.0, 0.08).pow(3)
    return single | (draws.field(10) > draws.each(3.3, 6.0))


def _matched(z: Tensor, shadow: Tensor, draws: _Draws) -> tuple[Tensor, Tensor]:
    """Depth in metres and shadow as they come out of comparing windows of the pattern.

    Outlines are ragged and fat: depths are taken from a place up to 2 px away. Small dark gaps are closed by
    the camera's own filter, large shadows stay.
    """
    _, height, width = z.shape
    reach = draws.each(0.0, 1.6)
    columns = torch.arange(width, device=z.device) + reach * draws.field(3)
    rows = torch.arange(height, device=z.device)[:, None] + reach * draws.field(3)
    source = rows.round().clamp(0, height - 1) * width + columns.round().clamp(0, width - 1)
    source = source.long().flatten(1)
    measured = z.flatten(1).gather(1, source).view_as(z)
    shadow = shadow | shadow.flatten(1).gather(1, source).view_as(shadow)
    fat = draws.each()
    for share in (0.6, 0.25):
        measured = torch.where(fat < share, _window_min(measured, 3), measured)
    return measured, _window_max(_window_min(shadow.float(), 3), 3) > 0.5


def _quantised(depth: Tensor, draws: _Draws) -> Tensor:
    """Depth in mm in whole steps of its inverse."""
    step = draws.each().square() * 3.2e-6 + 1e-7  # per mm
    return 1 / (step * (1 / (step * depth.clamp(min=1))).round().clamp(min=1))


def _one_sided_shadow(z: Tensor, disparity_px: Tensor, on_left: Tensor) -> Tensor:
    """True where a nearer surface hides the pixel from a light beside the lens.

    Shadows fall to the right of near things if the light is on the left, and the other way round. Seen from a
    light on the left a pixel lies at column + disparity / z; from the left, these must rise: one that does
    not is behind what came before.

    Args:
        z: (B, H, W) metres.
        disparity_px: (B, 1, 1) focal length in px times the light's distance from the lens in metres.
        on_left: (B, 1, 1) bool: the shadow falls to the left.
    """
    z = torch.where(on_left, z.flip(2), z)
    column = torch.arange(z.shape[2], device=z.device) + disparity_px / z  # infinite z: no shift
    shadow = column < column.cummax(2).values
    return torch.where(on_left, shadow.flip(2), shadow)


def _brightness(light: Tensor, gain: Tensor | float, draws: _Draws) -> Tensor:
    """Infrared counts of a surface that returns `light`, with speckle and the sensor's own noise."""
    ir = gain * light * (1 + 0.03 * draws.normal()) + 6 * draws.normal()
    return ir.clamp(0, IR_LIMIT).round()


def _facing(z: Tensor, focal: Tensor | float) -> Tensor:
    """(B, H, W) cosine between the surface's normal and the optical axis, from the flatter neighbour."""
    scale = focal / z
    padded = functional.pad(z[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across, down = padded[:, 1:-1].diff(dim=2).abs(), padded[:, :, 1:-1].diff(dim=1).abs()
    slope_x = torch.minimum(across[:, :, :-1], across[:, :, 1:]) * scale
    slope_y = torch.minimum(down[:, :-1], down[:, 1:]) * scale
    return (1 + slope_x.square() + slope_y.square()).rsqrt()


def _per_image(value: Tensor | float) -> Tensor | float:
    """(B, 1, 1) of (B,); one number as it is."""
    return value.view(-1, 1, 1) if isinstance(value, Tensor) else value


def _window_max(image: Tensor, side: int) -> Tensor:
    return _slide(image, side, torch.maximum)


def _window_min(image: Tensor, side: int) -> Tensor:
    return _slide(image, side, torch.minimum)


def _window_mean(image: Tensor, side: int) -> Tensor:
    return _slide(image, side, torch.add) / side**2


def _slide(image: Tensor, side: int, combine: Callable[..., Tensor]) -> Tensor:
    """Combines (B, H, W) over square windows, the image's rim repeated outside.

    Row by row and column by column with shifted images: on a CPU several times faster than pooling.
    """
    reach = side // 2
    for dim, padding in ((1, (0, 0, reach, reach)), (2, (reach, reach, 0, 0))):
        padded = functional.pad(image[:, None], padding, mode="replicate")[:, 0]
        shifted = [padded.narrow(dim, k, image.shape[dim]) for k in range(side)]
        image = combine(shifted[0], shifted[1])
        for other in shifted[2:]:
            combine(image, other, out=image)
    return image

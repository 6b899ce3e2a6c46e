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
    batch, height, width = z.shape

    def each(low: float, high: float) -> Tensor:
        """One number per image."""
        return sampler.uniform(batch, 1, 1, low=low, high=high)

    found = torch.isfinite(z)
    z = torch.where(found, z, FAR)
    nearest, farthest = -_window_max(-z, 3), _window_max(z, 3)
    limit = 0.02 + 0.015 * z
    edge = farthest - nearest > limit
    cosine = _facing(z, focal_px)
    dimmed = each(0.02, 0.6)
    shadow = _one_sided_shadow(z, _per_image(focal_px) * each(0.0, 0.012), sampler.chance(0.3, batch, 1, 1))
    light = albedo * cosine / z.square() * torch.where(shadow, dimmed, 1.0)
    ir = _brightness(light, _per_image(gain), sampler)

    # Photon noise falls with the light that comes back; the camera's own filter spreads it over pixels.
    sigma = each(0.35, 0.75) + each(0.18, 0.42) / (light + 0.02)
    grain = sampler.normal(batch, height, width)
    coarseness = each(0.3, 0.95)
    grain = torch.lerp(grain, 3 * _window_mean(grain, 3), coarseness)
    depth = 1000 * z + grain * sigma * strength
    # Errors that vary slowly over the image: multipath, calibration.
    spread = torch.where(edge, 0.0, 1000 * (_window_mean(z, 9) - z)).clamp(-30, 30)
    depth = depth + each(0.0, 0.15) * spread + each(-3.0, 3.0)
    depth = depth + each(0.0, 2.5) * sampler.smooth_field(batch, height, width, 24)
    depth = depth + each(0.0, 1.2) * sampler.smooth_field(batch, height, width, 6)

    # Flying pixels: light of both sides of an edge mixes in one pixel.
    draw = sampler.uniform(batch, height, width)
    share = sampler.uniform(batch, height, width).square()
    mixed = nearest + torch.where(draw < 0.5, share, 1 - share) * (farthest - nearest).clamp(max=0.6)
    lottery = sampler.uniform(batch, height, width)
    depth = torch.where(edge & (lottery < each(-0.1, 0.35)), 1000 * mixed, depth)

    # Rims: mixed pixels that the camera recognises and drops, in stretches along the far side of edges
    # (seldom the near one), and single ones.
    far_side = z - nearest > limit
    stretches = sampler.smooth_field(batch, height, width, 8) < each(-1.0, 2.5)
    missing = far_side & stretches
    missing |= (farthest - z > limit) & stretches & sampler.chance(0.2, batch, 1, 1)
    missing |= edge & (lottery > each(0.55, 1.1))
    missing |= shadow & stretches & (dimmed < 0.3)
    # Near things have wider ones.
    around = -_window_max(-z, 5)
    parallax = _per_image(focal_px) * each(0.0, 0.004) * (1 / around - 1 / z)
    missing |= stretches & (z - around > 0.03 + limit) & (parallax > 1)
    # Too little light, grazing surfaces, too much light.
    missing |= light < each(0.003, 0.012) * (0.5 + sampler.uniform(batch, height, width))
    missing |= (cosine < each(0.02, 0.1)) & (lottery < each(0.2, 1.0))
    missing |= ir >= IR_LIMIT
    # Lost pixels and patches.
    missing |= draw < each(0.0, 0.08).pow(3)
    missing |= sampler.smooth_field(batch, height, width, 10) > each(3.3, 6.0)
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
    batch, height, width = z.shape

    def each(low: float, high: float) -> Tensor:
        return sampler.uniform(batch, 1, 1, low=low, high=high)

    shadow = _one_sided_shadow(z, _per_image(focal_px) * each(0.015, 0.085), sampler.chance(0.5, batch, 1, 1))

    # The matching window makes outlines ragged and fat: depths are taken from a place up to 2 px away.
    reach = each(0.0, 1.6)
    columns = torch.arange(width, device=z.device) + reach * sampler.smooth_field(batch, height, width, 3)
    rows = torch.arange(height, device=z.device)[:, None] + reach * sampler.smooth_field(
        batch, height, width, 3
    )
    source = rows.round().clamp(0, height - 1) * width + columns.round().clamp(0, width - 1)
    source = source.long().flatten(1)
    measured = z.flatten(1).gather(1, source).view_as(z)
    shadow = shadow | shadow.flatten(1).gather(1, source).view_as(shadow)
    fat = sampler.uniform(batch, 1, 1)
    measured = torch.where(fat < 0.6, -_window_max(-measured, 3), measured)
    measured = torch.where(fat < 0.25, -_window_max(-measured, 3), measured)
    # Small dark gaps are closed by the camera's own filter, large shadows stay.
    shadow = _window_max(-_window_max(-shadow.float(), 3), 3) > 0.5

    found = torch.isfinite(measured)
    measured = torch.where(found, measured, FAR)
    limit = 0.02 + 0.015 * measured
    edge = _window_max(measured, 3) + _window_max(-measured, 3) > limit
    near_edge = _window_max(measured, 5) + _window_max(-measured, 5) > 2 * limit
    depth = 1000 * measured
    depth = depth + each(0.2, 1.5) * measured.square() * sampler.smooth_field(batch, height, width, 3)
    depth = depth + each(0.0, 4.0) * sampler.smooth_field(batch, height, width, 24) + each(-5.0, 5.0)
    depth = torch.where(near_edge, depth, _window_mean(depth, 5))
    step = sampler.uniform(batch, 1, 1).square() * 3.2e-6 + 1e-7  # of 1/z, per mm
    depth = 1 / (step * (1 / (step * depth.clamp(min=1))).round().clamp(min=1))
    missing = shadow | ~found | (depth > 6000)
    missing |= edge & (sampler.smooth_field(batch, height, width, 6) > each(0.0, 3.0))
    missing |= sampler.smooth_field(batch, height, width, 8) > each(2.6, 4.8)
    return torch.where(missing, 0.0, depth.round())


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


def _brightness(light: Tensor, gain: Tensor | float, sampler: Sampler) -> Tensor:
    """Infrared counts of a surface that returns `light`, with speckle and the sensor's own noise."""
    ir = gain * light * (1 + 0.03 * sampler.normal(*light.shape)) + 6 * sampler.normal(*light.shape)
    return ir.clamp(0, IR_LIMIT).round()


def _facing(z: Tensor, focal_px: Tensor | float) -> Tensor:
    """(B, H, W) cosine between the surface's normal and the optical axis, from the flatter neighbour."""
    scale = _per_image(focal_px) / z
    padded = functional.pad(z[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across, down = padded[:, 1:-1].diff(dim=2).abs(), padded[:, :, 1:-1].diff(dim=1).abs()
    slope_x = torch.minimum(across[:, :, :-1], across[:, :, 1:]) * scale
    slope_y = torch.minimum(down[:, :-1], down[:, 1:]) * scale
    return (1 + slope_x.square() + slope_y.square()).rsqrt()


def _per_image(value: Tensor | float) -> Tensor | float:
    return value.view(-1, 1, 1) if isinstance(value, Tensor) else value


def _window_max(image: Tensor, side: int) -> Tensor:
    return _slide(image, side, torch.maximum)


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

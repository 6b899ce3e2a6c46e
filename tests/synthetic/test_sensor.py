import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.sensor import field_of_view, simulate_structured_light, simulate_tof


def wall(z: float, count: int = 24, size: int = 96) -> Tensor:
    return torch.full((count, size, size), z)


def step(near: float = 0.6, far: float = 1.0, count: int = 24) -> Tensor:
    z = wall(far, count)
    z[:, 30:66, 30:66] = near
    return z


def pixel_noise(depth: Tensor) -> float:
    """Standard deviation of what changes from pixel to pixel, mm, from second differences."""
    second = depth[:, :, 2:] - 2 * depth[:, :, 1:-1] + depth[:, :, :-2]
    measured = (depth[:, :, 2:] > 0) & (depth[:, :, 1:-1] > 0) & (depth[:, :, :-2] > 0)
    return float((second[measured].square().mean() / 6).sqrt())


@pytest.mark.parametrize(("z", "low", "high"), [(0.6, 0.3, 0.9), (1.0, 0.4, 1.3), (2.0, 0.8, 3.0)])
def test_noise_grows_with_distance_as_measured_on_a_real_camera(z: float, low: float, high: float) -> None:
    depth, _ = simulate_tof(wall(z), torch.full((24, 96, 96), 0.7), 500.0, Sampler("cpu", 1))
    assert low < pixel_noise(depth) < high
    measured = depth[depth > 0]
    assert abs(measured.mean() - 1000 * z) < 3
    assert (depth == 0).float().mean() < 0.01


def test_dark_surfaces_are_noisier_and_get_lost() -> None:
    noise, holes = [], []
    for albedo in (0.9, 0.2, 0.02):
        depth, _ = simulate_tof(wall(1.5), torch.full((24, 96, 96), albedo), 500.0, Sampler("cpu", 2))
        noise.append(pixel_noise(depth))
        holes.append(float((depth == 0).float().mean()))
    assert noise[1] > 1.5 * noise[0]
    assert holes[2] > 0.2 > 10 * holes[0]


def test_nothing_there_is_never_measured() -> None:
    z = wall(1.0)
    z[:, 20:40] = torch.inf
    sampler = Sampler("cpu", 3)
    depth, ir = simulate_tof(z, torch.ones_like(z), 500.0, sampler)
    assert (depth[:, 20:40] == 0).all()
    assert ir[:, 22:38].mean() < 0.1 * ir[:, 50:].mean()
    assert (simulate_structured_light(z, 500.0, sampler)[:, 25:35] == 0).all()


def test_errors_at_edges_stay_at_edges() -> None:
    z = step()
    depth, _ = simulate_tof(z, torch.full_like(z, 0.8), 500.0, Sampler("cpu", 4))
    away = torch.ones(96, 96, dtype=torch.bool)
    away[26:70, 26:70] = False
    away[34:62, 34:62] = True
    missing = depth == 0
    assert missing[:, ~away].float().mean() > 10 * missing[:, away].float().mean()
    error = (depth - 1000 * z).abs()
    assert error[:, away][~missing[:, away]].max() < 25
    flying = (error > 40) & ~missing
    assert flying.any()
    assert not flying[:, away].any()


def test_brightness_falls_with_the_square_of_the_distance_and_saturates() -> None:
    means = []
    for z in (0.5, 1.0):
        _, ir = simulate_tof(wall(z), torch.full((24, 96, 96), 0.5), 500.0, Sampler("cpu", 5), gain=1000.0)
        means.append(float(ir.mean()))
    np.testing.assert_allclose(means, [2000, 500], rtol=0.03)
    depth, ir = simulate_tof(wall(0.3), torch.ones(24, 96, 96), 500.0, Sampler("cpu", 5), gain=20_000.0)
    assert (ir == 65535).all()
    assert (depth == 0).all()


def test_values_are_whole_and_in_range() -> None:
    sampler, z = Sampler("cpu", 6), step(0.25, 3.0)
    depth, ir = simulate_tof(z, sampler.uniform(*z.shape), torch.linspace(100, 500, 24), sampler)
    structured = simulate_structured_light(z, torch.linspace(100, 500, 24), sampler)
    for image, most in ((depth, 5000), (ir, 65535), (structured, 6000)):
        assert image.dtype == torch.float32
        assert torch.equal(image, image.round())
        assert image.min() >= 0
        assert image.max() <= most


def test_structured_light_throws_a_shadow_on_one_side() -> None:
    depth = simulate_structured_light(step(0.5, 1.0), 500.0, Sampler("cpu", 7))
    shadow = (depth == 0)[:, 36:60].float().mean(1)  # (B, W)
    left, right = shadow[:, 18:30].sum(1), shadow[:, 66:78].sum(1)
    assert (torch.maximum(left, right) > 4 * torch.minimum(left, right)).float().mean() > 0.8
    assert (left > right).any()
    assert (left < right).any()
    widest = torch.maximum(left, right)  # focal length x baseline x (1/0.5 - 1/1), px
    assert 2 < widest.median() < 45


def test_structured_light_depth_is_coarser_far_away() -> None:
    steps = []
    for z in (0.8, 3.0):
        tilted = z + 0.2 * z * torch.linspace(0, 1, 96).expand(12, 96, 96)
        depth = simulate_structured_light(tilted, 500.0, Sampler("cpu", 8))
        steps.append(np.mean([np.diff(image[image > 0].unique()).mean() for image in depth]))
    assert steps[1] > 4 * steps[0]


def test_same_seed_same_image() -> None:
    z = step()
    first = simulate_tof(z, torch.ones_like(z), 500.0, Sampler("cpu", 9))
    second = simulate_tof(z, torch.ones_like(z), 500.0, Sampler("cpu", 9))
    other = simulate_tof(z, torch.ones_like(z), 500.0, Sampler("cpu", 10))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_seeds_keep_their_images() -> None:
    """Fixed test sets are rendered from seeds: what is drawn, and in which order, may not change."""
    z, sampler = step(count=4) + torch.linspace(0, 0.3, 96), Sampler("cpu", 11)
    depth, ir = simulate_tof(z, torch.full_like(z, 0.5), 500.0, sampler, strength=20.0)
    structured = simulate_structured_light(z, 500.0, sampler)
    measured = [image[0, 29:33:3, 20:44:3].flatten().tolist() for image in (depth, ir, structured)]
    expected = [
        [1057, 1080, 1079, 0, 0, 0, 0, 0, 1035, 1093, 1063, 0, 721, 737, 727, 747],
        [240, 233, 258, 238, 246, 244, 229, 239, 234, 253, 238, 229, 425, 410, 395, 374],
        [1060, 1070, 1077, 695, 696, 705, 714, 728, 1060, 1070, 1077, 693, 697, 706, 716, 725],
    ]
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1)  # processors may round differently
    missing = [(image == 0).sum((1, 2)).tolist() for image in (depth, structured)]
    np.testing.assert_allclose(missing, [[134, 142, 117, 243], [346, 678, 322, 167]], rtol=0, atol=2)
    assert sampler.uniform(1).item() == pytest.approx(0.163552, abs=1e-6)  # nothing else was drawn


def test_field_of_view_is_the_measured_hexagon() -> None:
    row, column = torch.meshgrid(torch.arange(576.0), torch.arange(640.0), indexing="ij")
    inside = field_of_view(column, row, 640, 576)
    assert inside[288, 3]
    assert not inside[5, 40]
    assert inside[5, 320]
    np.testing.assert_allclose(inside.float().mean(), 0.80, atol=0.03)
    half = field_of_view(column[::2, ::2] / 2, row[::2, ::2] / 2, 320, 288)
    assert torch.equal(half, inside[::2, ::2])

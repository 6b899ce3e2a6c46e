"""Endless training data for the hand network: depth crops around right hands, with their joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.hand_views import PlacedHands, place_hands, random_hands, random_views
from pipeline.synthetic.poses import PoseBank
from pipeline.synthetic.primitives import Rays
from pipeline.synthetic.raster import rasterize
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.sensor import field_of_view, simulate_structured_light, simulate_tof
from pipeline.synthetic.surroundings import Surface, add_surroundings

FOCAL_PX = 504.6  # of the Azure Kinect's 640x576 depth image
_IMAGE_PX = (640.0, 576.0)
DEPTH_RANGE_MM = 150.0

_SECOND_HAND_SHARE = 0.12
_STRUCTURED_LIGHT_SHARE = 0.25
_HEXAGON_SHARE = 0.6
_COARSE_SHARE, _COARSEST = 0.2, 0.5  # of crops from cameras with fewer pixels, and their share of ours
_FEWEST_PX = 24
_FLESH_M = 0.022  # the surface lies at most this far before a visible joint

# How far a detector's box and its near depths are off, as standard deviations, and for the share of bad ones.
_CENTRE_JITTER, _BAD_CENTRE_JITTER = 0.035, 0.09  # of the window's side
_SCALE_JITTER, _BAD_SCALE_JITTER = 0.10, 0.15
_DEPTH_JITTER_M, _BAD_DEPTH_JITTER_M = 0.012, 0.035
_BAD_SHARE = 0.15
_MOST_BEFORE_M = 0.012  # the measured surface lies before the joints


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Depth crops of right hands from a virtual camera with its principal point at (0, 0).

    Pixel k of an image has its centre at coordinate k. A window covers `x0 <= edge < x0 + side` where pixel k
    spans the edges k to k + 1, so that column = (u + 0.5 - x0) * S / side - 0.5.

    Args:
        images: (N, 1, S, S) float32, clip((depth - centre) / 150 mm, -1, 1); +1 where nothing was measured.
        joints: (N, 21, 3) column px, row px, depth behind the centre in isotropic px (S px = crop_mm).
        visible: (N, 21) bool: in the crop and in the field of view, and nothing lies before the joint.
        window: (N, 3) x0, y0, side in px of the virtual frame.
        centre_mm: (N,) depth of the crop's centre.
        fx: focal length of the virtual frame, px.
        joints_mm: (N, 21, 3) in the camera's frame.
    """

    images: Tensor
    joints: Tensor
    visible: Tensor
    window: Tensor
    centre_mm: Tensor
    fx: float
    joints_mm: Tensor


@dataclass(frozen=True, eq=False)
class _Window:
    """Square windows of the virtual frame and the grids of pixels on which they are rendered.

    Args:
        origin: (N, 2) x0, y0, edges in px.
        side: (N,) px.
        cells: (N,) pixels along a side of the grid: those of the camera, at most as many as the crop has.
    """

    origin: Tensor
    side: Tensor
    cells: Tensor

    @property
    def cells_per_px(self) -> Tensor:
        return self.cells / self.side

    def project(self, points: Tensor, cells_per_px: Tensor) -> Tensor:
        """Points (N, P, 3) m to (N, P, 2) column, row on a grid that divides the window."""
        uv = FOCAL_PX * points[..., :2] / points[..., 2:]
        return (uv + 0.5 - self.origin[:, None]) * cells_per_px[:, None, None] - 0.5

    def pixels(self, size: int) -> Tensor:
        """(N, 2, size) x and y in the virtual frame of the grid's columns and rows."""
        cell = torch.arange(size, device=self.side.device)
        return (cell + 0.5) / self.cells_per_px[:, None, None] + self.origin[:, :, None] - 0.5


class CropGenerator:
    """Makes batches of crops; the k-th batch depends on the seed, k and its size alone.

    Args:
        device: where everything is computed and delivered.
        seed: of all random choices.
        size: side of the crops, px.
        crop_mm: metric side of the crops.
        poses: number of poses in the store that the hands are drawn from.

    Attributes:
        index: number of the next batch; set it to resume or to repeat.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        seed: int = 0,
        size: int = 128,
        crop_mm: float = 260.0,
        poses: int = 8192,
    ) -> None:
        self.size, self.crop_mm, self.seed = size, crop_mm, seed
        self.index = 0
        self._sampler = Sampler(device, seed)
        self._model = HandModel(device)
        self._bank = PoseBank(self._model, seed, poses)

    @torch.no_grad()
    def batch(self, count: int) -> CropBatch:
        """The next `count` crops."""
        sampler = self._sampler
        sampler.reseed(self.seed, self.index)
        self.index += 1

        hands = place_hands(random_hands(self._model, self._bank, count, sampler), FOCAL_PX, sampler)
        window, centre = self._windows(hands)
        pixels = window.pixels(self.size)
        surface = self._render(hands, window, pixels)
        in_view = self._in_view(pixels)
        visible = self._visible(hands, window, surface, in_view)

        depth = torch.where(in_view, self._measure(surface, window), 0.0)
        depth = enlarged(depth, window.cells, self.size)
        relative = (depth - 1000 * centre[:, None, None]) / DEPTH_RANGE_MM
        images = torch.where(depth > 0, relative.clamp(-1, 1), 1.0)

        place = window.project(hands.joints, self.size / window.side)
        behind = (hands.joints[..., 2:] - centre[:, None, None]) * (1000 * self.size / self.crop_mm)
        return CropBatch(
            images=images[:, None],
            joints=torch.cat([place, behind], 2),
            visible=visible,
            window=torch.cat([window.origin, window.side[:, None]], 1),
            centre_mm=1000 * centre,
            fx=FOCAL_PX,
            joints_mm=1000 * hands.joints,
        )

    def _windows(self, hands: PlacedHands) -> tuple[_Window, Tensor]:
        """Windows about the hands as a detector would give them, and depths of their centres (N,) m."""
        sampler, count = self._sampler, len(hands.joints)
        bad = sampler.chance(_BAD_SHARE, count)

        def jitter(usual: float, worse: float, *shape: int) -> Tensor:
            std = torch.where(bad, worse, usual)
            return std.view(-1, *(1,) * len(shape)) * sampler.normal(count, *shape)

        depth = hands.joints[..., 2].median(1).values
        depth = depth - sampler.uniform(count, high=_MOST_BEFORE_M)
        centre = (depth + jitter(_DEPTH_JITTER_M, _BAD_DEPTH_JITTER_M).clamp(-0.09, 0.09)).clamp(min=0.12)
        scale = (1 + jitter(_SCALE_JITTER, _BAD_SCALE_JITTER)).clamp(0.75, 1.4)
        side = FOCAL_PX * self.crop_mm / 1000 / depth * scale
        uv = FOCAL_PX * hands.joints[..., :2] / hands.joints[..., 2:]
        middle = (uv.amin(1) + uv.amax(1)) / 2
        middle = middle + side[:, None] * jitter(_CENTRE_JITTER, _BAD_CENTRE_JITTER, 2).clamp(-0.22, 0.22)
        share = torch.where(
            sampler.chance(_COARSE_SHARE, count), sampler.log_uniform(count, low=_COARSEST, high=1.0), 1.0
        )
        cells = (side * share).round().clamp(_FEWEST_PX, self.size)
        return _Window(middle + 0.5 - side[:, None] / 2, side, cells), centre

    def _render(self, hands: PlacedHands, window: _Window, pixels: Tensor) -> Surface:
        """Ideal depth and reflectivity of the hands and what is around them."""
        sampler, count = self._sampler, len(hands.joints)
        albedo = sampler.uniform(count, low=0.5, high=1.0)
        z, face = self._draw(hands.vertices, window, cull=True)
        surface = Surface(z, albedo[:, None, None].expand_as(z).clone())
        rays = Rays(pixels[:, 0] / FOCAL_PX, pixels[:, 1] / FOCAL_PX)
        hand = (face >= 0) & self._model.face_is_hand[face.clamp(min=0)]
        add_surroundings(surface, hand, rays, hands, sampler)

        images = sampler.subset(_SECOND_HAND_SHARE, count)
        if len(images):
            side = _Window(window.origin[images], window.side[images], window.cells[images])
            other, _ = self._draw(self._other_hands(hands.palm[images]), side, cull=False)
            surface.add(images, other, albedo[images])
        inside = torch.arange(self.size, device=z.device) < window.cells[:, None]
        beyond = ~(inside[:, None] & inside[:, :, None])
        surface.z[beyond] = torch.inf
        return surface

    def _other_hands(self, palms: Tensor) -> Tensor:
        """(K, V, 3) vertices of a second hand near each palm (K, 3), left or right."""
        sampler, count = self._sampler, len(palms)
        hand = random_hands(self._model, self._bank, count, sampler)
        side = torch.where(sampler.chance(0.7, count), -1.0, 1.0)
        mirror = torch.stack([side, torch.ones_like(side), torch.ones_like(side)], 1)[:, None]
        middle = hand.joints.mean(1, keepdim=True)
        rotated = ((hand.vertices - middle) * mirror) @ random_views(count, sampler).transpose(1, 2)
        away = sampler.direction(count) * sampler.uniform(count, 1, low=0.05, high=0.16)
        return rotated + (palms + away)[:, None]

    def _draw(self, vertices: Tensor, window: _Window, *, cull: bool) -> tuple[Tensor, Tensor]:
        """(N, S, S) z and face of meshes on the windows' grids. Closed meshes need no back sides."""
        uv = window.project(vertices, window.cells_per_px)
        uvz = torch.cat([uv, vertices[..., 2:]], 2)
        return rasterize(uvz, self._model.faces, self.size, self.size, cull=cull)

    def _in_view(self, pixels: Tensor) -> Tensor:
        """(N, S, S) bool: inside the image, whose field of view is often a hexagon."""
        width, height = _IMAGE_PX
        column = pixels[:, 0, None, :] + width / 2
        row = pixels[:, 1, :, None] + height / 2
        rectangle = ((column - width / 2).abs() < width / 2) & ((row - height / 2).abs() < height / 2)
        hexagon = field_of_view(column, row, width, height)
        return torch.where(self._sampler.chance(_HEXAGON_SHARE, len(pixels), 1, 1), hexagon, rectangle)

    def _visible(self, hands: PlacedHands, window: _Window, surface: Surface, in_view: Tensor) -> Tensor:
        """(N, 21) bool."""
        place = window.project(hands.joints, window.cells_per_px).round().long()  # (N, 21, 2)
        inside = ((place >= 0) & (place < window.cells[:, None, None])).all(2)
        column, row = place.clamp(0, self.size - 1).unbind(2)
        image = torch.arange(len(place), device=place.device)[:, None]
        uncovered = surface.z[image, row, column] > hands.joints[..., 2] - _FLESH_M
        return inside & in_view[image, row, column] & uncovered

    def _measure(self, surface: Surface, window: _Window) -> Tensor:
        """(N, S, S) mm as one or the other kind of camera measures, 0 for nothing."""
        structured = self._sampler.chance(_STRUCTURED_LIGHT_SHARE, len(surface.z))
        focal = FOCAL_PX * window.cells_per_px
        depth = torch.empty_like(surface.z)
        for images, camera in (((~structured), "tof"), (structured, "structured light")):
            chosen = images.nonzero().squeeze(1)
            if not len(chosen):
                continue
            if camera == "tof":
                measured, _ = simulate_tof(
                    surface.z[chosen], surface.albedo[chosen], focal[chosen], self._sampler
                )
            else:
                measured = simulate_structured_light(surface.z[chosen], focal[chosen], self._sampler)
            depth[chosen] = measured
        return depth


def enlarged(images: Tensor, cells: Tensor, size: int) -> Tensor:
    """The first `cells` (N,) rows and columns of (N, S, S) images enlarged to `size`, nearest neighbour."""
    source = (torch.arange(size, device=images.device) + 0.5) * (cells / size)[:, None]  # (N, S)
    source = source.long().clamp(max=images.shape[1] - 1)
    rows = images.gather(1, source[:, :, None].expand(-1, -1, images.shape[2]))
    return rows.gather(2, source[:, None].expand(-1, size, -1))

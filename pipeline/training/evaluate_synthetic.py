"""How good both networks are on rendered hands and scenes that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J, aggregate, anchor_grid
from pipeline.networks.centernet import CenterNet, decode_detections
from pipeline.networks.contracts import HandInput
from pipeline.networks.preprocess import detector_batch
from pipeline.training.metrics import (
    LEAST_VISIBLE,
    ImageBoxes,
    align_similarity,
    centre,
    handedness_accuracy,
    joint_errors,
    precision_recall,
    worst_joint_shares,
)
from pipeline.training.rendered import TEST_SEED, fixed_crops, fixed_scene_crops
from pipeline.training.warp import palm_roll, rotation, sample_nearest

if TYPE_CHECKING:
    from pipeline.synthetic.crops import CropBatch
    from pipeline.synthetic.scene_crops import SceneCropBatch
    from pipeline.synthetic.scenes import SceneBatch

FloatArray = NDArray[np.float64]

MARGIN = 1.5  # side of the rendered hands over that of the network's input

WRIST, TIPS = 0, [4, 8, 12, 16, 20]
TEST_SCENES = 512  # of the fixed set
SMALLEST_HAND_PX = 20.0  # longer side in the 640x576 image
FRAME_PX = np.array([640 / 320, 576 / 320] * 2)  # frame px for one px of the rendered scenes
_CHUNK = 64  # crops that are read at once
LOWEST_SCORE = 0.05  # where the precision-recall curves end


# --- Hands ---------------------------------------------------------------------------------------------
def evaluate_hands(model: A2J, count: int = 2048, seed: int = TEST_SEED) -> dict[str, float]:
    """Figures on the first `count` crops of two fixed sets, rendered on the CPU.

    Raises:
        UsageError: the network does not see metric crops.
    """
    contract = model.contract
    if contract.crop_mm is None:
        raise UsageError("only networks that see metric crops can be measured on rendered hands: train one")
    figures = hand_figures(model, hand_crops(contract, count, seed))
    return figures | scene_hand_figures(model, scene_hand_crops(contract, count // 2, seed))


def hand_crops(contract: HandInput, count: int, seed: int) -> list[CropBatch]:
    """The first `count` hands of a fixed set, with a margin around what the network sees of them."""
    assert contract.crop_mm is not None
    size = 2 * round(contract.size * MARGIN / 2)
    return fixed_crops(count, seed, size, contract.crop_mm * size / contract.size)


def hand_figures(model: A2J, batches: Sequence[CropBatch], size: int | None = None) -> dict[str, float]:
    """Errors of the joints.

    Args:
        batches: of `hand_crops`.
        size: side of the network's input, px, while it is trained on smaller ones than the contract's.

    Returns:
        mm: `mean_mm`, `median_mm`, `visible_mm` and `hidden_mm` (means of the joints that the camera sees,
        and of the others, a `hidden_share` of all), `centred_mm` (wrist on its truth), `aligned_mm`
        (rotation, scale and shift removed), `tips_mm`, `wrist_mm`; `image_px` of the input; shares of the
        hands whose worst
        joint lies within 20 and 40 mm: `within_20mm`, `within_40mm`; those of `side_figures`.
    """
    device, unit_mm = next(model.parameters()).device, model.contract.depth_unit_mm
    found = [predict_hands(model, batch.images.to(device), size).cpu() for batch in batches]
    points = np.concatenate([crop_points(f, b, unit_mm) for f, b in zip(found, batches, strict=True)])
    truth = np.concatenate([b.joints_mm.cpu().double().numpy() for b in batches])
    flat = torch.cat([(f - b.joints)[..., :2].norm(dim=-1) for f, b in zip(found, batches, strict=True)])
    errors = joint_errors(points, truth)
    visible = np.concatenate([b.visible.cpu().numpy() for b in batches])
    within = worst_joint_shares(errors, (20.0, 40.0))
    return {
        "mean_mm": float(errors.mean()),
        "median_mm": float(np.median(errors)),
        "visible_mm": float(errors[visible].mean()),
        "hidden_mm": float(errors[~visible].mean()) if (~visible).any() else float("nan"),
        "hidden_share": float(1.0 - visible.mean()),
        "centred_mm": float(joint_errors(centre(points, WRIST), centre(truth, WRIST)).mean()),
        "aligned_mm": float(joint_errors(align_similarity(points, truth), truth).mean()),
        "tips_mm": float(errors[:, TIPS].mean()),
        "wrist_mm": float(errors[:, WRIST].mean()),
        "image_px": float(flat.mean()),
        "within_20mm": float(within[0]),
        "within_40mm": float(within[1]),
        **side_figures(model, batches, size),
    }


def side_figures(model: A2J, batches: Sequence[CropBatch], size: int | None = None) -> dict[str, float]:
    """How often the side head is right, over each crop and its mirror image; arguments of `hand_figures`.

    Returns:
        `side_first` at the first look and, if there is a second one, `side_second`; empty without a head.
    """
    if not _tells_side(model):
        return {}
    device = next(model.parameters()).device
    images = [batch.images.to(device) for batch in batches]
    known = torch.cat([side_logits(model, part, size) for part in images]) > 0
    mirrored = torch.cat([side_logits(model, part.flip(-1), size) for part in images]) > 0
    shares = torch.cat([known, ~mirrored]).float().mean(dim=0).tolist()
    return dict(zip(("side_first", "side_second"), shares, strict=False))


@torch.no_grad()
def predict_hands(model: A2J, images: Tensor, size: int | None = None, chunk: int = _CHUNK) -> Tensor:
    """Joints of the hands in the middle of crops, by one look or, if the contract says so, a second one.

    Args:
        model: on the images' device.
        images: (N, 1, R, R), of the contract's scale and at least its size.
        size: side of the network's input, px; None for the contract's.

    Returns:
        (N, J, 3): column px, row px, depth relative to the centre in px of the given crops.
    """
    return torch.cat([_looks(model, part, size)[-1].joints for part in images.split(chunk)])


@torch.no_grad()
def side_logits(model: A2J, images: Tensor, size: int | None = None, chunk: int = _CHUNK) -> Tensor:
    """(N, 1 or 2): what the side head says at each look; arguments as for `predict_hands`."""
    parts = [[look.side for look in _looks(model, part, size)] for part in images.split(chunk)]
    return torch.cat([torch.cat(looks, dim=1) for looks in parts])


def scene_hand_crops(contract: HandInput, count: int, seed: int) -> list[SceneCropBatch]:
    """The first `count` crops out of scenes of a fixed set, with the margin of `hand_crops`."""
    assert contract.crop_mm is not None
    size = 2 * round(contract.size * MARGIN / 2)
    return fixed_scene_crops(count, seed, size, contract.crop_mm * size / contract.size)


@torch.no_grad()
def scene_hand_figures(
    model: A2J, batches: Sequence[SceneCropBatch], size: int | None = None
) -> dict[str, float]:
    """Hands of whole people: `scene_mm`, the mean error in the plane and depth of the crop, of those that are
    there, and how often the network is right about a hand that is (`presence_yes`) or is not there
    (`presence_no`), at the first look; empty without crops.

    Args:
        batches: of `scene_hand_crops`.
        size: as for `hand_figures`.
    """
    if not batches:
        return {}
    device, contract = next(model.parameters()).device, model.contract
    looks = [_looks(model, part, size) for b in batches for part in b.images.to(device).split(_CHUNK)]
    present = torch.cat([b.present for b in batches])
    error = torch.cat([look[-1].joints.cpu() for look in looks]) - torch.cat([b.joints for b in batches])
    figures = {"scene_mm": float(error.norm(dim=-1)[present == 1].mean() * contract.depth_unit_mm)}
    told = torch.cat([look[0].presence.cpu() for look in looks])
    if told.shape[1]:
        figures["presence_yes"] = float((told[present == 1] > 0).float().mean())
        figures["presence_no"] = float((told[present == 0] < 0).float().mean())
    return figures


@dataclass(frozen=True)
class _Look:
    """Joints (N, J, 3) as `predict_hands` returns them; logits of side and presence (N, 1), or (N, 0)."""

    joints: Tensor
    side: Tensor
    presence: Tensor


def _looks(model: A2J, images: Tensor, size: int | None) -> list[_Look]:
    """The first look, as the images are, and for some networks the second one, with the palm upright."""
    count, size = len(images), size or model.contract.size
    middle = torch.full((count, 2), (images.shape[-1] - 1) / 2, device=images.device)
    first = _look(model, images, size, middle, torch.zeros(count, device=images.device))
    if not model.contract.upright:
        return [first]
    middle = (first.joints[..., :2].amin(1) + first.joints[..., :2].amax(1)) / 2
    return [first, _look(model, images, size, middle, -palm_roll(first.joints, model.contract.skeleton))]


def _look(model: A2J, images: Tensor, size: int, middle: Tensor, turn: Tensor) -> _Look:
    """What is seen in crops about `middle` (N, 2) px turned by `turn` (N,) rad."""
    scale, half = size / model.contract.size, (images.shape[-1] - 1) / 2
    linear = rotation(turn) * scale  # (N, 2, 2)
    shift = -(linear @ (middle - half)[..., None]).squeeze(-1)
    crops = sample_nearest(images, linear, shift, size).contiguous(memory_format=torch.channels_last)
    classification, offsets, depths, *about = model.read(crops) if _tells_side(model) else model(crops)
    anchors = anchor_grid(size).to(images.device)
    joints = aggregate(classification, offsets, depths, anchors).positions[..., [1, 0, 2]]
    uv = (joints[..., :2] - (size - 1) / 2 - shift[:, None]) @ linear / scale**2 + half
    joints = torch.cat([uv, joints[..., 2:] / scale], dim=-1)
    told = torch.stack(about, dim=1).float() if about else joints.new_empty(len(joints), 0)
    return _Look(joints, told[:, :1], told[:, 1:])


def _tells_side(model: A2J) -> bool:
    return getattr(model, "side_head", None) is not None  # other modules stand in for A2J


def crop_points(joints: Tensor, batch: CropBatch, unit_mm: float) -> FloatArray:
    """(N, J, 3) column, row, depth px of rendered crops, `unit_mm` deep, as mm in the camera's frame."""
    size = batch.images.shape[-1]
    window = batch.window.double()[:, None]  # (N, 1, 3)
    uv = window[..., :2] + (joints[..., :2].double() + 0.5) * window[..., 2:] / size - 0.5
    z = batch.centre_mm.double()[:, None] + joints[..., 2].double() * unit_mm
    return torch.cat([uv * (z / batch.fx)[..., None], z[..., None]], dim=-1).cpu().numpy()


# --- Scenes --------------------------------------------------------------------------------------------
def scene_figures(model: CenterNet, batches: Sequence[SceneBatch]) -> dict[str, float]:
    """Those of `box_figures`, `ap75`, and the number of `hands` to be found."""
    images = [image for batch in batches for image in scene_boxes(model, batch)]
    return {
        **box_figures(images, batches),
        "ap75": precision_recall(images, 0.75).average_precision,
        "hands": float(sum((~i.ignored).sum() for i in images if i.ignored is not None)),
    }


def box_figures(images: Sequence[ImageBoxes], batches: Sequence[SceneBatch]) -> dict[str, float]:
    """What was found in rendered scenes.

    Args:
        images: one for each scene.
        batches: the scenes.

    Returns:
        `ap50` of all scenes; `ap50_ir` of those with infrared, which an Azure Kinect always has;
        `handedness`: share of the found hands whose side is right.
    """
    infrared = [bool(ir.any()) for batch in batches for ir in batch.ir]
    with_ir = [image for image, has_ir in zip(images, infrared, strict=True) if has_ir]
    return {
        "ap50": precision_recall(images, 0.5).average_precision,
        "ap50_ir": precision_recall(with_ir, 0.5).average_precision,
        "handedness": handedness_accuracy(images),
    }


def scene_boxes(model: CenterNet, batch: SceneBatch) -> list[ImageBoxes]:
    """Detections beside the truth, in px of a 640x576 frame."""
    device = next(model.parameters()).device
    inputs = detector_batch(batch.depth.to(device), batch.ir.to(device), model.contract)
    found = detect_scenes(model, inputs)
    images = []
    for (boxes, scores, classes), truth, sides, visible in zip(
        found, batch.boxes, batch.classes, batch.visible, strict=True
    ):
        hands = truth.cpu().double().numpy() * FRAME_PX
        ignored = ~to_be_found(hands, visible.cpu().numpy())
        images.append(ImageBoxes(boxes * FRAME_PX, scores, hands, classes, sides.cpu().numpy(), ignored))
    return images


def to_be_found(boxes: FloatArray, visible: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(K,) hands that count: not too small, not hidden.

    Args:
        boxes: (K, 4) px of a 640x576 frame.
        visible: (K,) share of the outline that shows.
    """
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    return (longer >= SMALLEST_HAND_PX) & (visible >= LEAST_VISIBLE)


@torch.no_grad()
def detect_scenes(model: CenterNet, images: Tensor, chunk: int = 16) -> list[tuple[Any, Any, Any]]:
    """(N, 3, S, S) to boxes (K, 4) px of the input, scores (K,) and classes (K,) of each image."""
    return [
        decode_detections(answer, model.contract, LOWEST_SCORE)
        for part in images.split(chunk)
        for answer in model(part.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
    ]

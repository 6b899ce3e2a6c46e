"""How far an engine's answers lie from PyTorch's, in the units that matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.engines.spec import EngineSpec, probe
from pipeline.networks.a2j import A2J, aggregate, anchor_grid
from pipeline.networks.centernet import CenterNet
from pipeline.networks.contracts import DetectorInput, HandInput
from pipeline.networks.inference import A2JReader
from pipeline.networks.preprocess import detector_batch

FloatArray = NDArray[np.float32]
Outputs = tuple[FloatArray, ...]

JOINT_LIMIT_MM = 2.0
SCORE_LIMIT = 0.05
SIDE_LIMIT = 0.5
RELATIVE_LIMIT = 0.05
_WORST_RELATIVE_ERROR = 0.3  # of an engine that works: 8-bit integers on an input far from a real one
_SEED = 0x1E57  # of the rendered inputs: no other command draws from it
_CROP_MM, _RENDERED_RANGE_MM = 250.0, 150.0  # of crops for networks without a metric crop; of rendered ones
_DISTANCE_MM = 600.0  # where the pixels of a fixed window are turned into millimetres


@dataclass(frozen=True)
class Difference:
    """The largest one found, with what is allowed.

    Args:
        what: is compared.
        value, limit: in `unit`.
    """

    what: str
    value: float
    limit: float
    unit: str = ""

    @property
    def acceptable(self) -> bool:
        return self.value <= self.limit  # not so if it is NaN

    def __str__(self) -> str:
        return f"{self.what} differ by {self.value:.3g}{self.unit} at most, {self.limit:g}{self.unit} allowed"


def differences(
    spec: EngineSpec, run: Callable[[FloatArray], Outputs], batch: FloatArray
) -> tuple[Difference, ...]:
    """An engine against the module itself.

    Args:
        spec: the network.
        run: the engine's.
        batch: (N, C, S, S).

    Returns:
        A2J: joints in mm and, with a side head, its logits. CenterNet: scores. Anything else: outputs,
        relative to the largest.
    """
    expected = spec.reference(batch)
    found = tuple(output.copy() for output in run(batch))
    if [output.shape for output in found] != [output.shape for output in expected]:
        return (Difference("the outputs' shapes", np.inf, 0.0),)
    if isinstance(spec.module, A2J | A2JReader):
        far = np.linalg.norm(
            _joints_mm(found, spec.module.contract) - _joints_mm(expected, spec.module.contract), axis=-1
        )
        sides = [
            Difference("side logits", float(np.abs(ours - theirs).max()), SIDE_LIMIT)
            for ours, theirs in zip(found[3:], expected[3:], strict=True)
        ]
        return (Difference("joints", float(far.max()), JOINT_LIMIT_MM, " mm"), *sides)
    if isinstance(spec.module, CenterNet):
        scores = slice(0, spec.module.num_classes)
        far = np.abs(found[0][:, scores] - expected[0][:, scores])
        return (Difference("scores", float(far.max()), SCORE_LIMIT),)
    relative = [
        float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), 1e-6))
        for ours, theirs in zip(found, expected, strict=True)
    ]
    return (Difference("outputs", max(relative), RELATIVE_LIMIT),)


def works(spec: EngineSpec, run: Callable[[FloatArray], Outputs]) -> bool:
    """Whether the answers to one cheap input are the module's, if only roughly."""
    pairs = zip(run(probe(spec.input_shape)), spec.probed, strict=True)
    return all(_apart(found, expected) < _WORST_RELATIVE_ERROR for found, expected in pairs)  # not so if NaN


def _apart(found: FloatArray, expected: FloatArray) -> float:
    """Root mean square of the difference, relative to what was expected; of logits, as probabilities."""
    if found.shape != expected.shape:
        return np.inf
    if expected.ndim == 1:
        far = (np.tanh(0.5 * found.astype(np.float64)) - np.tanh(0.5 * expected.astype(np.float64))) / 2
        return float(np.sqrt(np.square(far).mean()))
    scale = max(float(np.sqrt(np.square(expected).mean())), 1e-6)
    return float(np.sqrt(np.square(found - expected).mean())) / scale


def realistic_inputs(spec: EngineSpec, count: int = 8) -> FloatArray:
    """(N, C, S, S) as the network meets it: rendered hands or scenes; for other networks, `probe`."""
    if isinstance(spec.module, A2J | A2JReader):
        return _crops(spec.module.contract, count)
    if isinstance(spec.module, CenterNet):
        return np.ascontiguousarray(_scenes(spec.module.contract, count)[:, : spec.input_shape[0]])
    return probe(spec.input_shape, count)


def _joints_mm(outputs: Outputs, contract: HandInput) -> FloatArray:
    """(N, J, 3)."""
    classification, offsets, depths = map(torch.from_numpy, outputs[:3])
    voted = aggregate(classification, offsets, depths, anchor_grid(contract.size)).positions.numpy()
    side_mm = contract.crop_mm
    if side_mm is None:
        assert contract.window_px is not None
        assert contract.window_fx is not None
        side_mm = contract.window_px / contract.window_fx * _DISTANCE_MM
    unit_mm = np.float32(side_mm / contract.size)
    return voted * np.array([unit_mm, unit_mm, contract.depth_unit_mm], np.float32)


def _crops(contract: HandInput, count: int) -> FloatArray:
    from pipeline.synthetic.crops import CropGenerator

    crop_mm = contract.crop_mm or _CROP_MM
    generator = CropGenerator("cpu", _SEED, size=contract.size, crop_mm=crop_mm, poses=256)
    relative = generator.batch(count).images.numpy() * _RENDERED_RANGE_MM
    if contract.outside == "centre":
        relative = np.where(np.abs(relative) < _RENDERED_RANGE_MM, relative, 0.0)
    return ((relative - contract.mean) / contract.std).astype(np.float32)


def _scenes(contract: DetectorInput, count: int) -> FloatArray:
    from pipeline.synthetic.scenes import SceneGenerator

    scenes = SceneGenerator("cpu", _SEED).batch(count)
    size = (contract.size, contract.size)
    depth, ir = (
        torch.nn.functional.interpolate(image[:, None], size, mode="nearest")[:, 0]
        for image in (scenes.depth, scenes.ir)
    )
    return detector_batch(depth, ir, contract).numpy()

"""Measures a lower precision of trained weights, and keeps it where it costs next to nothing.

    python3 -m pipeline.training.quantize --a2j FILE --centernet FILE [--precision int8|bfloat16]

int8 is for processors with VNNI, and calibrated on rendered hands and scenes that neither training nor tests
see; what of the network is not in 8 bits is in bfloat16 if the processor has it. Both are measured as
OpenVINO computes them, bfloat16 on processors that cannot as PyTorch does. What is accepted stands beside the
checkpoint and is used from then on.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.command_line import at_least_one
from pipeline.engines.eight_bits import measure_ranges
from pipeline.engines.openvino_engine import OpenVinoEngine, has_bfloat16
from pipeline.engines.precision import (
    Precision,
    Proof,
    has_int8_products,
    read_proofs,
    write_proofs,
)
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec, as_tuple, spec_of
from pipeline.errors import HandPoseError, UsageError, command
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.networks.inference import for_engines, measured_channels
from pipeline.networks.preprocess import detector_batch
from pipeline.training.evaluate import format_figures
from pipeline.training.evaluate_synthetic import (
    hand_crops,
    hand_figures,
    scene_figures,
    scene_hand_crops,
    scene_hand_figures,
)
from pipeline.training.rendered import TEST_SEED, fixed_crops, fixed_scenes

CALIBRATION_SEED = 0xCA11_0000  # no other command draws from its streams
MOST_MM = 0.2  # that the mean error of the joints may rise by
MOST_SHARE = 0.005  # that the average precision, or how often a side or a presence is right, may fall by
LEAST_TEST = 512  # samples: one crop of a whole person, of half as many, weighs less than MOST_SHARE
_ERRORS_MM = ("mean_mm", "scene_mm")
_SHARES = ("ap50", "handedness", "side_first", "side_second", "presence_yes", "presence_no")
Network = A2J | CenterNet
FloatArray = NDArray[np.float32]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 also where a precision is not accepted."""
    options = _parser().parse_args(arguments)
    try:
        networks: list[tuple[Path, Network]] = []
        if options.a2j:
            networks.append((options.a2j, load_a2j(options.a2j)))
        if options.centernet:
            networks.append((options.centernet, load_centernet(options.centernet)))
        if not networks:
            raise UsageError("nothing to quantize: give --a2j FILE or --centernet FILE")
        for path, network in networks:
            proof = prove(path, network, options.precision, options.calibration, options.test)
            verdict = "accepted" if proof.accepted else "not accepted, and not used"
            print(f"{path.name} in {options.precision}: {verdict}")
            print(format_figures({"before": proof.before, "after": proof.after}))
    except OSError as error:
        raise HandPoseError(
            f"cannot write {error.filename} ({error.strerror}): check the folder's rights"
        ) from None
    return 0


def prove(
    checkpoint: Path, network: Network, precision: Precision, calibration: int = 256, test: int = 1024
) -> Proof:
    """Measures a precision on rendered data and writes what was found beside the checkpoint.

    Args:
        checkpoint: where the network comes from.
        network: in eval mode.
        precision: "int8" or "bfloat16".
        calibration: crops, or scenes, that 8-bit ranges are taken from.
        test: crops, and half as many crops of whole people, or scenes, of the measurement.

    Raises:
        UsageError: fewer test samples than `LEAST_TEST`, a package is missing, the network does not see
            metric crops, or the processor has no 8-bit products.
        OSError: a file cannot be written.
    """
    if test < LEAST_TEST:
        raise UsageError(f"{test} test samples prove nothing: give --test {LEAST_TEST} or more")
    if precision == "int8":
        _require_int8()
    spec = spec_of(network, checkpoint=checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        if precision == "bfloat16":
            proof = compare(network, _in_bfloat16(network, spec, Path(folder)), test)
        else:
            ranges = tuple(measure_ranges(spec.module, calibration_inputs(network, calibration)))
            trial = Proof(True, {}, {}, ranges, "bfloat16" if has_bfloat16() else "float32")
            lower = EngineModule(network, _engine_of(spec, precision, trial, Path(folder)))
            proof = replace(
                compare(network, lower, test), ranges=ranges, rest=trial.rest, calibration=calibration
            )
    write_proofs(spec, {**read_proofs(spec), precision: proof})
    return proof


def _require_int8() -> None:
    if not has_int8_products():
        raise UsageError(
            "PyTorch sees no VNNI on this processor, and without it 8 bits are not faster: "
            "take --precision bfloat16"
        )
    if not find_spec("openvino"):
        raise UsageError("8 bits are OpenVINO's, and it is not installed: pip install openvino")


def compare(network: Network, lower: nn.Module, test: int) -> Proof:
    """Both on the same rendered data."""
    before, after = _figures(network, lower, test)
    rises = [after[name] - before[name] < MOST_MM for name in _ERRORS_MM if name in before]
    falls = [
        before[name] - after[name] < MOST_SHARE
        for name in _SHARES
        if not math.isnan(before.get(name, math.nan))
    ]
    return Proof(all(rises + falls), before, after, test=test)


def _figures(network: Network, lower: nn.Module, test: int) -> tuple[dict[str, float], dict[str, float]]:
    """Of the network and of what stands for it."""
    if isinstance(network, CenterNet):
        scenes = fixed_scenes(test, TEST_SEED)
        return scene_figures(network, scenes), scene_figures(lower, scenes)  # type: ignore[arg-type]
    _crop_mm(network)
    hands = hand_crops(network.contract, test, TEST_SEED)
    people = scene_hand_crops(network.contract, test // 2, TEST_SEED)
    before, after = (
        hand_figures(model, hands) | scene_hand_figures(model, people)  # type: ignore[arg-type]
        for model in (network, lower)
    )
    return before, after


def calibration_inputs(network: Network, count: int) -> FloatArray:
    """(N, C, S, S) rendered for calibration alone."""
    if isinstance(network, A2J):
        crops = fixed_crops(count, CALIBRATION_SEED, network.contract.size, _crop_mm(network))
        return torch.cat([batch.images for batch in crops]).numpy()
    batches = fixed_scenes(count, CALIBRATION_SEED)
    inputs = torch.cat([detector_batch(b.depth, b.ir, network.contract) for b in batches])
    return inputs[:, : measured_channels(network)].contiguous().numpy()


class EngineModule(nn.Module):
    """An engine in a network's place, for the evaluation."""

    def __init__(self, network: Network, engine: Engine) -> None:
        super().__init__()
        self.contract, self.side_head = network.contract, getattr(network, "side_head", None)
        self._engine = engine
        self._channels = measured_channels(network)
        self._place = nn.Parameter(torch.zeros(0), requires_grad=False)  # tells the device

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        seen = x[:, : self._channels].contiguous().numpy()
        outputs = tuple(torch.from_numpy(output.copy()) for output in self._engine.run(seen))
        return outputs if len(outputs) > 1 else outputs[0]

    read = forward


class BFloat16Module(nn.Module):
    """A network that computes in bfloat16, which PyTorch can do on any processor."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.contract, self.side_head = network.contract, getattr(network, "side_head", None)
        self._channels = measured_channels(network)
        self._network = for_engines(network).bfloat16()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        seen = x[:, : self._channels].bfloat16()
        outputs = tuple(output.float() for output in as_tuple(self._network(seen)))
        return outputs if len(outputs) > 1 else outputs[0]

    read = forward


def _in_bfloat16(network: Network, spec: EngineSpec, folder: Path) -> nn.Module:
    """The network as it will run, or, on a processor that cannot, as near as PyTorch comes."""
    if find_spec("openvino") and has_bfloat16():
        return EngineModule(network, _engine_of(spec, "bfloat16", Proof(True, {}, {}), folder))
    return BFloat16Module(network)


def _engine_of(spec: EngineSpec, precision: Precision, trial: Proof, folder: Path) -> OpenVinoEngine:
    """The engine as it will run, in a place of its own until it is accepted.

    Raises:
        UsageError: it gives wrong answers in this precision.
    """
    elsewhere = replace(spec, checkpoint=folder / "trial.pth")
    write_proofs(elsewhere, {precision: trial})
    engine = OpenVinoEngine(elsewhere)
    if precision not in engine.name:
        raise UsageError(f"{spec.name} gives wrong answers in {precision}: try a larger --calibration")
    return engine


def _crop_mm(network: A2J) -> float:
    crop_mm = network.contract.crop_mm
    if crop_mm is None:
        raise UsageError("only networks that see metric crops can be measured on rendered hands: train one")
    return crop_mm


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m pipeline.training.quantize", description=__doc__)
    parser.add_argument("--a2j", type=Path, metavar="FILE")
    parser.add_argument("--centernet", type=Path, metavar="FILE")
    parser.add_argument("--precision", choices=["int8", "bfloat16"], default="int8")
    parser.add_argument("--calibration", type=at_least_one, default=256, help="rendered crops, or scenes")
    parser.add_argument(
        "--test", type=at_least_one, default=1024, help=f"rendered crops, or scenes: at least {LEAST_TEST}"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Measures a lower precision of trained weights, and keeps it where it costs next to nothing.

    python3 -m pipeline.training.quantize --a2j FILE --centernet FILE [--precision int8|bfloat16]

int8 is for processors with VNNI, and calibrated on rendered hands and scenes that neither training nor tests
see. bfloat16 is measured as OpenVINO computes it, or, on processors that cannot, as PyTorch does. What is
accepted lies beside the checkpoint and is used by the engines from then on.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.engines.cache import write_atomically
from pipeline.engines.onnx_engine import OnnxEngine
from pipeline.engines.onnx_export import INPUT, export_onnx
from pipeline.engines.openvino_engine import OpenVinoEngine, has_bfloat16
from pipeline.engines.precision import (
    Precision,
    Proof,
    file_digest,
    has_int8_products,
    model_path,
    read_proofs,
    write_proofs,
)
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec, as_tuple
from pipeline.errors import HandPoseError, UsageError, command
from pipeline.networks.a2j import A2J, for_engines
from pipeline.networks.centernet import CenterNet, for_processors
from pipeline.networks.checkpoints import load_a2j, load_centernet
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

if TYPE_CHECKING:
    import onnx

CALIBRATION_SEED = 0xCA11_0000  # no other command draws from its streams
MOST_MM = 0.2  # that the mean error of the joints may rise by
MOST_SHARE = 0.005  # that the average precision, or how often a side or a presence is right, may fall by
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
            verdict = "accepted" if proof.accepted else "not accepted: float32 stays"
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
        UsageError: a package is missing, the network does not see metric crops, or the processor has no 8-bit
            products.
        OSError: a file cannot be written.
    """
    if precision == "int8":
        _require_int8()
    size = network.contract.size
    channels = 1 if isinstance(network, A2J) else 3
    module = for_engines(network.eval()) if isinstance(network, A2J) else network.eval()
    spec = EngineSpec(module, (channels, size, size), checkpoint=checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        if precision == "bfloat16":
            proof = compare(network, _in_bfloat16(network, spec, Path(folder)), test)
        else:
            model = quantized(spec, calibration_inputs(network, calibration))
            engine = _engine_of(spec, precision, Path(folder), model)
            proof = compare(network, EngineModule(network, engine), test)
            _keep(model_path(checkpoint, precision), model if proof.accepted else None)
            if proof.accepted:
                proof = replace(proof, model=file_digest(model_path(checkpoint, precision)))
    write_proofs(spec, {**read_proofs(spec), precision: proof})
    return proof


def _require_int8() -> None:
    if not has_int8_products():
        raise UsageError(
            "PyTorch sees no VNNI on this processor, and without it 8 bits are not faster: "
            "take --precision bfloat16"
        )
    missing = [name for name in ("nncf", "onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise UsageError(f"{missing[0]} is not installed: pip install nncf onnx onnxscript")


def compare(network: Network, lower: nn.Module, test: int) -> Proof:
    """Both on the same rendered data."""
    before, after = _figures(network, lower, test)
    rises = [after[name] - before[name] < MOST_MM for name in _ERRORS_MM if name in before]
    falls = [
        before[name] - after[name] < MOST_SHARE
        for name in _SHARES
        if not math.isnan(before.get(name, math.nan))
    ]
    return Proof(all(rises + falls), before, after)


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


def quantized(spec: EngineSpec, inputs: FloatArray) -> bytes:
    """The network in 8-bit integers, as ONNX, with inputs and outputs in float32.

    The first layer stays in float32: in 8 bits the depth that A2J sees would have steps of 1.2 mm. So does
    CenterNet's last layer, where sizes and offsets would share one scale with the scores. A2J's
    biases are not corrected: what sets its means right on rendered hands moves joints on real ones.

    Args:
        inputs: (N, C, S, S) that the ranges are taken from.
    """
    import nncf
    import onnx

    is_detector = isinstance(spec.module, CenterNet)
    if isinstance(spec.module, CenterNet):
        spec = replace(spec, module=for_processors(spec.module))
    model = onnx.load_from_string(export_onnx(spec))
    return nncf.quantize(
        model,
        nncf.Dataset([{INPUT: one[None]} for one in inputs]),
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_kept_layers(model, last_too=is_detector)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=not is_detector),
    ).SerializeToString()


def _kept_layers(model: onnx.ModelProto, last_too: bool) -> list[str]:
    """Names of the layers that stay in float32: the first convolution and, if so wanted, the last one."""
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]  # in order
    return convolutions[:1] + (convolutions[-1:] if last_too else [])


def calibration_inputs(network: Network, count: int) -> FloatArray:
    """(N, C, S, S) rendered for calibration alone."""
    if isinstance(network, A2J):
        crops = fixed_crops(count, CALIBRATION_SEED, network.contract.size, _crop_mm(network))
        return torch.cat([batch.images for batch in crops]).numpy()
    batches = fixed_scenes(count, CALIBRATION_SEED)
    return torch.cat([detector_batch(b.depth, b.ir, network.contract) for b in batches]).numpy()


class EngineModule(nn.Module):
    """An engine in a network's place, for the evaluation."""

    def __init__(self, network: Network, engine: Engine) -> None:
        super().__init__()
        self.contract, self.side_head = network.contract, getattr(network, "side_head", None)
        self._engine = engine
        self._place = nn.Parameter(torch.zeros(0), requires_grad=False)  # tells the device

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(
            torch.from_numpy(output.copy()) for output in self._engine.run(x.contiguous().numpy())
        )
        return outputs if len(outputs) > 1 else outputs[0]

    read = forward


class BFloat16Module(nn.Module):
    """A network that computes in bfloat16, which PyTorch can do on any processor."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.contract, self.side_head = network.contract, getattr(network, "side_head", None)
        module = for_engines(network) if isinstance(network, A2J) else network
        self._network = copy.deepcopy(module).bfloat16()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(output.float() for output in as_tuple(self._network(x.bfloat16())))
        return outputs if len(outputs) > 1 else outputs[0]

    read = forward


def _in_bfloat16(network: Network, spec: EngineSpec, folder: Path) -> nn.Module:
    """The network as it will run, or, on a processor that cannot, as near as PyTorch comes."""
    if find_spec("openvino") and has_bfloat16():
        return EngineModule(network, _engine_of(spec, "bfloat16", folder))
    return BFloat16Module(network)


def _engine_of(spec: EngineSpec, precision: Precision, folder: Path, model: bytes | None = None) -> Engine:
    """The engine as it will run, in a place of its own until it is accepted."""
    trial = replace(spec, checkpoint=folder / "trial.pth")
    assert trial.checkpoint is not None
    path = model_path(trial.checkpoint, precision)
    _keep(path, model)
    write_proofs(trial, {precision: Proof(True, {}, {}, file_digest(path) if model else "")})
    return OpenVinoEngine(trial) if find_spec("openvino") else OnnxEngine(trial)


def _keep(path: Path, model: bytes | None) -> None:
    """Writes a file, or removes it."""
    if model is not None:
        write_atomically(path, model)
        return
    with suppress(FileNotFoundError):
        path.unlink()


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
    parser.add_argument("--calibration", type=int, default=256, help="rendered crops, or scenes")
    parser.add_argument("--test", type=int, default=1024, help="rendered crops, or scenes")
    return parser


if __name__ == "__main__":
    sys.exit(main())

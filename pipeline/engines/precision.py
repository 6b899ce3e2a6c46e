"""Which lower precisions keep a checkpoint's accuracy: measured by `pipeline.training.quantize`.

Beside CHECKPOINT.pth lies CHECKPOINT.precision.json, with the figures of each precision and what 8 bits need
besides the weights. It belongs to one set of weights and counts for no other.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.engines.cache import write_atomically
from pipeline.engines.spec import EngineSpec

Precision = Literal["int8", "bfloat16"]
_LARGEST = 1e30  # of a bound: float32 must hold it
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """How a precision compares with float32.

    Args:
        accepted: whether it may stand in for float32.
        before, after: figures in float32 and in this precision, such as `mean_mm` or `ap50`.
        ranges: of the values that 8 bits round, as `pipeline.engines.eight_bits.measure_ranges` found them.
        rest: precision of what is not in 8 bits.
        calibration, test: samples that the ranges and the figures were found on; None where the proof does
            not tell, as of earlier versions.
    """

    accepted: bool
    before: dict[str, float]
    after: dict[str, float]
    ranges: tuple[tuple[float, float], ...] = ()
    rest: Literal["float32", "bfloat16"] = "float32"
    calibration: int | None = None
    test: int | None = None


def read_proofs(spec: EngineSpec) -> dict[str, Proof]:
    """What is known about these weights; empty if nothing is, or the file is of other weights or damaged."""
    if spec.checkpoint is None:
        return {}
    path = proof_path(spec.checkpoint)
    try:
        file = json.loads(path.read_text())
        if file["weights"] == spec.fingerprint:
            return {name: _proof(**values) for name, values in file["precisions"].items()}
        reason = "is of other weights"
    except FileNotFoundError:
        return {}
    except OSError:
        reason = "cannot be read"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        reason = "is damaged"
    _log.warning("%s %s and counts for nothing: python3 -m pipeline.training.quantize", path, reason)
    return {}


def _proof(accepted: bool, rest: str, ranges: Sequence[tuple[float, float]], **values: Any) -> Proof:
    if not isinstance(accepted, bool) or rest not in ("float32", "bfloat16"):
        raise ValueError(f"accepted {accepted!r}, the rest in {rest!r}")
    if not all(isinstance(values[name], dict) for name in ("before", "after")):
        raise ValueError("no figures")
    if not all(type(values.get(name)) in (int, type(None)) for name in ("calibration", "test")):
        raise ValueError("samples that are no number")
    pairs = tuple((low, high) for low, high in ranges)
    for number in (number for pair in pairs for number in pair):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) < _LARGEST:
            raise ValueError(f"{number!r} is no bound of a range")
    if any(low > high for low, high in pairs):
        raise ValueError("a range that ends before it begins")
    return Proof(accepted, **values, ranges=pairs, rest=rest)  # type: ignore[arg-type]


def write_proofs(spec: EngineSpec, proofs: dict[str, Proof]) -> None:
    """Replaces what is known about these weights.

    Raises:
        OSError: the file cannot be written.
    """
    assert spec.checkpoint is not None
    file = {
        "weights": spec.fingerprint,
        "precisions": {name: asdict(proof) for name, proof in proofs.items()},
    }
    write_atomically(proof_path(spec.checkpoint), (json.dumps(file, indent=2) + "\n").encode())


def accepted_proofs(spec: EngineSpec) -> dict[str, Proof]:
    """The precisions that may stand in for float32, and that this processor may be made for."""
    return {
        name: proof
        for name, proof in read_proofs(spec).items()
        if proof.accepted and (name != "int8" or has_int8_products())
    }


def has_int8_products() -> bool:
    """Whether the processor multiplies 8-bit integers into 32-bit sums (VNNI).

    Other x86 processors are no faster in 8 bits, and those with AVX2 alone may overflow their 16-bit sums; of
    ARM's nothing was measured. PyTorch before 2.6 does not tell: then the answer is no.
    """
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def proof_path(checkpoint: Path) -> Path:
    """Where the figures are kept."""
    return checkpoint.with_suffix(".precision.json")

"""Which lower precisions keep a checkpoint's accuracy: measured by `pipeline.training.quantize`.

Beside CHECKPOINT.pth lies CHECKPOINT.precision.json, with the figures of each precision and what 8 bits need
besides the weights. It belongs to one set of weights and counts for no other.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.engines.cache import write_atomically
from pipeline.engines.spec import EngineSpec

Precision = Literal["int8", "bfloat16"]


@dataclass(frozen=True)
class Proof:
    """How a precision compares with float32.

    Args:
        accepted: whether it may stand in for float32.
        before, after: figures in float32 and in this precision, such as `mean_mm` or `ap50`.
        ranges: of the values that 8 bits round, as `pipeline.engines.eight_bits.measure_ranges` found them.
    """

    accepted: bool
    before: dict[str, float]
    after: dict[str, float]
    ranges: tuple[tuple[float, float], ...] = ()


def read_proofs(spec: EngineSpec) -> dict[str, Proof]:
    """What is known about these weights; empty if nothing is, or the file is of other weights or damaged."""
    if spec.checkpoint is None:
        return {}
    try:
        file = json.loads(proof_path(spec.checkpoint).read_text())
        if file["weights"] != spec.fingerprint:
            return {}
        return {name: _proof(**values) for name, values in file["precisions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _proof(ranges: list[list[float]], **values: Any) -> Proof:
    pairs = tuple((float(low), float(high)) for low, high in ranges)
    if not all(math.isfinite(low) and math.isfinite(high) for low, high in pairs):
        raise ValueError("a range without end")
    return Proof(**values, ranges=pairs)


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


def is_proven(spec: EngineSpec, precision: Precision) -> bool:
    """Whether a precision was measured and accepted for these weights."""
    proof = read_proofs(spec).get(precision)
    return proof is not None and proof.accepted is True  # the file may hold anything


def proven_ranges(spec: EngineSpec) -> tuple[tuple[float, float], ...]:
    """What 8 bits round, if they are proven and the processor is made for them; else empty."""
    return read_proofs(spec)["int8"].ranges if is_proven(spec, "int8") and has_int8_products() else ()


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

"""Which lower precisions keep a checkpoint's accuracy: measured by `pipeline.training.quantize`.

Beside CHECKPOINT.pth lie CHECKPOINT.precision.json, with the figures of each precision, and, if it was
accepted, CHECKPOINT.int8.onnx. Both belong to one set of weights and count for no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from pipeline.engines.cache import write_atomically
from pipeline.engines.spec import EngineSpec

_log = logging.getLogger(__name__)

Precision = Literal["int8", "bfloat16"]


@dataclass(frozen=True)
class Proof:
    """How a precision compares with float32.

    Args:
        accepted: whether it may stand in for float32.
        before, after: figures in float32 and in this precision, such as `mean_mm` or `ap50`.
        model: `file_digest` of the converted model that was measured; empty where there is none.
    """

    accepted: bool
    before: dict[str, float]
    after: dict[str, float]
    model: str = ""


def read_proofs(spec: EngineSpec) -> dict[str, Proof]:
    """What is known about these weights; empty if nothing is, or the file is of other weights or damaged."""
    if spec.checkpoint is None:
        return {}
    try:
        file = json.loads(proof_path(spec.checkpoint).read_text())
        if file["weights"] != spec.fingerprint:
            return {}
        return {name: Proof(**values) for name, values in file["precisions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


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


def proven_model(spec: EngineSpec, precision: Precision) -> Path | None:
    """The ONNX file of a proven precision, if there is one, and the processor is made for it."""
    proof = read_proofs(spec).get(precision)
    if spec.checkpoint is None or proof is None or proof.accepted is not True:
        return None
    path = model_path(spec.checkpoint, precision)
    if not path.is_file() or (precision == "int8" and not has_int8_products()):
        return None
    if file_digest(path) != proof.model:
        _log.warning("%s is not the model that was measured, and is not used: quantize once more", path)
        return None
    return path


def file_digest(path: Path) -> str:
    """16 digits that change with the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


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


def model_path(checkpoint: Path, precision: Precision) -> Path:
    """Where the converted model is kept."""
    return checkpoint.with_suffix(f".{precision}.onnx")

"""OpenVINO on the CPU."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.engines.agreement import works
from pipeline.engines.cache import ModelCache
from pipeline.engines.eight_bits import in_eight_bits
from pipeline.engines.precision import accepted_proofs
from pipeline.engines.spec import EngineSpec
from pipeline.networks.inference import for_processors

if TYPE_CHECKING:
    import openvino

# OpenVINO's converter would tell its makers of each use, unasked, by a process forked off a thread, which may
# never end, and then no program does. Where that package is missing, it does without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_GRAPH, _WEIGHTS = "model.xml", "model.bin"
_log = logging.getLogger(__name__)


class OpenVinoEngine:
    """Runs a network with OpenVINO, made for the shortest time of one batch.

    Precision is float32, unless a faster one was proven for these weights (see `pipeline.engines.precision`):
    8-bit integers, or bfloat16 on processors that have it. Single images have a graph of their own, which
    needs memory for the weights once more where `spec.max_batch` is not 1.

    Args:
        spec: the network.
        cache: where the converted model is kept.
    """

    def __init__(self, spec: EngineSpec, cache: ModelCache | None = None) -> None:
        import openvino

        self._tensor = openvino.Tensor
        for model, precision, halved in _candidates(spec, cache or ModelCache(spec)):
            self._prepare(model, spec, halved)
            self.name = f"openvino {precision} (cpu)"
            if precision != "int8" or works(spec, self.run):
                break
            _log.warning("%s gives wrong answers in 8 bits, and does without: quantize once more", spec.name)

    def _prepare(self, model: openvino.Model, spec: EngineSpec, halved: bool) -> None:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if halved else "f32",
        }
        if spec.threads:
            settings["INFERENCE_NUM_THREADS"] = spec.threads

        def request() -> openvino.InferRequest:
            return the_core().compile_model(model, "CPU", settings).create_infer_request()

        self._outputs = range(len(model.outputs))
        self._several = request() if spec.max_batch > 1 else None
        model.reshape([1, *spec.input_shape])  # with all shapes fixed it is faster
        self._alone = request()

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the module's outputs: views that the next run overwrites."""
        if len(batch) == 1:
            return self._infer(self._alone, batch)
        if self._several is not None:
            return self._infer(self._several, batch)
        parts = [tuple(map(np.copy, self._infer(self._alone, one[None]))) for one in batch]
        return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))

    def _infer(
        self, request: openvino.InferRequest, batch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], ...]:
        batch = np.ascontiguousarray(batch)
        request.set_input_tensor(self._tensor(batch, shared_memory=True))
        request.infer()
        return tuple(request.get_output_tensor(k).data for k in self._outputs)


@lru_cache(maxsize=1)
def the_core() -> openvino.Core:
    """OpenVINO itself, one for the process and as long as it lasts.

    A core gives its thread another stack for signals. Of two that end in the order in which they were made,
    the second hands back the first one's, which is gone: the next Ctrl-C crashes the process.
    """
    import openvino

    return openvino.Core()


def _candidates(spec: EngineSpec, cache: ModelCache) -> Iterator[tuple[openvino.Model, str, bool]]:
    """The network, its precision, and whether float32 in it may be bfloat16: the fastest first."""
    proofs, able = accepted_proofs(spec), has_bfloat16()
    if "int8" in proofs:
        ranges, rest = proofs["int8"].ranges, proofs["int8"].rest
        digest = hashlib.sha256(repr(ranges).encode()).hexdigest()[:8]
        try:
            rounded = _kept(
                cache, "int8", lambda: replace(spec, module=in_eight_bits(spec.module, ranges)), digest
            )
        except ValueError as error:
            _log.warning("%s does without 8 bits: %s", spec.name, error)
        else:
            yield rounded, "int8", able and rest == "bfloat16"
    halved = able and "bfloat16" in proofs
    yield _kept(cache, "float32", lambda: spec), "bfloat16" if halved else "float32", halved


def _kept(
    cache: ModelCache, precision: str, make: Callable[[], EngineSpec], digest: str = ""
) -> openvino.Model:
    """The model of a network; `digest` tells what else than the network it is made of."""
    import openvino

    return cache.get(
        f"openvino-{precision}",
        f"{openvino.__version__.split('-')[0]}-torch{torch.__version__}{digest and f'-{digest}'}",
        lambda: convert(make()),
        lambda packed: _unpack(the_core(), packed),
    )


def convert(spec: EngineSpec) -> bytes:
    """The network as OpenVINO's two files, packed into one."""
    import openvino

    module = for_processors(spec.module)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that tracing is old
        traced = torch.jit.trace(module, torch.zeros(1, *spec.input_shape), check_trace=False)
        model = openvino.convert_model(traced, input=[openvino.PartialShape([-1, *spec.input_shape])])
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        openvino.save_model(model, Path(folder) / _GRAPH, compress_to_fp16=False)
        for name in (_GRAPH, _WEIGHTS):
            archive.write(Path(folder) / name, name)
    return packed.getvalue()


def _unpack(core: openvino.Core, packed: bytes) -> openvino.Model:
    import openvino

    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        weights = np.frombuffer(archive.read(_WEIGHTS), np.uint8)
        return core.read_model(archive.read(_GRAPH), openvino.Tensor(weights))


def has_bfloat16() -> bool:
    """Whether the processor itself computes in bfloat16: AVX-512 BF16 or AMX."""
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

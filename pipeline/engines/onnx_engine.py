"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.cache import ModelCache
from pipeline.engines.onnx_export import export_onnx
from pipeline.engines.spec import EngineSpec


class OnnxEngine:
    """Runs a network with ONNX Runtime, in float32.

    Args:
        spec: the network.
        cache: where the converted model is kept.
    """

    def __init__(self, spec: EngineSpec, cache: ModelCache | None = None) -> None:
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = spec.threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def load(model: bytes) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        keep = cache or ModelCache(spec)
        version = f"torch{torch.__version__}"
        self._session = keep.get("onnx-float32", version, lambda: export_onnx(spec), load)
        self._input = self._session.get_inputs()[0].name
        self.name = "onnx float32 (cpu)"

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the module's outputs."""
        return tuple(self._session.run(None, {self._input: np.ascontiguousarray(batch)}))

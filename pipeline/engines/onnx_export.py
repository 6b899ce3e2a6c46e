"""A network as ONNX, the form that ONNX Runtime and TensorRT read."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import torch

from pipeline.engines.spec import EngineSpec, HalfInside, as_tuple
from pipeline.errors import UsageError

INPUT = "x"
_OPSET = 18


def export_onnx(spec: EngineSpec, half: bool = False) -> bytes:
    """The network as an ONNX file with a batch of 1 to `spec.max_batch`.

    Args:
        half: compute in half precision; inputs and outputs are float32 in any case.

    Raises:
        UsageError: the packages that write ONNX are not installed.
    """
    _require_exporter()
    module = copy.deepcopy(spec.module).cpu().eval()
    example = torch.zeros(2, *spec.input_shape)
    with torch.inference_mode():
        outputs = len(as_tuple(module(example)))
    batch = torch.export.Dim("batch", min=1, max=max(spec.max_batch, 2))
    with _quiet():
        program = torch.onnx.export(
            HalfInside(module).eval() if half else module,
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[f"y{k}" for k in range(outputs)],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def _require_exporter() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed: pip install onnx onnxscript") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns about its own insides."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)

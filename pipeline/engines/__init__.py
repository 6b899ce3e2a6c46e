"""Ways to run a network: all take and give NumPy arrays, so that nothing else knows which one it is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.engines.protocol import Engine
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from pipeline.engines.spec import EngineSpec

__all__ = ["ENGINES", "Engine", "create_engine", "create_engines"]

ENGINES = ("auto", "torch", "tensorrt", "openvino", "onnx")


def create_engine(
    name: str, module: nn.Module, input_shape: tuple[int, int, int], device: str | None = None
) -> Engine:
    """Makes one network ready to run: see `create_engines`."""
    from pipeline.engines.spec import EngineSpec

    return create_engines(name, [EngineSpec(module, input_shape)], device)[0]


def create_engines(name: str, specs: Sequence[EngineSpec], device: str | None = None) -> list[Engine]:
    """Makes networks ready to run, all by the same engine; everything slow happens here.

    Args:
        name: one of `ENGINES`; "auto" takes the fastest that works here, and logs which and why.
        specs: the networks; their modules are copied, not changed, and run in eval mode.
        device: "cpu", "cuda", ...; None takes the best that is there.

    Raises:
        UsageError: an engine or device that is unknown, not there or does not work.
    """
    if name not in ENGINES:
        raise UsageError(f"the engine {name!r} is unknown: choose one of {', '.join(ENGINES)}")
    from pipeline.engines.choice import engines_for

    copies = [replace(spec, module=copy.deepcopy(spec.module).eval()) for spec in specs]
    return engines_for(name, copies, device)

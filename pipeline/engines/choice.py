"""Which engine runs the networks: the one asked for, or the fastest that works here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from pipeline.engines.agreement import works
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec
from pipeline.errors import HandPoseError, UsageError, requirements

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A way to run networks.

    Args:
        name: that it is asked for by.
        on_gpu: where it runs.
        missing: what to install, in one clause, or None if it is all there.
        make: the engine of a network on a device.
    """

    name: str
    on_gpu: bool
    missing: Callable[[], str | None]
    make: Callable[[EngineSpec, torch.device], Engine]


def engines_for(name: str, specs: Sequence[EngineSpec], device: str | None = None) -> list[Engine]:
    """Engines of one kind for all networks.

    Args:
        name: "auto" or that of a kind.
        specs: the networks.
        device: "cpu", "cuda", ...; None for the best.

    Raises:
        UsageError: an engine or a device that is not there, or does not work.
    """
    wanted = None if device is None else _device(device)
    kinds = [kind for kind in KINDS if name in ("auto", kind.name) and _fits(kind, wanted)]
    if not kinds:
        raise UsageError(f"the engine {name} does not run on {device}: leave the device out")
    if name != "auto":
        return _asked_for(name, kinds, specs, wanted)
    *candidates, last = kinds
    absent = []
    for kind in candidates:
        if kind.missing():
            absent.append(_label(kind))
            continue
        try:
            return _told(make_engines(kind, specs, wanted), absent)
        except Exception as error:  # vendors raise whatever they like
            _log.warning("%s does not work here (%s): the next engine is tried", _label(kind), _brief(error))
            absent.append(_label(kind))
    return _told(make_engines(last, specs, wanted), absent)


def _asked_for(
    name: str, kinds: Sequence[Kind], specs: Sequence[EngineSpec], wanted: torch.device | None
) -> list[Engine]:
    reasons = [kind.missing() for kind in kinds]
    there = [kind for kind, reason in zip(kinds, reasons, strict=True) if reason is None]
    if not there:
        raise UsageError(f"the engine {name} cannot be used: {reasons[0]}")
    try:
        return make_engines(there[0], specs, wanted)
    except HandPoseError as error:
        raise UsageError(str(error)) from error
    except Exception as error:
        raise UsageError(
            f"the engine {name} does not work here ({_brief(error)}): try --engine auto"
        ) from error


def usable_kinds(names: Sequence[str] = ("auto",)) -> list[Kind]:
    """The kinds of these names that are here, fastest first; "auto" stands for all.

    Raises:
        UsageError: none is.
    """
    wanted = [kind for kind in KINDS if "auto" in names or kind.name in names]
    reasons = {kind: kind.missing() for kind in wanted}
    if all(reasons.values()):
        raise UsageError(f"the engine {wanted[0].name} cannot be used: {reasons[wanted[0]]}")
    return [kind for kind, reason in reasons.items() if reason is None]


def make_engines(kind: Kind, specs: Sequence[EngineSpec], wanted: torch.device | None = None) -> list[Engine]:
    """Engines of one kind, each proven by a batch.

    Raises:
        Exception: whatever the vendor raises where it does not work.
    """
    device = wanted or torch.device("cuda" if kind.on_gpu else "cpu")
    engines = [kind.make(spec, device) for spec in specs]
    for engine, spec in zip(engines, specs, strict=True):
        _prove(engine, spec)
    return engines


def _prove(engine: Engine, spec: EngineSpec) -> None:
    """Runs one batch.

    Raises:
        HandPoseError: the answers are not the network's.
    """
    if not works(spec, engine.run):
        raise HandPoseError(f"{engine.name} gives wrong answers for {spec.name}: try another --engine")


def _told(engines: list[Engine], absent: Sequence[str]) -> list[Engine]:
    why = f"; faster ones are not here: {', '.join(absent)}" if absent else ""
    names = " and ".join(dict.fromkeys(engine.name for engine in engines))
    _log.info("engine: %s, the fastest that works here%s", names, why)
    return engines


def _fits(kind: Kind, device: torch.device | None) -> bool:
    if device is None or device.type in ("cpu", "cuda"):
        return device is None or kind.on_gpu == (device.type == "cuda")
    return kind.name == "torch" and not kind.on_gpu


def _label(kind: Kind) -> str:
    return f"{kind.name} on a GPU" if kind.on_gpu else kind.name


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"PyTorch has no device {name!r} here: leave it out or take cpu") from error
    return device


# --- TensorRT ------------------------------------------------------------------------------------------
_NO_TENSORRT = (
    "TensorRT is not installed: on a Jetson it comes with JetPack 6.1 or later (sudo apt install "
    f"nvidia-jetpack), on a PC with an NVIDIA GPU it is pip install {requirements('tensorrt')}, "
    "and --trt False does without"
)
_NO_GPU = (
    "PyTorch sees no CUDA GPU: install a CUDA build of PyTorch (on a Jetson the one for its JetPack), or "
    "do without by --trt False"
)
_OLD_TENSORRT = (
    "TensorRT {} (JetPack 6.0) needs torch2trt: pip install --no-build-isolation "
    f"{requirements('torch2trt')}, or update to JetPack 6.1 or later"
)


def _tensorrt_missing() -> str | None:
    from pipeline.engines.tensorrt_engine import has_torch2trt, import_tensorrt, major_version

    try:
        trt = import_tensorrt()
    except Exception:
        return _NO_TENSORRT
    if not torch.cuda.is_available():
        return _NO_GPU
    if major_version(trt) < 10:
        return None if has_torch2trt(trt) else _OLD_TENSORRT.format(trt.__version__)
    return None if has_torch2trt(trt) else _onnx_export_missing()


def _make_tensorrt(spec: EngineSpec, device: torch.device) -> Engine:
    from pipeline.engines.tensorrt_engine import TensorRtEngine

    return TensorRtEngine(spec, device)


# --- PyTorch -------------------------------------------------------------------------------------------
def _cuda_missing() -> str | None:
    return None if torch.cuda.is_available() else _NO_GPU


def _make_cuda(spec: EngineSpec, device: torch.device) -> Engine:
    from pipeline.engines.cuda_engine import CudaEngine

    return CudaEngine(spec, device)


def _make_torch(spec: EngineSpec, device: torch.device) -> Engine:
    from pipeline.engines.torch_engine import TorchEngine

    return TorchEngine(spec, device)


# --- OpenVINO, ONNX Runtime ----------------------------------------------------------------------------
def _openvino_missing() -> str | None:
    return None if find_spec("openvino") else "OpenVINO is not installed: pip install openvino"


def _make_openvino(spec: EngineSpec, device: torch.device) -> Engine:
    from pipeline.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(spec)


def _onnx_missing() -> str | None:
    if not find_spec("onnxruntime"):
        return "ONNX Runtime is not installed: pip install onnxruntime onnx onnxscript"
    return _onnx_export_missing()


def _onnx_export_missing() -> str | None:
    if find_spec("onnx") and find_spec("onnxscript"):
        return None
    return "the packages that write ONNX are not installed: pip install onnx onnxscript"


def _make_onnx(spec: EngineSpec, device: torch.device) -> Engine:
    from pipeline.engines.onnx_engine import OnnxEngine

    return OnnxEngine(spec)


KINDS = (  # fastest first
    Kind("tensorrt", True, _tensorrt_missing, _make_tensorrt),
    Kind("torch", True, _cuda_missing, _make_cuda),
    Kind("openvino", False, _openvino_missing, _make_openvino),
    Kind("onnx", False, _onnx_missing, _make_onnx),
    Kind("torch", False, lambda: None, _make_torch),
)

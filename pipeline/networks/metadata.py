"""What a checkpoint of ours tells about its network, as plain values, and back with every value checked."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pipeline.hand import Skeleton
from pipeline.networks.contracts import DETECTOR_STEP_PX, DetectorInput, HandInput

LEAST_WIDTH, MOST_WIDTH = 0.05, 8  # factors on a network's channels
T = TypeVar("T")
_LARGEST_INPUT = 2048  # px
_MOST_OUTPUTS = 256  # classes or joints


@dataclass(frozen=True)
class CenterNetArchitecture:
    """Arguments of `CenterNet`."""

    num_classes: int
    width: float
    plain_head: bool


@dataclass(frozen=True)
class A2JArchitecture:
    """Arguments of `A2J`."""

    backbone: str
    num_joints: int
    width: float
    head_width: int
    negative_slope: float
    side_head: bool = False
    presence: bool = False


def plain(values: Any) -> Any:
    """A dataclass or a dictionary as JSON-like values; anything that is none becomes a string."""
    values = asdict(values) if is_dataclass(values) and not isinstance(values, type) else dict(values)
    return json.loads(json.dumps(values, default=str))


def centernet_architecture(values: object) -> CenterNetArchitecture:
    """What `plain` made of it; raises ValueError for a field that is unknown, missing or out of range."""
    architecture = _dataclass(CenterNetArchitecture, values)
    _require(0 < architecture.num_classes <= _MOST_OUTPUTS, "num_classes", architecture.num_classes)
    _require(LEAST_WIDTH <= architecture.width <= MOST_WIDTH, "width", architecture.width)
    return architecture


def a2j_architecture(values: object) -> A2JArchitecture:
    """What `plain` made of it; raises ValueError for a field that is unknown, missing or out of range."""
    architecture = _dataclass(A2JArchitecture, values)
    _require(0 < architecture.num_joints <= _MOST_OUTPUTS, "num_joints", architecture.num_joints)
    _require(LEAST_WIDTH <= architecture.width <= MOST_WIDTH, "width", architecture.width)
    _require(0 < architecture.head_width <= 4096, "head_width", architecture.head_width)
    _require(0 <= architecture.negative_slope <= 1, "negative_slope", architecture.negative_slope)
    return architecture


def detector_input(values: object) -> DetectorInput:
    """What `plain` made of it; raises ValueError for a field that is unknown, missing or out of range."""
    contract = _dataclass(DetectorInput, values)
    _require(
        0 < contract.size <= _LARGEST_INPUT and contract.size % DETECTOR_STEP_PX == 0, "size", contract.size
    )
    _require(contract.size_scale > 0, "size_scale", contract.size_scale)
    _require(contract.offset_scale > 0, "offset_scale", contract.offset_scale)
    _require(0 <= contract.score_threshold < 1, "score_threshold", contract.score_threshold)
    window = contract.peak_window
    _require(0 < window < contract.size and window % 2 == 1, "peak_window", window)
    for name in ("depth_max_mm", "ir_max"):
        limit = getattr(contract, name)
        _require(limit is None or limit > 0, name, limit)
    return contract


def hand_input(values: object) -> HandInput:
    """What `plain` made of it; raises ValueError for a field that is unknown, missing or out of range."""
    contract = _dataclass(HandInput, values)
    _check_skeleton(contract.skeleton)
    _require(0 < contract.size <= _LARGEST_INPUT and contract.size % 16 == 0, "size", contract.size)
    _require(0 <= contract.least_score < 1, "least_score", contract.least_score)
    window = ("window_px", "window_fx") if contract.crop_mm is None else ("crop_mm",)
    for name in ("std", "depth_range_mm", "depth_unit_mm", *window):
        value = getattr(contract, name)
        _require(value is not None and value > 0, name, value)
    return contract


def _check_skeleton(skeleton: Skeleton) -> None:
    joints = range(skeleton.num_joints)
    _require(0 < skeleton.num_joints <= _MOST_OUTPUTS, "joint_names", skeleton.joint_names)
    _require(len(skeleton.fingers) == len(joints), "fingers", skeleton.fingers)
    _require(all(-1 <= finger <= 4 for finger in skeleton.fingers), "fingers", skeleton.fingers)
    _require(all(a in joints and b in joints for a, b in skeleton.bones), "bones", skeleton.bones)


def _require(holds: bool, name: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} cannot be {value!r:.60}")


def _dataclass(kind: type[T], values: object) -> T:
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} must be a dictionary, found {values!r:.60}")
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise ValueError(f"{kind.__name__} has no field {name!r:.60}")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING and field.name not in values:
            raise ValueError(f"{kind.__name__} lacks {field.name!r}")
    return kind(**{name: _convert(name, value, hints[name]) for name, value in values.items()})


def _convert(name: str, value: object, hint: Any) -> Any:
    """A JSON-like value as an instance of the field's type."""
    kind, options = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        present = next(option for option in options if option is not NoneType)
        return None if value is None else _convert(name, value, present)
    if kind is tuple:
        return _tuple(name, value, options)
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, value)
    if hint is float and type(value) is int:
        value = float(value)
    matches = value in options if kind is Literal else type(value) is hint
    _require(matches and (type(value) is not float or math.isfinite(value)), name, value)
    return value


def _tuple(name: str, value: object, options: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} cannot be {value!r:.60}")
    if options[-1] is Ellipsis:
        options = (options[0],) * len(value)
    _require(len(options) == len(value), name, value)
    return tuple(_convert(name, item, option) for item, option in zip(value, options, strict=True))

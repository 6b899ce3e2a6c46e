"""Weights on disk: the published forms of both networks, and ours, which describes itself.

Published CenterNet files are a dictionary with `model` (the state dict), `num_classes` and `input_format`;
published A2J files one with `model` and `num_classes`, or, from A2J's authors, a bare state dict with other
names. Ours have the same keys and `meta`: plain values that rebuild the network ("architecture") and its
input ("contract"), besides whatever the training run had to tell.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.errors import HandPoseError, UsageError
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.metadata import (
    A2JArchitecture,
    CenterNetArchitecture,
    a2j_architecture,
    centernet_architecture,
    detector_input,
    hand_input,
    plain,
)
from pipeline.networks.published import Weights, a2j_for, authors_a2j_for, centernet_for, is_authors, renamed

Network = TypeVar("Network", CenterNet, A2J)


def load_centernet(path: str | Path) -> CenterNet:
    """The detector of a checkpoint: float32 on the CPU, in eval mode, with its `contract`.

    Raises:
        UsageError: there is no such file, or it is not a CenterNet checkpoint, or a damaged one.
    """
    file = _read(path)
    try:
        weights = _weights(file.get("model"))
        with torch.device("meta"):
            network = _described_centernet(file["meta"]) if "meta" in file else centernet_for(file, weights)
        _check_outputs(file, network.num_classes)
        return _filled(network, weights)
    except ValueError as error:
        raise _unfit(path, "CenterNet", error) from error


def load_a2j(path: str | Path) -> A2J:
    """The joint estimator of a checkpoint: float32 on the CPU, in eval mode, with its `contract`.

    Raises:
        UsageError: there is no such file, or it is not an A2J checkpoint, or a damaged one.
    """
    file = _read(path)
    try:
        if is_authors(file):
            weights = renamed(_weights(file))
            with torch.device("meta"):
                return _filled(authors_a2j_for(weights), weights)
        weights = _weights(file.get("model"))
        with torch.device("meta"):
            network = _described_a2j(file["meta"]) if "meta" in file else a2j_for(weights)
        _check_outputs(file, network.num_joints)
        return _filled(network, weights)
    except ValueError as error:
        raise _unfit(path, "A2J", error) from error


def read_meta(path: str | Path) -> dict[str, Any]:
    """What a checkpoint of ours tells about itself; empty for published ones.

    Raises:
        UsageError: there is no such file, or it is no checkpoint.
    """
    meta = _read(path).get("meta")
    return meta if isinstance(meta, dict) else {}


def save_centernet(path: str | Path, model: CenterNet, meta: Mapping[str, Any]) -> None:
    """Writes our form, in half precision; `meta` is free information about the training.

    Raises:
        HandPoseError: the file cannot be written.
    """
    described = {
        "model_name": "ResnetCenterNet",
        "num_classes": model.num_classes,
        "input_format": model.contract.channels,
    }
    architecture = CenterNetArchitecture(model.num_classes, model.width, model.plain_head)
    _write(path, described, model, {**meta, "architecture": asdict(architecture)})


def save_a2j(path: str | Path, model: A2J, meta: Mapping[str, Any]) -> None:
    """Writes our form, in half precision; `meta` is free information about the training.

    Raises:
        HandPoseError: the file cannot be written.
    """
    architecture = A2JArchitecture(
        model.backbone,
        model.num_joints,
        model.width,
        model.head_width,
        model.negative_slope,
        model.side_head is not None,
        model.presence,
    )
    _write(path, {"num_classes": model.num_joints}, model, {**meta, "architecture": asdict(architecture)})


def _read(path: str | Path) -> dict[Any, Any]:
    advice = "give the path of a .pth checkpoint"
    try:
        stream = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot read the checkpoint {path} ({error.strerror}): {advice}") from error
    with stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler meets bad bytes with whatever comes up
            raise UsageError(f"{path} is damaged or no PyTorch checkpoint: {advice}") from error
    if not isinstance(file, dict):
        raise UsageError(f"{path} holds no weights: {advice}")
    return file


def _unfit(path: str | Path, network: str, reason: ValueError) -> UsageError:
    return UsageError(f"{path} is no checkpoint for {network} ({reason}): choose another file")


def _weights(state: object) -> Weights:
    if not isinstance(state, dict) or not state:
        raise ValueError("it has no state dict")
    if not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()):
        raise ValueError("its state dict holds more than tensors")
    return state


def _described_centernet(meta: object) -> CenterNet:
    parts = meta if isinstance(meta, dict) else {}
    architecture = centernet_architecture(parts.get("architecture"))
    return CenterNet(**asdict(architecture), contract=detector_input(parts.get("contract")))


def _described_a2j(meta: object) -> A2J:
    parts = meta if isinstance(meta, dict) else {}
    architecture = a2j_architecture(parts.get("architecture"))
    return A2J(**asdict(architecture), contract=hand_input(parts.get("contract")))


def _check_outputs(file: dict[Any, Any], found: int) -> None:
    said = file.get("num_classes", found)
    if type(said) is not int or said != found:
        raise ValueError(f"num_classes is {said!r:.60}, its weights have {found}")


def _filled(network: Network, weights: Weights) -> Network:
    """A network made on the meta device, with these weights in place of its own."""
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}  # old files have none
    missing = sorted(expected.keys() - weights.keys() - counters)
    unknown = sorted(weights.keys() - expected.keys())
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    if unknown:
        raise ValueError(f"{unknown[0]} is unknown")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise ValueError(f"{name} has the shape {found} instead of {wanted}")
    ready = {name: _float32(name, tensor) for name, tensor in weights.items() if name not in counters}
    ready |= {name: torch.zeros((), dtype=torch.long, device="cpu") for name in counters}
    network.load_state_dict(ready, assign=True)
    return network.eval()


def _float32(name: str, tensor: Tensor) -> Tensor:
    if not (tensor.is_floating_point() and tensor.layout == torch.strided and tensor.is_cpu):
        raise ValueError(f"{name} is no plain array of floating-point numbers")
    tensor = tensor.float().contiguous()
    if not tensor.isfinite().all():
        raise ValueError(f"{name} has values that are not finite")
    return tensor


def _write(path: str | Path, described: dict[str, Any], model: CenterNet | A2J, meta: dict[str, Any]) -> None:
    contract = plain(model.contract)
    weights = {name: _compact(tensor) for name, tensor in model.state_dict().items()}
    file = {**described, "model": weights, "meta": {**plain(meta), "contract": contract}}
    part = Path(f"{path}.part")  # so that a run cut off leaves the previous file whole
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        torch.save(file, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        raise HandPoseError(
            f"cannot write the checkpoint {path}: check the folder's rights and space"
        ) from error


def _compact(tensor: Tensor) -> Tensor:
    """Kernels in half precision; the few biases and statistics keep float32, which their range needs."""
    tensor = tensor.detach().cpu()
    return tensor.half() if tensor.dim() > 1 else tensor

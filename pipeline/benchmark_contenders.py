"""What the benchmark times: the networks and whole frames, the original's steps beside ours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.crop import HandCrop, find_hand
from pipeline.engines.choice import Kind, make_engines
from pipeline.engines.precision import read_proofs
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec, as_tuple
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Handedness
from pipeline.hand_pose import HandPosePipeline
from pipeline.networks.a2j import A2J, aggregate, anchor_grid, for_engines
from pipeline.networks.centernet import CenterNet, decode_detections
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.networks.preprocess import detector_input

CAMERA = DepthCamera(width=640, height=576, fx=504.6, fy=504.7, cx=320.5, cy=330.5)
EAGER = "eager PyTorch"
CPU, GPU = "cpu", "cuda"
Network = TypeVar("Network", CenterNet, A2J)
_FIGURES = {"mean_mm": "mm", "ap50": "AP50"}  # of a proof, shown beside the speed


@dataclass(frozen=True)
class Contender:
    """Something to be timed.

    Args:
        what: is computed.
        engine: that computes it.
        call: does it once, and returns when it is done.
        gflop: in the networks, 0 if unknown.
        accuracy: measured before, for the table.
        device: of the networks, `CPU` or `GPU`.
    """

    what: str
    engine: str
    call: Callable[[], object]
    gflop: float = 0.0
    accuracy: str = ""
    device: str = CPU


def gflop(spec: EngineSpec, count: int = 1) -> float:
    """Of the network for a batch; a product and a sum are two operations."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        spec.module(torch.zeros(count, *spec.input_shape))
    return 1e-9 * counter.get_total_flops()


# --- The original's steps ------------------------------------------------------------------------------
class EagerEngine:
    """A copy of a module as it is, in float32 with PyTorch's usual settings: GPUs may round to TF32.

    Args:
        module: the network.
        device: `CPU` or `GPU`; batches are taken from the host, and outputs given back there.
    """

    def __init__(self, module: nn.Module, device: str = CPU) -> None:
        self._module, self._device = copy.deepcopy(module).eval().to(device), device
        self.name = f"{EAGER} float32 ({device})"

    @torch.no_grad()
    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the module's outputs."""
        outputs = as_tuple(self._module(torch.from_numpy(batch).to(self._device)))
        return tuple(output.cpu().numpy() for output in outputs)  # the copies wait for the GPU


class OriginalSteps:
    """Detector and joints in eager PyTorch, each hand by itself."""

    def __init__(self, backbone: str, device: str = CPU) -> None:
        self.detector, self.joints = _original_detector(), _original_joints(backbone)
        self._detect, self._read = EagerEngine(self.detector, device), EagerEngine(self.joints, device)
        self.name = f"the original's steps, {self._read.name}"
        self._anchors = anchor_grid(self.joints.contract.size)

    def frame(self, frame: Frame, boxes: NDArray[np.float32]) -> None:
        """One frame, with the boxes in place of the ones that random weights find."""
        contract = self.detector.contract
        (output,) = self._detect.run(detector_input(frame.depth, frame.ir, contract)[None])
        decode_detections(output[0], contract)
        for box in boxes:
            centre = find_hand(frame.depth, box)
            if centre is not None:
                crop = HandCrop.around(centre, frame.camera, self.joints.contract)
                outputs = self._read.run(crop.take(frame.depth)[None, None])
                classification, offsets, depths = map(torch.from_numpy, outputs)
                aggregate(classification, offsets, depths, self._anchors)


def original_networks(devices: Sequence[str], kinds: Sequence[Kind]) -> list[Contender]:
    """The three networks of the original, one image each: eager on each device, and by engines of ours."""
    named: list[tuple[str, CenterNet | A2J, int]] = [
        ("CenterNet", _original_detector(), 3),
        ("A2J resnet18", _original_joints("resnet18"), 1),
        ("A2J resnet50", _original_joints("resnet50"), 1),
    ]
    contenders = []
    for name, module, channels in named:
        size = module.contract.size
        spec = EngineSpec(module, (channels, size, size), max_batch=1)
        made = [(device, _eager(module, device)) for device in devices]
        made += [(_device(kind), make_engines(kind, [spec])[0]) for kind in kinds]
        what = f"original: {name}, {size} px"
        contenders += [_network(what, spec, engine, 1, device) for device, engine in made]
    return contenders


def original_frames(devices: Sequence[str], frame: Frame, boxes: NDArray[np.float32]) -> list[Contender]:
    """Whole frames with one and two hands, with both backbones, on each device."""
    contenders = []
    for backbone, device in product(("resnet18", "resnet50"), devices):
        steps = OriginalSteps(backbone, device)
        for hands in range(1, len(boxes) + 1):

            def call(steps: OriginalSteps = steps, hands: int = hands) -> None:
                steps.frame(frame, boxes[:hands])

            what = f"frame, {_hands(hands)}, {backbone}"
            contenders.append(Contender(what, steps.name, call, device=device))
    return contenders


def _original_detector() -> CenterNet:
    return _seeded(lambda: CenterNet(1))


def _original_joints(backbone: str) -> A2J:
    return _seeded(lambda: A2J(backbone))


def _seeded(make: Callable[[], Network]) -> Network:
    """A network in eval mode with the same random weights each time: engines keep what they converted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


# --- Ours ----------------------------------------------------------------------------------------------
def our_networks(
    devices: Sequence[str], kinds: Sequence[Kind], centernet: Path, a2j: Path
) -> list[Contender]:
    """Both networks, eager on each device and by each engine: one image, and one and two hands."""
    detector, joints = load_centernet(centernet), load_a2j(a2j)
    size, hand = detector.contract.size, joints.contract.size
    specs = [
        EngineSpec(detector, (3, size, size), max_batch=1, checkpoint=centernet),
        EngineSpec(for_engines(joints), (1, hand, hand), checkpoint=a2j),
    ]
    tasks = (("CenterNet", specs[0], 1), ("A2J, 1 hand", specs[1], 1), ("A2J, 2 hands", specs[1], 2))
    made = [(device, [_eager(detector, device), _eager(joints, device)]) for device in devices]
    made += [(_device(kind), make_engines(kind, specs)) for kind in kinds]
    return [
        _network(f"ours: {name}, {spec.input_shape[1]} px", spec, engines[specs.index(spec)], count, device)
        for name, spec, count in tasks
        for device, engines in made
    ]


def our_frames(
    kinds: Sequence[Kind],
    centernet: Path,
    a2j: Path,
    frame: Frame,
    boxes: NDArray[np.float32],
    sides: Sequence[Handedness],
) -> list[Contender]:
    """Whole frames by each engine: with the detector, and with it left out as while tracking."""
    contenders = []
    for kind in kinds:
        device = _device(kind)
        pose = HandPosePipeline(kind.name, centernet=centernet, a2j=a2j, device=device)
        for hands in range(1, len(boxes) + 1):

            def tracked(pose: HandPosePipeline = pose, hands: int = hands) -> None:
                pose.estimate(frame, boxes[:hands], sides[:hands])

            def detected(pose: HandPosePipeline = pose, hands: int = hands) -> None:
                pose.detect(frame)
                pose.estimate(frame, boxes[:hands], sides[:hands])

            for way, call in (("detected", detected), ("tracked", tracked)):
                what = f"frame, {_hands(hands)}, {way}"
                contenders.append(Contender(what, pose.engine_name, call, device=device))
    return sorted(contenders, key=lambda one: one.what)


def _eager(module: nn.Module, device: str) -> Engine:
    return EagerEngine(module, device)


def _device(kind: Kind) -> str:
    return GPU if kind.on_gpu else CPU


def _network(what: str, spec: EngineSpec, engine: Engine, count: int, device: str) -> Contender:
    batch = np.random.default_rng(0).normal(size=(count, *spec.input_shape)).astype(np.float32)
    accuracy = _accuracy(spec, engine.name)
    return Contender(what, engine.name, lambda: engine.run(batch), gflop(spec, count), accuracy, device)


def _accuracy(spec: EngineSpec, engine: str) -> str:
    for precision, proof in read_proofs(spec).items():
        figures = proof.after if precision in engine else proof.before
        return ", ".join(f"{figures[k]:.3g} {unit}" for k, unit in _FIGURES.items() if k in figures)
    return ""


def scene_with_hands() -> tuple[Frame, NDArray[np.float32], list[Handedness]]:
    """A rendered frame, the boxes (2, 4) px of two hands in it, and their sides."""
    from pipeline.synthetic.scenes import SceneGenerator

    scenes = SceneGenerator("cpu", 7).batch(8)
    stretch = np.array([CAMERA.width, CAMERA.height] * 2, np.float32) / scenes.depth.shape[-1]
    second_best = [float(seen.sort(descending=True).values[1:2].sum()) for seen in scenes.visible]
    most = int(np.argmax(second_best))  # the scene whose second hand shows best
    best = scenes.visible[most].topk(2).indices
    size = (CAMERA.width, CAMERA.height)
    depth, ir = (
        cv2.resize(image[most].numpy().astype(np.uint16), size, interpolation=cv2.INTER_NEAREST)
        for image in (scenes.depth, scenes.ir)
    )
    sides: list[Handedness] = ["right" if side else "left" for side in scenes.classes[most][best]]
    boxes = (scenes.boxes[most][best].numpy() * stretch).astype(np.float32)
    return Frame(depth, ir, CAMERA, 0, 0), boxes, sides  # type: ignore[arg-type]


def _hands(count: int) -> str:
    return "1 hand" if count == 1 else f"{count} hands"

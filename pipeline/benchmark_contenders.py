"""What the benchmark times: the networks and whole frames, the original's steps beside ours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.crop import HandCrop, find_hand
from pipeline.engines.choice import Kind, make_engines
from pipeline.engines.precision import read_proofs
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec, as_tuple, spec_of
from pipeline.frame import RENDERED_CAMERA, Frame
from pipeline.hand import Detection, Handedness
from pipeline.hand_pose import HandPosePipeline
from pipeline.networks.a2j import A2J, aggregate, anchor_grid
from pipeline.networks.centernet import CenterNet, decode_detections
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.networks.preprocess import detector_input
from pipeline.sight import Look, Pose, Sighting
from pipeline.tracking import Tracker

if TYPE_CHECKING:
    from pipeline.synthetic.scenes import SceneBatch

EAGER = "eager PyTorch"
CPU, GPU = "cpu", "cuda"
Network = TypeVar("Network", CenterNet, A2J)
_RENDERED, _SHOWS = 32, 0.3  # scenes, and the share of a hand that must be seen
_FRAMES_BEFORE = 3  # that the tracker needs to be at ease
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
    named: dict[str, CenterNet | A2J] = {
        "CenterNet": _original_detector(),
        "A2J resnet18": _original_joints("resnet18"),
        "A2J resnet50": _original_joints("resnet50"),
    }
    contenders = []
    for name, module in named.items():
        what, spec = f"original: {name}, {module.contract.size} px", spec_of(module, max_batch=1)
        contenders += [_eager(what, module, spec, 1, device) for device in devices]
        contenders += [
            _network(what, spec, make_engines(kind, [spec])[0], 1, _device(kind)) for kind in kinds
        ]
    return contenders


def original_frames(devices: Sequence[str], scenes: Mapping[int, Sequence[Scene]]) -> list[Contender]:
    """Whole frames with one and two hands, with both backbones, on each device."""
    contenders = []
    for backbone, device in product(("resnet18", "resnet50"), devices):
        steps = OriginalSteps(backbone, device)
        for hands, those in scenes.items():
            what = f"frame, {_hands(hands)}, {backbone}"
            call = _in_turn([partial(steps.frame, one.frame, one.boxes) for one in those])
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
    specs = [spec_of(detector, max_batch=1, checkpoint=centernet), spec_of(joints, checkpoint=a2j)]
    made = [(_device(kind), make_engines(kind, specs)) for kind in kinds]
    tasks = (("CenterNet", detector, 0, 1), ("A2J, 1 hand", joints, 1, 1), ("A2J, 2 hands", joints, 1, 2))
    contenders = []
    for name, module, k, count in tasks:
        what = f"ours: {name}, {module.contract.size} px"
        contenders += [_eager(what, module, specs[k], count, device) for device in devices]
        contenders += [_network(what, specs[k], engines[k], count, device) for device, engines in made]
    return contenders


def our_frames(
    kinds: Sequence[Kind], centernet: Path, a2j: Path, scenes: Mapping[int, Sequence[Scene]]
) -> list[Contender]:
    """Whole frames by each engine: each for itself, with the detector, looking for all hands and for as many
    as there are, and while the hands are tracked."""
    contenders = []
    for kind in kinds:
        device = _device(kind)
        pose = HandPosePipeline(kind.name, centernet=centernet, a2j=a2j, device=device)
        for hands, those in scenes.items():
            few = copy.copy(pose)  # the same engines
            few.max_hands = hands
            detected, wanted = (_in_turn([partial(p, one.frame) for one in those]) for p in (pose, few))
            tracked = _in_turn([_following(pose, one) for one in those])
            ways = {"detected": detected, f"detected, at most {hands}": wanted, "tracked": tracked}
            for way, call in ways.items():
                what = f"frame, {_hands(hands)}, {way}"
                contenders.append(Contender(what, pose.engine_name, call, device=device))
    return sorted(contenders, key=lambda one: one.what)


class GivenHands:
    """What tracking sees with, if the hands' places are known."""

    def __init__(self, pose: HandPosePipeline, scene: Scene) -> None:
        self._pose, self._scene = pose, scene
        self.one_sided, self.tells_side = pose.one_sided, pose.tells_side

    def see(self, frame: Frame) -> list[Sighting]:
        """The scene's hands."""
        found = zip(self._scene.boxes, self._scene.sides, strict=True)
        sightings = [(Detection(box, 1.0, side), find_hand(frame.depth, box)) for box, side in found]
        return [Sighting(one, centre) for one, centre in sightings if centre is not None]

    def read(self, frame: Frame, looks: Sequence[Look]) -> Sequence[Pose | None]:
        """By the joint network."""
        return self._pose.read(frame, looks)


def _following(pose: HandPosePipeline, scene: Scene) -> Callable[[], object]:
    """One more frame of a tracker that has found the hands and has no room for others."""
    tracker, eyes = Tracker(pose.skeleton, len(scene.boxes)), GivenHands(pose, scene)
    for _ in range(_FRAMES_BEFORE):
        tracker(scene.frame, eyes)
    return partial(tracker, scene.frame, eyes)


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """A call of the next one, after the last of the first again."""
    turn = cycle(calls)

    def call() -> object:
        return next(turn)()

    return call


def _device(kind: Kind) -> str:
    return GPU if kind.on_gpu else CPU


def _eager(what: str, module: CenterNet | A2J, spec: EngineSpec, count: int, device: str) -> Contender:
    """A network as it was trained, on all channels of its input; the spec is that of our engines."""
    channels = 3 if isinstance(module, CenterNet) else 1
    whole = EngineSpec(module, (channels, *spec.input_shape[1:]))
    contender = _network(what, whole, EagerEngine(module, device), count, device)
    return replace(contender, accuracy=_accuracy(spec, contender.engine))


def _network(what: str, spec: EngineSpec, engine: Engine, count: int, device: str) -> Contender:
    batch = np.random.default_rng(0).normal(size=(count, *spec.input_shape)).astype(np.float32)
    accuracy = _accuracy(spec, engine.name)
    return Contender(what, engine.name, lambda: engine.run(batch), gflop(spec, count), accuracy, device)


def _accuracy(spec: EngineSpec, engine: str) -> str:
    proofs = read_proofs(spec)
    known = [proof.after for precision, proof in proofs.items() if precision in engine]
    known += [proof.before for proof in proofs.values()]
    return ", ".join(f"{known[0][k]:.3g} {unit}" for k, unit in _FIGURES.items() if known and k in known[0])


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered frame, the boxes (K, 4) px of its hands, and their sides."""

    frame: Frame
    boxes: NDArray[np.float32]
    sides: Sequence[Handedness]


def scenes_with_hands(most: int = 2) -> dict[int, list[Scene]]:
    """Number of hands, 1 to `most`, -> scenes with so many that show well."""
    from pipeline.synthetic.scenes import SceneGenerator

    rendered = SceneGenerator("cpu", 7).batch(_RENDERED)
    scenes: dict[int, list[Scene]] = {count: [] for count in range(1, most + 1)}
    for number, visible in enumerate(rendered.visible):
        hands = (visible > _SHOWS).nonzero()[:, 0]
        if 1 <= len(hands) <= most:
            scenes[len(hands)].append(_scene(rendered, number, hands))
    return scenes


def _scene(rendered: SceneBatch, number: int, hands: Tensor) -> Scene:
    size = (RENDERED_CAMERA.width, RENDERED_CAMERA.height)
    stretch = np.array(size * 2, np.float32) / rendered.depth.shape[-1]
    depth, ir = (
        cv2.resize(image[number].numpy().astype(np.uint16), size, interpolation=cv2.INTER_NEAREST)
        for image in (rendered.depth, rendered.ir)
    )
    sides: list[Handedness] = ["right" if side else "left" for side in rendered.classes[number][hands]]
    boxes = (rendered.boxes[number][hands].numpy() * stretch).astype(np.float32)
    return Scene(Frame(depth, ir, RENDERED_CAMERA), boxes, sides)  # type: ignore[arg-type]


def _hands(count: int) -> str:
    return "1 hand" if count == 1 else f"{count} hands"

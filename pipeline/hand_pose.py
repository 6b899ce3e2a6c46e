"""From a frame of depth and infrared to the hands in it: detect, crop, joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.confirmation import Found, confirmed, proposals
from pipeline.constants import (
    A2J_CHECKPOINT,
    CAMERA_MIRRORED,
    CENTERNET_CHECKPOINT,
    FLESH_MM,
    RECROP_MM,
    RECROP_RAD,
    SIDE_REREAD,
    SMOOTHING,
)
from pipeline.crop import CropPose, HandCrop, find_hand
from pipeline.engines import create_engines
from pipeline.engines.spec import MAX_BATCH, EngineSpec
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Detection, Hand, Handedness, Skeleton
from pipeline.networks.a2j import A2J, aggregate, anchor_grid, for_engines
from pipeline.networks.centernet import CenterNet, decode_detections
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.networks.preprocess import detector_input
from pipeline.side_belief import evidence_of_detection
from pipeline.sight import Look, Sighting
from pipeline.tracking import Tracker

_OTHER: dict[Handedness, Handedness] = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Timings:
    """Milliseconds that the stages took for the last frame; total_ms is all of them and what lies between."""

    detect_ms: float = 0.0
    pose_ms: float = 0.0
    total_ms: float = 0.0


class HandPosePipeline:
    """Finds the hands of a frame and their joints.

    Args:
        engine: one of `pipeline.engines.ENGINES`.
        max_hands: at most so many of a frame, the ones with the best scores; None for all.
        track: for video: hands keep their identity from frame to frame, and the detector runs now and then.
        centernet, a2j: checkpoint files or networks; None for those that constants.py names.
        device: of the engine; None takes the best that is there.

    Attributes:
        track: may be changed between frames.
        smooth: whether the joints of tracked hands are filtered; may be changed between frames.
        timings: of the last frame; detect_ms is 0 if the detector did not run.

    Raises:
        HandPoseError: weights that are missing or no checkpoint; UsageError: an engine, a device or a number
            of hands that cannot be.
    """

    def __init__(
        self,
        engine: str = "auto",
        max_hands: int | None = None,
        track: bool = False,
        *,
        centernet: str | Path | CenterNet | None = None,
        a2j: str | Path | A2J | None = None,
        device: str | None = None,
    ) -> None:
        if max_hands is not None and max_hands < 1:
            raise UsageError(f"max_hands must be at least 1, found {max_hands}: leave it out for all hands")
        detector_file = hand_file = None
        if not isinstance(centernet, CenterNet):
            detector_file = Path(centernet or _default(CENTERNET_CHECKPOINT, "centernet"))
            centernet = load_centernet(detector_file)
        if not isinstance(a2j, A2J):
            hand_file = Path(a2j or _default(A2J_CHECKPOINT, "a2j"))
            a2j = load_a2j(hand_file)
        self._detector_contract, self._hand_contract = centernet.contract, a2j.contract
        size, hand_size = centernet.contract.size, a2j.contract.size
        most = MAX_BATCH if max_hands is None else min(2 * max_hands, MAX_BATCH)  # both sides of a hand
        networks = [
            EngineSpec(centernet, (3, size, size), max_batch=1, checkpoint=detector_file),
            EngineSpec(for_engines(a2j), (1, hand_size, hand_size), max_batch=most, checkpoint=hand_file),
        ]
        self._detector, self._joints = create_engines(engine, networks, device)
        self._anchors = anchor_grid(hand_size)
        self._tells_side = a2j.side_head is not None
        self._confirms = a2j.contract.least_score > 0 and a2j.contract.handedness is not None
        self._max_hands = max_hands
        self.track, self.smooth = track, SMOOTHING
        self.timings = Timings()
        self._detect_ms = 0.0
        self.reset()

    @property
    def skeleton(self) -> Skeleton:
        """Of the joints that the weights predict."""
        return self._hand_contract.skeleton

    @property
    def engine_name(self) -> str:
        """What runs the networks."""
        return self._joints.name

    def __call__(self, frame: Frame) -> list[Hand]:
        """The hands of a frame, best score first, or with tracking in the order in which they came."""
        start, self._detect_ms = perf_counter(), 0.0
        if self.track:
            hands = self._tracker(frame, self, self.smooth)
        else:
            hands = self._confirmed(frame) if self._confirms else self._hands(frame, self.detect(frame))
        pose_ms = 1e3 * (perf_counter() - start) - self._detect_ms
        self.timings = Timings(self._detect_ms, pose_ms, self._detect_ms + pose_ms)
        return hands

    def reset(self) -> None:
        """Forgets all tracks: another video begins."""
        self._tracker = Tracker(self.skeleton, self._max_hands)

    def detect(self, frame: Frame) -> list[Detection]:
        """Where hands are, best score first. Without infrared the detector sees depth only."""
        found = [one for one, _ in self._find(frame)] if self._confirms else self._detect(frame)
        return found[: self._max_hands]

    def estimate(
        self, frame: Frame, boxes: ArrayLike, handedness: Sequence[Handedness] | None = None
    ) -> list[Hand]:
        """Joints of the hands in given boxes, without the detector; a hand's score is its mean confidence.

        Args:
            boxes: (N, 4) x0 y0 x1 y1 px.
            handedness: of the N hands; None: the network's side head tells, or, if it has none, both sides
                are tried, and the one taken on which the network's anchors agree more.

        Returns:
            One hand for each box, in their order, except boxes that hold no hand in any case: not finite,
            without area or without measured depth in the image. `Hand.box` tells which is which.

        Raises:
            ValueError: boxes of another shape, or not as many sides as boxes.
        """
        boxes = np.asarray(boxes, dtype=np.float32)
        if boxes.size == 0:
            return []
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must have the shape (N, 4), x0 y0 x1 y1 in px, found {boxes.shape}")
        sides = [None] * len(boxes) if handedness is None else list(handedness)
        if len(sides) != len(boxes) or not set(sides) <= {"left", "right", None}:
            raise ValueError(f'handedness must be "left" or "right" for each of {len(boxes)} boxes')
        return self._hands(frame, [Detection(b, np.nan, side) for b, side in zip(boxes, sides, strict=True)])

    # --- What tracking sees with: `pipeline.sight.Eyes` -----------------------------------------------------

    @property
    def one_sided(self) -> bool:
        """Whether the joint network must be told the side of a hand to read it."""
        return self._hand_contract.handedness is not None

    @property
    def tells_side(self) -> bool:
        """Whether the joint network says which side it sees."""
        return self._tells_side

    def see(self, frame: Frame) -> list[Sighting]:
        """All detections with measured depth, and where their hands are."""
        if self._confirms:
            return [Sighting(one, pose.centre) for one, pose in self._find(frame)]
        found = [(one, self._centre(frame, one)) for one in self._detect(frame)]
        return [Sighting(one, centre) for one, centre in found if centre is not None]

    def read(self, frame: Frame, looks: Sequence[Look]) -> list[CropPose | None]:
        """Joints as one batch, then a second one of the hands that are better seen another way."""
        poses = self._read(frame, looks)
        self._read_again(frame, poses, self._off(poses, looks))
        return _sound(poses)

    # --- Parts ---------------------------------------------------------------------------------------------

    def _detect(self, frame: Frame) -> list[Detection]:
        start, contract = perf_counter(), self._detector_contract
        image = detector_input(frame.depth, frame.ir, contract)
        (output,) = self._detector.run(image[None])
        boxes, scores, classes = decode_detections(output[0], contract, contract.score_threshold)
        limits = np.tile(np.array([frame.camera.width, frame.camera.height], np.float32), 2)
        boxes = np.clip(boxes * (limits / np.float32(contract.size)), 0, limits)
        found = [
            Detection(box, float(score), _seen(contract.classes[k]))
            for box, score, k in zip(boxes, scores, classes, strict=True)
            if (box[:2] < box[2:]).all()
        ]
        self._detect_ms = 1e3 * (perf_counter() - start)
        return found

    def _find(self, frame: Frame) -> list[Found]:
        """What the detector proposes and the joint network confirms, best score first."""
        read = self._read_at(frame, proposals(self._detect(frame)))
        sided = [(replace(one, handedness=self._side(pose.crop)), pose) for one, pose in read]
        return confirmed(sided, frame.camera, self._hand_contract.least_score)

    def _confirmed(self, frame: Frame) -> list[Hand]:
        return [self._hand(frame.camera, *one) for one in self._find(frame)[: self._max_hands]]

    def _hands(self, frame: Frame, found: list[Detection]) -> list[Hand]:
        return [self._hand(frame.camera, *one) for one in self._read_at(frame, found)]

    def _read_at(self, frame: Frame, found: list[Detection]) -> list[Found]:
        """The detections that have joints, and those."""
        placed = [(one, self._centre(frame, one)) for one in found]
        sightings = [Sighting(one, centre) for one, centre in placed if centre is not None]
        read = self._read_told if self._tells_side else self._read_both
        poses = zip(sightings, read(frame, sightings), strict=True)
        return [(seen.detection, pose) for seen, pose in poses if pose]

    def _read_both(self, frame: Frame, sightings: list[Sighting]) -> list[CropPose | None]:
        """Hands of unknown side are read as both, and the surer reading is taken."""
        sides = [seen.detection.handedness for seen in sightings]
        tries = [
            (k, Look(seen.centre, side))
            for k, seen in enumerate(sightings)
            for side in (_OTHER if self.one_sided and sides[k] is None else (sides[k],))
        ]
        best: list[CropPose | None] = [None] * len(sightings)
        for (k, _), pose in zip(tries, self.read(frame, [look for _, look in tries]), strict=True):
            surest = best[k]
            if pose and (surest is None or pose.doubt_mm < surest.doubt_mm):
                best[k] = pose
        return best

    def _read_told(self, frame: Frame, sightings: list[Sighting]) -> list[CropPose | None]:
        """Hands are read anew as the other side if detector and side head together speak for that."""
        prior = [_prior(seen.detection) for seen in sightings]
        unmirrored = _seen(self._hand_contract.handedness)
        looks = [Look(seen.centre, seen.detection.handedness or unmirrored) for seen in sightings]
        poses = self._read(frame, looks)
        self._read_again(frame, poses, self._off(poses, looks) | self._other_side(poses, prior, 0.0))
        self._read_again(frame, poses, self._other_side(poses, prior, SIDE_REREAD))
        return _sound(poses)

    def _off(self, poses: Sequence[CropPose], looks: Sequence[Look]) -> dict[int, Look]:
        """How hands that are better seen another way should be."""
        upright = self._hand_contract.upright
        return {
            k: Look(pose.centre, look.side, pose.roll)
            for k, (pose, look) in enumerate(zip(poses, looks, strict=True))
            if np.isfinite(pose.doubt_mm)
            and (pose.moved_mm > RECROP_MM or (upright and (look.roll is None or pose.turned > RECROP_RAD)))
        }

    def _other_side(self, poses: Sequence[CropPose], prior: Sequence[float], least: float) -> dict[int, Look]:
        """How hands should be seen that are more likely of the other side, by more than `least` log-odds."""
        looks = {}
        for k, (pose, log_odds) in enumerate(zip(poses, prior, strict=True)):
            side = self._side(pose.crop)
            right = log_odds + (pose.side_log_odds or 0.0)
            if np.isfinite(pose.doubt_mm) and (-right if side == "right" else right) > least:
                looks[k] = Look(pose.centre, _OTHER[side], pose.roll)
        return looks

    def _centre(self, frame: Frame, found: Detection) -> NDArray[np.float64] | None:
        centre = find_hand(frame.depth, found.box)
        if centre is not None and self._hand_contract.outside == "far":
            centre[2] += FLESH_MM  # our crops are centred on joints, the published on surfaces
        return centre

    def _crop(self, camera: DepthCamera, look: Look) -> HandCrop:
        known, roll = self._hand_contract.handedness, look.roll if self._hand_contract.upright else None
        mirrored = known is not None and _seen(look.side) != known
        return HandCrop.around(look.centre, camera, self._hand_contract, mirrored, roll or 0.0)

    def _read_again(self, frame: Frame, poses: list[CropPose], looks: Mapping[int, Look]) -> None:
        """Puts other readings in the place of poses, by their numbers."""
        for k, pose in zip(looks, self._read(frame, list(looks.values())), strict=True):
            as_good = self._hand_contract.upright or pose.crop.mirrored != poses[k].crop.mirrored
            if as_good or pose.doubt_mm < poses[k].doubt_mm:
                poses[k] = pose

    def _read(self, frame: Frame, looks: Sequence[Look]) -> list[CropPose]:
        """A2J on the crops of all looks at once."""
        if not looks:
            return []
        crops = [self._crop(frame.camera, look) for look in looks]
        batch = np.stack([crop.take(frame.depth) for crop in crops])[:, None]  # (N, 1, S, S)
        outputs = self._joints.run(batch)
        with torch.inference_mode():
            classification, offsets, depths = map(torch.from_numpy, outputs[:3])
            voted = aggregate(classification, offsets, depths, self._anchors)
        positions = voted.positions.numpy()[..., [1, 0, 2]]  # (N, J, 3) column, row, depth
        spreads = voted.spread.numpy().astype(np.float64)
        known = outputs[3].tolist() if self._tells_side else [None] * len(crops)  # log-odds
        return [
            CropPose(crop, crop.to_image(position), spread * crop.scale_mm, self._log_odds(crop, logit))
            for crop, position, spread, logit in zip(crops, positions, spreads, known, strict=True)
        ]

    def _log_odds(self, crop: HandCrop, known: float | None) -> float | None:
        """Of right against left, from those of the hand that the network knows in the crop."""
        return known if known is None or self._side(crop) == "right" else -known

    def _side(self, crop: HandCrop) -> Handedness:
        """Of the hand that a crop is read as."""
        known = self._hand_contract.handedness
        assert known is not None
        return _seen(_OTHER[known] if crop.mirrored else known)

    def _hand(self, camera: DepthCamera, found: Detection, pose: CropPose) -> Hand:
        confidence = pose.confidence
        return Hand(
            id=None,
            box=found.box,
            score=float(confidence.mean()) if np.isnan(found.score) else found.score,
            handedness=self._side(pose.crop) if self.one_sided else found.handedness,
            joints_uvd=pose.uvd.astype(np.float32),
            joints_xyz=camera.unproject(pose.uvd).astype(np.float32),
            confidence=confidence,
            joint_names=self.skeleton.joint_names,
        )


@overload
def _seen(side: Handedness) -> Handedness: ...


@overload
def _seen(side: None) -> None: ...


def _seen(side: Handedness | None) -> Handedness | None:
    """How a person's hand looks in the camera's image, and the other way round."""
    return _OTHER[side] if CAMERA_MIRRORED and side is not None else side


def _prior(found: Detection) -> float:
    """Log-odds of right against left before a hand is read; a side that was given is certain."""
    if not np.isnan(found.score):
        return evidence_of_detection(found)
    return {"right": np.inf, "left": -np.inf, None: 0.0}[found.handedness]


def _sound(poses: Sequence[CropPose]) -> list[CropPose | None]:
    return [pose if np.isfinite(pose.doubt_mm) else None for pose in poses]


def _default(checkpoint: Path, name: str) -> Path:
    """The checkpoint that constants.py names."""
    if not checkpoint.is_file():
        raise HandPoseError(
            f"the weights {checkpoint} are missing: train them (python3 -m pipeline.training.train_{name}) "
            f"or name a checkpoint (--{name} FILE)"
        )
    return checkpoint

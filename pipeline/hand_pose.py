"""From a frame of depth and infrared to the hands in it: detect, read the joints, confirm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import ArrayLike

from pipeline.confirmation import Found, confirmed, proposals
from pipeline.constants import (
    CENTERNET_NMS_IOU,
    CPU_THREADS,
    PROPOSAL_NMS_IOU,
    SMOOTHING,
    UNCONFIRMED_SCORE,
)
from pipeline.crop import CropPose
from pipeline.detecting import HandDetector, given_hands
from pipeline.engines import create_engines
from pipeline.engines.spec import spec_of
from pipeline.errors import UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Detection, Hand, Handedness, Skeleton
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_a2j, load_centernet
from pipeline.reading import HandReader
from pipeline.result import Timings
from pipeline.sight import Look, Sighting
from pipeline.tracking import Tracker
from pipeline.weights import a2j_weights, centernet_weights


class HandPosePipeline:
    """Finds the hands of a frame and their joints.

    Args:
        engine: one of `pipeline.engines.ENGINES`.
        max_hands: at most so many of a frame; None for all. Fewer are faster: without tracking, where the
            detector is surest is looked at first, and nowhere else if all of those are hands.
        track: for video: hands keep their identity from frame to frame, and the detector runs now and then.
        centernet, a2j: checkpoint files or networks; None for those that constants.py names.
        device: of the engine; None takes the best that is there.
        threads: of the processor, that the networks may use; None for the engine's choice.

    Attributes:
        track: may be changed between frames.
        max_hands: may be changed between frames that are read each for itself.
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
        threads: int | None = CPU_THREADS,
    ) -> None:
        for name, number in (("max_hands", max_hands), ("threads", threads)):
            whole = isinstance(number, Integral) and not isinstance(number, bool)
            if number is not None and not (whole and number >= 1):
                raise UsageError(f"{name} must be a whole number from 1 on, not {number!r}: or leave it out")
        detector_file = hand_file = None
        if not isinstance(centernet, CenterNet):
            detector_file = centernet_weights(centernet)
            centernet = load_centernet(detector_file)
        if not isinstance(a2j, A2J):
            hand_file = a2j_weights(a2j)
            a2j = load_a2j(hand_file)
        networks = [
            spec_of(centernet, 1, detector_file, threads),
            spec_of(a2j, checkpoint=hand_file, threads=threads),  # more is proposed than `max_hands`
        ]
        detector, joints = create_engines(engine, networks, device)
        self._reader = HandReader(joints, a2j.contract, a2j.side_head is not None)
        overlap = PROPOSAL_NMS_IOU if self.confirms else CENTERNET_NMS_IOU
        self._detector = HandDetector(detector, centernet.contract, overlap)
        self.max_hands = max_hands
        self.track, self.smooth = track, SMOOTHING
        self.timings = Timings()
        self._detect_ms = 0.0
        self.reset()

    @property
    def skeleton(self) -> Skeleton:
        """Of the joints that the weights predict."""
        return self._reader.contract.skeleton

    @property
    def engine_name(self) -> str:
        """What runs the networks: CenterNet's engine and A2J's, if they are not alike."""
        return " and ".join(dict.fromkeys([self._detector.engine.name, self._reader.engine.name]))

    def __call__(self, frame: Frame) -> list[Hand]:
        """The hands of a frame, best score first, or with tracking in the order in which they came."""
        start, self._detect_ms = perf_counter(), 0.0
        hands = self._tracker(frame, self, self.smooth) if self.track else self._hands(frame)
        pose_ms = 1e3 * (perf_counter() - start) - self._detect_ms
        self.timings = Timings(self._detect_ms, pose_ms, self._detect_ms + pose_ms)
        return hands

    def reset(self) -> None:
        """Forgets all tracks: another video begins."""
        self._tracker = Tracker(self.skeleton, self.max_hands)

    def detect(self, frame: Frame) -> list[Detection]:
        """Where hands are, best score first. Without infrared the detector sees depth only."""
        if not self.confirms:
            return self._detect(frame)[: self.max_hands]
        return [one for one, _ in self._find(frame, self.max_hands)]

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
            without area or without measured depth in the image. `Hand.box`, float32, tells which is which.

        Raises:
            ValueError: boxes of another shape, or not as many sides as boxes.
        """
        found = self._reader.read_detections(frame, given_hands(boxes, handedness))
        return [self._hand(frame.camera, *one) for one in found]

    def propose(self, frame: Frame) -> list[Found]:
        """What the detector proposes, hands or not, with the joints read there; see `confirmation`."""
        return self._look_at(frame, proposals(self._detect(frame)))

    @property
    def confirms(self) -> bool:
        """Whether the joint network decides which of the detector's proposals are hands."""
        return self._reader.confirms

    # --- What tracking sees with: `pipeline.sight.Eyes` -----------------------------------------------------

    @property
    def one_sided(self) -> bool:
        """Whether the joint network must be told the side of a hand to read it."""
        return self._reader.one_sided

    @property
    def tells_side(self) -> bool:
        """Whether the joint network says which side it sees."""
        return self._reader.tells_side

    def see(self, frame: Frame) -> list[Sighting]:
        """All detections with measured depth, and where their hands are."""
        if self.confirms:
            return [Sighting(one, pose.centre) for one, pose in self._find(frame)]
        return self._reader.locate(frame, self._detect(frame))

    def read(self, frame: Frame, looks: Sequence[Look]) -> list[CropPose | None]:
        """Joints as one batch, then a second one of the hands that are better seen another way."""
        return self._reader.read(frame, looks)

    # --- Parts ---------------------------------------------------------------------------------------------

    def _detect(self, frame: Frame) -> list[Detection]:
        start = perf_counter()
        found = self._detector(frame)
        if not self.confirms:  # the detector alone decides
            found = [one for one in found if one.score >= UNCONFIRMED_SCORE]
        self._detect_ms = 1e3 * (perf_counter() - start)
        return found

    def _find(self, frame: Frame, most: int | None = None) -> list[Found]:
        """What the detector proposes and the joint network confirms, best score first.

        Args:
            most: hands that are wanted; if the first so many proposals are hands, no others are looked at.
        """
        proposed, least = proposals(self._detect(frame)), self._reader.contract.least_score
        first = proposed[:most]
        read = self._look_at(frame, first)
        hands = confirmed(read, frame.camera, least)
        if most is not None and len(hands) < most and len(first) < len(proposed):
            read += self._look_at(frame, proposed[most:])
            hands = confirmed(read, frame.camera, least)
        return hands[:most]

    def _look_at(self, frame: Frame, found: Sequence[Detection]) -> list[Found]:
        """Detections that have joints, with the side that these are of."""
        read = self._reader.read_detections(frame, found)
        return [(replace(one, handedness=self._reader.side(pose.crop)), pose) for one, pose in read]

    def _hands(self, frame: Frame) -> list[Hand]:
        """Each frame for itself."""
        if self.confirms:
            found = self._find(frame, self.max_hands)
        else:
            found = self._reader.read_detections(frame, self.detect(frame))
        return [self._hand(frame.camera, *one) for one in found]

    def _hand(self, camera: DepthCamera, found: Detection, pose: CropPose) -> Hand:
        confidence = pose.confidence
        return Hand(
            id=None,
            box=found.box,
            score=float(confidence.mean()) if np.isnan(found.score) else found.score,
            handedness=self._reader.side(pose.crop) if self.one_sided else found.handedness,
            joints_uvd=pose.uvd.astype(np.float32),
            joints_xyz=camera.unproject(pose.uvd).astype(np.float32),
            confidence=confidence,
            joint_names=self.skeleton.joint_names,
        )

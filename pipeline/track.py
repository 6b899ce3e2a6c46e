"""One hand through time: where it is and goes, which side it is, and how far it can be trusted."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pipeline.constants import (
    FINGER_MM,
    SMOOTHING_BETA,
    SMOOTHING_CENTRE_BETA,
    SMOOTHING_MIN_CUTOFF_HZ,
    TRACK_CLEAR_PRESENCE,
    TRACK_JUMP_MM,
    TRACK_SAME_MM,
    TRACK_TOUCHING_MM,
    TRACK_TRUST,
)
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Handedness, Skeleton, box_of
from pipeline.one_euro import HandFilter
from pipeline.side_belief import SideBelief
from pipeline.sight import Pose
from pipeline.track_quality import Quality, bone_lengths, stretch, support

FloatArray = NDArray[np.float64]

_REMEMBERED = 30  # readings whose median is the usual length of the bones
_NEWS = 0.1  # weight of a new reading in the usual confidence
_TURN = 0.6  # weight of a new velocity
_FASTEST_MM_S = 5000.0  # hands are not predicted to move faster


class Track:
    """A hand that was found, and is followed.

    Args:
        frame: in which it was found.
        pose: its joints there.
        skeleton: of the joints.
        belief: which side it is.
        score: of the detection.

    Attributes:
        id: None until a second frame confirms the hand.
        joints: (J, 3) mm as read last.
        smooth: (J, 3) mm, filtered.
        confidence: (J,) 0..1.
        roll: of the palm, see `Look`.
        velocity: (3,) mm/s.
        score: 0..1.
        trust: TRACK_TRUST at best; at 0 the track has ended.
        clear: whether the joint network clearly sees a hand.
        missed: whether the detector did not see the hand when it ran last.
        last_seen_s: when it was seen for sure, by the detector or in its joints, by the tracker's clock.
    """

    def __init__(
        self, frame: Frame, pose: Pose, skeleton: Skeleton, belief: SideBelief, score: float
    ) -> None:
        self.id: int | None = None
        self.belief = belief
        self.score = score
        self.trust = TRACK_TRUST
        self.clear = False
        self.missed = False
        self.last_seen_s = 0.0
        self.velocity = np.zeros(3)
        self._skeleton = skeleton
        self._lengths: deque[FloatArray] = deque(maxlen=_REMEMBERED)
        self._usual_confidence = float(pose.confidence.mean())
        self.joints = frame.camera.unproject(pose.uvd)
        self._start(pose)

    def _start(self, pose: Pose) -> None:
        """Forgets how the hand moved and how long its bones were."""
        self.confidence, self.roll = pose.confidence, pose.roll
        self._filter = HandFilter(SMOOTHING_MIN_CUTOFF_HZ, SMOOTHING_BETA, SMOOTHING_CENTRE_BETA)
        self.smooth = self._filter(self.joints, 0.0, pose.confidence)
        self._lengths.clear()
        self._lengths.append(bone_lengths(self.joints, self._skeleton.bones))

    def predict(self, seconds: float) -> FloatArray:
        """(J, 3) mm: where the joints should be now."""
        moved = self.joints + self.velocity * seconds
        return moved if (moved[:, 2] > 0).all() else self.joints

    def judge(self, frame: Frame, pose: Pose, joints: FloatArray, seconds: float) -> Quality:
        """How well a reading, with its joints (J, 3) mm, fits the track."""
        camera = frame.camera
        return Quality(
            support=support(frame.depth, pose.uvd, (camera.fx + camera.fy) / 2),
            confidence=float(pose.confidence.mean()) / max(self._usual_confidence, 1e-6),
            stretch=stretch(
                bone_lengths(joints, self._skeleton.bones), np.median(np.stack(self._lengths), axis=0)
            ),
            jump_mm=float(np.linalg.norm(joints.mean(axis=0) - self.predict(seconds).mean(axis=0))),
            presence=pose.presence_log_odds,
        )

    def update(self, pose: Pose, joints: FloatArray, quality: Quality, seconds: float) -> None:
        """Takes a reading with its joints (J, 3) mm."""
        self.clear = (pose.presence_log_odds or 0.0) > TRACK_CLEAR_PRESENCE and not quality.doubtful
        before, self.joints = self.joints, joints
        if quality.jump_mm > TRACK_JUMP_MM:
            self.velocity = np.zeros(3)
            self._start(pose)
            return
        velocity = (self.joints - before).mean(axis=0) / seconds
        velocity *= min(1.0, _FASTEST_MM_S / max(float(np.linalg.norm(velocity)), 1e-6))
        self.velocity = self.velocity + _TURN * (velocity - self.velocity)
        self.confidence, self.roll = pose.confidence, pose.roll
        self.smooth = self._filter(self.joints, seconds, pose.confidence)
        if not quality.doubtful:
            self._lengths.append(bone_lengths(self.joints, self._skeleton.bones))
            self._usual_confidence += _NEWS * (float(pose.confidence.mean()) - self._usual_confidence)

    def restart(self, pose: Pose) -> None:
        """After a change of sides: the joints were another hand's until now."""
        self._usual_confidence = float(pose.confidence.mean())
        self._start(pose)

    @property
    def doubted(self) -> bool:
        """Half of the trust is gone."""
        return self.trust <= TRACK_TRUST // 2

    def distance(self, other: Track) -> float:
        """Millimetres between the centres of two hands."""
        return float(np.linalg.norm(self.joints.mean(axis=0) - other.joints.mean(axis=0)))

    def may_be(self, other: Track) -> bool:
        """Whether two tracks are so near that they follow one hand; palms of two may touch."""
        return self.distance(other) < self.room(other.belief.side)

    def room(self, side: Handedness | None) -> float:
        """Millimetres around the hand's centre in which there is no other one of that side."""
        return TRACK_SAME_MM if not self.belief.contradicts(side) else TRACK_TOUCHING_MM

    def box(self, camera: DepthCamera) -> FloatArray:
        """(4,) x0 y0 x1 y1 px around the filtered joints and the flesh about them, within the image."""
        uvd = camera.project(self.smooth)
        flesh = FINGER_MM * np.array([camera.fx, camera.fy]) / np.median(uvd[:, 2])
        return box_of(uvd, flesh, camera.width, camera.height)

    def overlap(self, other: Track, camera: DepthCamera) -> float:
        """Intersection over union of the boxes of two hands."""
        first, second = self.box(camera), other.box(camera)
        sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
        shared = float(sides.clip(min=0).prod())
        areas = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod()
        return shared / max(float(areas) - shared, 1e-6)

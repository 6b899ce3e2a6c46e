"""Hands from frame to frame: when the detector looks, which hand is which, who is new and who has gone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.constants import (
    TRACK_DETECT_EVERY,
    TRACK_LONGEST_GAP_S,
    TRACK_MATCH_MM,
    TRACK_MEMORY_MM,
    TRACK_MEMORY_S,
    TRACK_OTHER_SIDE_MM,
    TRACK_SCORE_DECAY,
    TRACK_SEARCH_EVERY,
    TRACK_SHADOW_IOU,
    TRACK_TRUST,
)
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Hand, Handedness, Skeleton, centre_of
from pipeline.side_belief import Readings, SideBelief, evidence_of_detection, evidence_of_readings
from pipeline.sight import Eyes, Look, Sighting
from pipeline.track import Track

FloatArray = NDArray[np.float64]

_REMEMBERED_GAPS = 4  # between frames, of which two too long make a slow video
_USUAL_S = 1 / 30  # between frames whose time stamps do not tell
_SIDES: tuple[Handedness, ...] = ("left", "right")


class Tracker:
    """Follows the hands of a video.

    Args:
        skeleton: of the joints.
        max_hands: at most so many tracks; None for any number.
    """

    def __init__(self, skeleton: Skeleton, max_hands: int | None = None) -> None:
        self._skeleton, self._max_hands = skeleton, max_hands
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._next_id = 1
        self._now = 0.0  # seconds of video seen
        self._stamp_us: int | None = None
        self._camera: DepthCamera | None = None
        self._unseen = 0  # frames since the detector ran
        self._gaps: list[bool] = []  # the last ones: whether they were too long to follow a hand over them

    def __call__(self, frame: Frame, eyes: Eyes, smooth: bool = True) -> list[Hand]:
        """The hands of the next frame, in the order in which they came.

        Args:
            smooth: whether joints are filtered.
        """
        seconds = self._pass_time(frame)
        looked = self._detector_is_due()
        self._unseen = 0 if looked else self._unseen + 1
        sightings = _in_order(eyes.see(frame)) if looked else []
        centres = [centre_of(frame.camera.project(track.predict(seconds))) for track in self._tracks]
        seen = self._match(frame.camera, centres, sightings)
        new = self._newcomers(frame.camera, centres, [s for s in sightings if s not in seen.values()])
        for k, sighting in seen.items():
            if self._tracks[k].trust < TRACK_TRUST:
                centres[k] = sighting.centre
            self._tracks[k].belief.add(evidence_of_detection(sighting.detection))

        readings = self._read(frame, eyes, centres, new)
        for k, track in enumerate(self._tracks):
            self._follow(track, frame, readings[k], seconds, seen.get(k))
        self._doubt(frame.camera, looked, [self._tracks[k] for k in seen])
        self._end()
        for sighting, reading in zip(new, readings[len(centres) :], strict=True):
            self._begin(frame, sighting, reading)
        return [self._hand(track, frame.camera, smooth) for track in self._tracks if track.id is not None]

    # --- Time and the detector -----------------------------------------------------------------------------

    def _pass_time(self, frame: Frame) -> float:
        """Seconds since the last frame; all tracks are forgotten where another video begins."""
        passed_us = 0 if self._stamp_us is None else frame.timestamp_us - self._stamp_us
        seconds = passed_us / 1e6 if passed_us else _USUAL_S
        too_long = seconds > TRACK_LONGEST_GAP_S
        self._gaps = [*self._gaps[1 - _REMEMBERED_GAPS :], too_long]
        if seconds <= 0 or too_long or frame.camera != self._camera:
            self._tracks, self._lost, seconds = [], [], _USUAL_S
        self._stamp_us, self._camera = frame.timestamp_us, frame.camera
        self._now += seconds
        self._lost = [track for track in self._lost if self._now - track.last_seen_s <= TRACK_MEMORY_S]
        return seconds

    def _detector_is_due(self) -> bool:
        """At once where there is doubt, else every few frames, if there is room for another hand.

        It is looked for more often while one is missed.
        """
        if not self._tracks or any(t.id is None or t.missed or t.doubted for t in self._tracks):
            return True
        has_room = self._max_hands is None or len(self._tracks) < self._max_hands
        every = TRACK_SEARCH_EVERY if self._lost else TRACK_DETECT_EVERY
        return has_room and self._unseen + 1 >= every

    # --- Which is which ------------------------------------------------------------------------------------

    def _match(
        self, camera: DepthCamera, centres: Sequence[FloatArray], sightings: Sequence[Sighting]
    ) -> dict[int, Sighting]:
        """Number of the track -> its sighting: the assignment of least total distance in space."""
        if not sightings:
            return {}
        distance = _distances(camera, centres, [sighting.centre for sighting in sightings])
        for k, track in enumerate(self._tracks):
            for j, sighting in enumerate(sightings):
                if track.belief.contradicts(sighting.detection.handedness):
                    distance[k, j] += TRACK_OTHER_SIDE_MM
        pairs = zip(*linear_sum_assignment(distance.clip(max=TRACK_MATCH_MM)), strict=True)
        return {int(k): sightings[j] for k, j in pairs if distance[k, j] < TRACK_MATCH_MM}

    def _newcomers(
        self, camera: DepthCamera, centres: Sequence[FloatArray], sightings: Sequence[Sighting]
    ) -> list[Sighting]:
        """Sightings away from all tracks, as many as there is room for."""
        if not sightings:
            return []
        distance = _distances(camera, [sighting.centre for sighting in sightings], centres)
        sides = [sighting.detection.handedness for sighting in sightings]
        room = np.array([[track.room(side) for track in self._tracks] for side in sides])
        away = np.all(distance > room.reshape(distance.shape), axis=1)
        new = [sighting for sighting, is_away in zip(sightings, away, strict=True) if is_away]
        return new if self._max_hands is None else new[: max(0, self._max_hands - len(self._tracks))]

    # --- Joints --------------------------------------------------------------------------------------------

    def _read(
        self, frame: Frame, eyes: Eyes, centres: Sequence[FloatArray], new: Sequence[Sighting]
    ) -> list[Readings]:
        """Of all tracks, then of all newcomers: as both sides where nothing tells which."""
        wanted: list[tuple[FloatArray, float | None, tuple[Handedness | None, ...]]] = []
        for track, centre in zip(self._tracks, centres, strict=True):
            side = track.belief.side
            known = side and (track.belief.sure or eyes.tells_side) and not track.doubted
            wanted.append((centre, track.roll, (side,) if known else _SIDES))
        wanted += [(sighting.centre, None, _SIDES) for sighting in new]
        if not eyes.one_sided:
            wanted = [(centre, roll, (None,)) for centre, roll, _ in wanted]
        looks = [Look(centre, side, roll) for centre, roll, sides in wanted for side in sides]
        poses = iter(eyes.read(frame, looks) if looks else [])
        return [{side: pose for side in sides if (pose := next(poses))} for *_, sides in wanted]

    def _follow(
        self, track: Track, frame: Frame, readings: Readings, seconds: float, sighting: Sighting | None
    ) -> None:
        """Takes a track's new joints, if they are those of a hand."""
        side = track.belief.side
        track.belief.add(evidence_of_readings(readings))
        pose = track.belief.of(readings)
        joints = frame.camera.unproject(pose.uvd) if pose else np.empty((0, 3))
        quality = track.judge(frame, pose, joints, seconds) if pose else None
        if pose is None or quality is None or quality.empty:
            track.trust = 0
            return
        track.update(pose, joints, quality, seconds)
        if track.belief.side != side:
            track.restart(pose)
        if sighting or not quality.doubtful:
            track.last_seen_s = self._now
        if sighting:
            track.trust, track.missed = TRACK_TRUST, False
            track.score = sighting.detection.score
            if track.id is None:
                self._confirm(track)
        else:
            track.trust -= quality.doubtful

    def _doubt(self, camera: DepthCamera, looked: bool, seen: Sequence[Track]) -> None:
        """Takes trust and score from tracks that the detector overlooked, trust from those of one hand.

        A hand in the image of another one, but not at its place, may be hidden from the detector; where the
        joint network clearly sees a hand, the detector is believed only after a while.
        """
        for track in self._tracks:
            if not looked or track in seen:
                continue
            track.score *= TRACK_SCORE_DECAY
            shadowed = any(
                not track.may_be(other) and track.overlap(other, camera) > TRACK_SHADOW_IOU for other in seen
            )
            track.missed = not (shadowed or track.clear)
            if track.id is None:
                track.trust = 0
            elif not shadowed:
                track.trust -= 1 if track.clear else 2
        for first, second in combinations(self._tracks, 2):
            if not looked and first.may_be(second):
                first.trust, second.trust = first.trust - 1, second.trust - 1

    # --- Coming and going ----------------------------------------------------------------------------------

    def _begin(self, frame: Frame, sighting: Sighting, readings: Readings) -> None:
        """A new track, for the next frame to confirm, if the video is fast enough to follow it."""
        belief = SideBelief()
        belief.add(evidence_of_detection(sighting.detection))
        belief.add(evidence_of_readings(readings))
        if pose := belief.of(readings):
            self._tracks.append(Track(frame, pose, self._skeleton, belief, sighting.detection.score))
            if sum(self._gaps) > 1:
                self._confirm(self._tracks[-1])

    def _confirm(self, track: Track) -> None:
        """Gives a track its id: an old one to a hand that was lost here a moment ago."""
        near = [lost for lost in self._lost if track.distance(lost) < TRACK_MEMORY_MM]
        if track.belief.sure:
            near = [lost for lost in near if not lost.belief.contradicts(track.belief.side)]
        if near:
            old = min(near, key=track.distance)
            self._lost.remove(old)
            track.id, track.belief = old.id, old.belief
        else:
            track.id = self._next_id
            self._next_id += 1

    def _end(self) -> None:
        """Ends the tracks that are not trusted any more."""
        self._lost += [track for track in self._tracks if track.trust <= 0 and track.id is not None]
        self._tracks = [track for track in self._tracks if track.trust > 0]

    def _hand(self, track: Track, camera: DepthCamera, smooth: bool) -> Hand:
        joints = track.smooth if smooth else track.joints
        return Hand(
            id=track.id,
            box=track.box(camera).astype(np.float32),
            score=track.score,
            handedness=track.belief.side,
            joints_uvd=camera.project(joints).astype(np.float32),
            joints_xyz=joints.astype(np.float32),
            confidence=track.confidence,
            joint_names=self._skeleton.joint_names,
        )


def _in_order(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Best first, and the same order however the detector lists them."""
    return sorted(sightings, key=lambda one: (-one.detection.score, *one.detection.box.tolist()))


def _distances(camera: DepthCamera, first: Sequence[FloatArray], second: Sequence[FloatArray]) -> FloatArray:
    """(M, N) mm between M and N points in the image, px, px, mm."""
    here, there = (camera.unproject(np.reshape(points, (-1, 3))) for points in (first, second))
    return np.linalg.norm(here[:, None] - there[None], axis=2)

"""The joint network at work: it looks at hands, and again at those that are better seen another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.confirmation import Found, hopeless
from pipeline.constants import FLESH_MM, RECROP_MM, RECROP_RAD, SIDE_REREAD
from pipeline.crop import CropPose, HandCrop, find_hand
from pipeline.engines import Engine
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import OTHER_SIDE, Detection, Handedness, in_image
from pipeline.networks.a2j import anchor_grid, tally
from pipeline.networks.contracts import HandInput
from pipeline.side_belief import evidence_of_detection
from pipeline.sight import Look, Sighting


class HandReader:
    """Reads the joints of hands.

    Args:
        engine: runs A2J.
        contract: of its weights.
        tells_side: whether A2J has a side head; see `networks.inference.for_engines`.
    """

    def __init__(self, engine: Engine, contract: HandInput, tells_side: bool) -> None:
        self.engine, self.contract, self.tells_side = engine, contract, tells_side
        self._anchors = anchor_grid(contract.size).numpy()

    @property
    def one_sided(self) -> bool:
        """Whether the network must be told the side of a hand to read it."""
        return self.contract.handedness is not None

    @property
    def confirms(self) -> bool:
        """Whether the network tells hands from other things."""
        return self.contract.least_score > 0 and self.one_sided

    def locate(self, frame: Frame, found: Sequence[Detection]) -> list[Sighting]:
        """The detections with measured depth, and where their hands are."""
        placed = [(one, self._centre(frame, one)) for one in found]
        return [Sighting(one, centre) for one, centre in placed if centre is not None]

    def read_detections(self, frame: Frame, found: Sequence[Detection]) -> list[Found]:
        """The detections that have joints, and those; where the side is not given, it is found out."""
        sightings = self.locate(frame, found)
        read = self._read_told if self.tells_side else self._read_both
        poses = zip(sightings, read(frame, sightings), strict=True)
        return [(seen.detection, pose) for seen, pose in poses if pose]

    def read(self, frame: Frame, looks: Sequence[Look]) -> list[CropPose | None]:
        """Joints as one batch, then a second one of the hands that are better seen another way."""
        poses = self._look(frame, looks)
        self._look_again(frame, poses, self._off(poses, looks))
        return _sound(poses)

    def side(self, crop: HandCrop) -> Handedness:
        """Of the person's hand that a crop is read as, by a one-sided network."""
        known = self.contract.handedness
        assert known is not None
        return in_image(OTHER_SIDE[known] if crop.mirrored else known)

    # --- Which side ----------------------------------------------------------------------------------------

    def _read_both(self, frame: Frame, sightings: list[Sighting]) -> list[CropPose | None]:
        """Hands of unknown side are read as both, and the surer reading is taken."""
        sides = [seen.detection.handedness for seen in sightings]
        tries = [
            (k, Look(seen.centre, side))
            for k, seen in enumerate(sightings)
            for side in (OTHER_SIDE if self.one_sided and sides[k] is None else (sides[k],))
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
        unmirrored = in_image(self.contract.handedness)
        looks = [Look(seen.centre, seen.detection.handedness or unmirrored) for seen in sightings]
        poses = self._look(frame, looks)
        again = self._off(poses, looks) | self._other_side(poses, prior, 0.0)
        self._look_again(frame, poses, self._hopeful(sightings, poses, again))
        again = self._other_side(poses, prior, SIDE_REREAD)
        self._look_again(frame, poses, self._hopeful(sightings, poses, again))
        return _sound(poses)

    def _hopeful(
        self, sightings: Sequence[Sighting], poses: Sequence[CropPose], again: dict[int, Look]
    ) -> dict[int, Look]:
        """Without the looks at what will not be confirmed in any case."""
        if not self.confirms:
            return again
        return {k: look for k, look in again.items() if not hopeless(sightings[k].detection.score, poses[k])}

    # --- How hands should be seen --------------------------------------------------------------------------

    def _off(self, poses: Sequence[CropPose], looks: Sequence[Look]) -> dict[int, Look]:
        """How hands that are better seen another way should be."""
        upright = self.contract.upright
        return {
            k: Look(pose.centre, look.side, pose.roll)
            for k, (pose, look) in enumerate(zip(poses, looks, strict=True))
            if pose.worth_another_look
            and (pose.moved_mm > RECROP_MM or (upright and (look.roll is None or pose.turned > RECROP_RAD)))
        }

    def _other_side(self, poses: Sequence[CropPose], prior: Sequence[float], least: float) -> dict[int, Look]:
        """How hands should be seen that are more likely of the other side, by more than `least` log-odds."""
        looks = {}
        for k, (pose, log_odds) in enumerate(zip(poses, prior, strict=True)):
            side = self.side(pose.crop)
            right = log_odds + (pose.side_log_odds or 0.0)
            if pose.worth_another_look and (-right if side == "right" else right) > least:
                looks[k] = Look(pose.centre, OTHER_SIDE[side], pose.roll)
        return looks

    # --- Looking -------------------------------------------------------------------------------------------

    def _look_again(self, frame: Frame, poses: list[CropPose], looks: Mapping[int, Look]) -> None:
        """Puts other readings in the place of poses, by their numbers."""
        for k, pose in zip(looks, self._look(frame, list(looks.values())), strict=True):
            as_good = self.contract.upright or pose.crop.mirrored != poses[k].crop.mirrored
            if as_good or pose.doubt_mm < poses[k].doubt_mm:
                poses[k] = pose

    def _look(self, frame: Frame, looks: Sequence[Look]) -> list[CropPose]:
        """A2J on the crops of all looks at once."""
        if not looks:
            return []
        crops = [self._crop(frame.camera, look) for look in looks]
        batch = np.stack([crop.take(frame.depth) for crop in crops])[:, None]  # (N, 1, S, S)
        outputs = self.engine.run(batch)
        classification, offsets, depths = outputs[:3]
        voted, spreads = tally(classification, offsets, depths, self._anchors)
        positions = voted[..., [1, 0, 2]]  # (N, J, 3) column, row, depth
        unknown = [None] * len(crops)
        known, present = ([*(part.tolist() for part in outputs[3:]), unknown, unknown])[:2]  # log-odds
        return [
            self._pose(frame.camera, *one)
            for one in zip(crops, positions, spreads, known, present, strict=True)
        ]

    def _pose(
        self,
        camera: DepthCamera,
        crop: HandCrop,
        position: NDArray[np.float32],
        spread: NDArray[np.float32],
        known: float | None,
        present: float | None,
    ) -> CropPose:
        uvd, spread_mm = crop.to_image(position), spread.astype(np.float64) * crop.scale_mm
        # A joint where the lens model does not hold is as good as unknown, however the votes agree.
        spread_mm = np.where(camera.reaches(uvd), spread_mm, crop.scale_mm * self.contract.size)
        return CropPose(crop, uvd, spread_mm, self._log_odds(crop, known), present)

    def _centre(self, frame: Frame, found: Detection) -> NDArray[np.float64] | None:
        centre = find_hand(frame.depth, found.box)
        if centre is not None and self.contract.outside == "far":
            centre[2] += FLESH_MM  # our crops are centred on joints, the published on surfaces
        return centre

    def _crop(self, camera: DepthCamera, look: Look) -> HandCrop:
        known, roll = self.contract.handedness, look.roll if self.contract.upright else None
        mirrored = known is not None and in_image(look.side) != known
        return HandCrop.around(look.centre, camera, self.contract, mirrored, roll or 0.0)

    def _log_odds(self, crop: HandCrop, known: float | None) -> float | None:
        """Of right against left, from those of the hand that the network knows in the crop."""
        return known if known is None or self.side(crop) == "right" else -known


def _prior(found: Detection) -> float:
    """Log-odds of right against left before a hand is read; a side that was given is certain."""
    if not np.isnan(found.score):
        return evidence_of_detection(found)
    return {"right": np.inf, "left": -np.inf, None: 0.0}[found.handedness]


def _sound(poses: Sequence[CropPose]) -> list[CropPose | None]:
    return [pose if np.isfinite(pose.doubt_mm) else None for pose in poses]

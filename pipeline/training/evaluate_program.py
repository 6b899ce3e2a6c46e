"""Which hands the whole program finds in rendered scenes: what CenterNet proposes and A2J confirms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.confirmation import confirmed
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Handedness
from pipeline.hand_pose import HandPosePipeline
from pipeline.synthetic.scenes import SceneBatch
from pipeline.training.evaluate_synthetic import FRAME_PX, LOWEST_SCORE, box_figures, to_be_found
from pipeline.training.metrics import ImageBoxes

CAMERA = DepthCamera(640, 576, 504.6, 504.7, 320.0, 288.0)  # about that of most scenes
_CLASSES: dict[Handedness | None, int] = {"left": 0, "right": 1}  # as the scenes number them


class SceneFrame(NamedTuple):
    """A rendered scene as the program sees it.

    Args:
        frame: of 640 x 576 px.
        boxes: (K, 4) px of its hands.
        sides: (K,) 0 left, 1 right.
        wanted: (K,) which of them are to be found: not too small, not hidden.
    """

    frame: Frame
    boxes: NDArray[np.float64]
    sides: NDArray[np.int64]
    wanted: NDArray[np.bool_]


def scene_frames(batch: SceneBatch) -> Iterator[SceneFrame]:
    """Scenes as frames of `CAMERA`."""
    scenes = zip(batch.depth, batch.ir, batch.boxes, batch.classes, batch.visible, strict=True)
    for depth, ir, boxes, sides, visible in scenes:
        near, bright = (
            np.asarray(
                cv2.resize(image.numpy(), (CAMERA.width, CAMERA.height), interpolation=cv2.INTER_NEAREST)
            ).astype(np.uint16)
            for image in (depth, ir)
        )
        corners = boxes.double().numpy() * FRAME_PX
        wanted = to_be_found(corners, visible.numpy())
        frame = Frame(near, bright if bright.any() else None, CAMERA, 0, 0)
        yield SceneFrame(frame, corners, sides.numpy(), wanted)


def program_figures(pose: HandPosePipeline, batches: Sequence[SceneBatch]) -> dict[str, float]:
    """The figures of `box_figures`, each scene for itself.

    Args:
        pose: whose joint network confirms hands.
    """
    scenes = [scene for batch in batches for scene in scene_frames(batch)]
    images = [_found(pose, scene) for scene in tqdm(scenes, unit="scene", disable=None)]
    return box_figures(images, batches)


def _found(pose: HandPosePipeline, scene: SceneFrame) -> ImageBoxes:
    hands = [one for one, _ in confirmed(pose.propose(scene.frame), CAMERA, LOWEST_SCORE)]
    return ImageBoxes(
        np.array([hand.box for hand in hands]).reshape(-1, 4),
        np.array([hand.score for hand in hands]),
        scene.boxes,
        np.array([_CLASSES[hand.handedness] for hand in hands], np.int64),
        scene.sides,
        ~scene.wanted,
    )

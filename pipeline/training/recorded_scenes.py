"""Recorded and annotated frames as training data for the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cameras.folder import FolderCamera
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import Frame
from pipeline.hand import Handedness
from pipeline.training.annotation_files import Annotation, read_annotations
from pipeline.training.augment_recorded import LabelledImage

Classes = tuple[Handedness | None, ...]

ONE_CLASS: Classes = (None,)
SIDES: Classes = ("left", "right")


@dataclass(frozen=True, eq=False)
class RecordedFrames:
    """Annotated frames of recorded folders.

    Args:
        frames: for each frame its folder, its number in there and its annotation.
    """

    frames: list[tuple[FolderCamera, int, Annotation]]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def classes(self) -> Classes:
        """What the labels tell apart.

        Raises:
            HandPoseError: some tell left from right, others do not.
        """
        found = {label for _, _, annotation in self.frames for label in annotation.labels}
        if found <= {"hand"}:
            return ONE_CLASS
        if found <= {"left", "right"}:
            return SIDES
        raise HandPoseError(
            f"the labels are {', '.join(sorted(found))}: use only hand, or only left and right"
        )

    def frame(self, number: int) -> Frame:
        camera, index, _ = self.frames[number]
        return camera.read(index)

    def annotation(self, number: int) -> Annotation:
        return self.frames[number][2]

    def labelled(self, number: int, classes: Classes) -> LabelledImage:
        """A frame with its hands as numbers of the classes.

        Raises:
            HandPoseError: the frame cannot be read.
        """
        frame, hands = self.frame(number), self.annotation(number)
        ir = np.zeros_like(frame.depth) if frame.ir is None else frame.ir
        numbers = [SIDES.index("left" if label == "left" else "right") for label in hands.labels]
        return LabelledImage(
            np.stack([frame.depth, ir]).astype(np.float32),
            hands.boxes,
            np.array(numbers if len(classes) > 1 else [0] * len(numbers), dtype=np.int64),
            np.where(hands.difficult, -1, 1).astype(np.int64),
        )

    def spread(self, count: int) -> RecordedFrames:
        """At most `count` of the frames, evenly spread over all."""
        chosen = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)
        return RecordedFrames([self.frames[k] for k in dict.fromkeys(chosen.tolist())])


def read_recorded(folders: Sequence[Path], name: str) -> RecordedFrames:
    """Frames that an annotation file of each folder names.

    Args:
        folders: as the recorder writes them, with the files of `pipeline.training.annotations`.
        name: train.json or val.json.

    Raises:
        UsageError: a folder without frames or annotations; HandPoseError: broken ones.
    """
    frames: list[tuple[FolderCamera, int, Annotation]] = []
    for folder in folders:
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder / name} is missing: make it with python3 -m pipeline.training.annotations {folder}"
            )
        camera = FolderCamera(folder)
        indices = {image: index for index, image in enumerate(camera.names)}
        annotations = read_annotations(folder / name)
        missing = [one.image for one in annotations if one.image not in indices]
        if missing:
            raise HandPoseError(
                f"{folder / name} names {len(missing)} images that are not in {folder}, first {missing[0]}: "
                "annotate the folder again"
            )
        frames += [(camera, indices[one.image], one) for one in annotations]
    return RecordedFrames(frames)

"""Boxes drawn by the detector, to be corrected in labelImg.

python3 -m pipeline.training.prelabel DIR [--handedness]

DIR is a recorded folder. In labelImg open its `casted_ir_image`, with `annotation` as the folder to save in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.cameras.folder import FolderCamera
from pipeline.errors import command
from pipeline.frame import Frame
from pipeline.hand import Detection
from pipeline.training.annotation_files import Annotation, write_voc


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    from pipeline.hand_pose import HandPosePipeline

    detect = HandPosePipeline(engine=options.engine, centernet=options.centernet).detect
    written, kept = prelabel(options.data, detect, options.handedness)
    print(f"{written} annotations written, {kept} kept as they were: {options.data / 'annotation'}")
    return 0


def prelabel(
    folder: Path, detect: Callable[[Frame], Sequence[Detection]], handedness: bool = False
) -> tuple[int, int]:
    """Writes a VOC file for each recorded frame that has none yet.

    Args:
        folder: as the recorder writes it.
        detect: finds hands, like `HandPosePipeline.detect`.
        handedness: labels the boxes left and right, where the detector tells, instead of hand.

    Returns:
        Numbers of annotations written, and of those that were there before.

    Raises:
        HandPoseError: the folder or a frame cannot be read.
    """
    annotation_folder = folder / "annotation"
    written = kept = 0
    with FolderCamera(folder) as camera:
        annotation_folder.mkdir(exist_ok=True)
        for frame, name in zip(camera, camera.names, strict=False):
            path = (annotation_folder / name).with_suffix(".xml")
            if path.exists():
                kept += 1
                continue
            write_voc(path, _annotate(name, frame, detect(frame), handedness))
            written += 1
    return written, kept


def _annotate(name: str, frame: Frame, detections: Sequence[Detection], handedness: bool) -> Annotation:
    height, width = frame.depth.shape
    boxes = np.array([d.box for d in detections], dtype=np.float64).reshape(-1, 4)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    labels = tuple((d.handedness if handedness else None) or "hand" for d in detections)
    return Annotation(name, width, height, boxes, labels, np.zeros(len(boxes), dtype=bool))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m pipeline.training.prelabel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--handedness", action="store_true", help="label left and right instead of hand")
    parser.add_argument("--centernet", type=Path, metavar="FILE", help="other weights")
    parser.add_argument("--engine", default="auto", help="auto, torch, tensorrt, openvino or onnx")
    return parser


if __name__ == "__main__":
    sys.exit(main())

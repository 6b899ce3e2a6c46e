"""Boxes around hands in the forms that tools write: Pascal VOC, COCO, and centernet_kinect's JSON.

Pixels: an `Annotation` holds edges, x0 y0 x1 y1 with the first pixel's corner at 0 and x1, y1 behind the last
pixel. VOC counts pixels from 1 and includes the last one: xmin = x0 + 1, xmax = x1. The JSON of
centernet_kinect is VOC minus 1, so it includes the last pixel as well: x0, y0, x1 - 1, y1 - 1. COCO's
x, y, width, height are edges already.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET  # to write; reading goes through defusedxml
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HandPoseError, UsageError
from pipeline.training.metrics import ImageBoxes

Boxes = NDArray[np.float64]

_FROM_ONE = np.array([1, 1, 0, 0])  # VOC minus edges
_LAST_PIXEL = np.array([0, 0, 1, 1])  # edges minus the boxes of train.json


@dataclass(frozen=True, eq=False)
class Annotation:
    """The hands in one image.

    Args:
        image: file name, without folders.
        width, height: of the image, px.
        boxes: (K, 4) edges, px.
        labels: K names, lower case.
        difficult: (K,) bool: hands that need not be found.
    """

    image: str
    width: int
    height: int
    boxes: Boxes
    labels: tuple[str, ...]
    difficult: NDArray[np.bool_]


def read_annotations(path: str | Path) -> list[Annotation]:
    """Annotations in order of the images' names.

    Args:
        path: a folder of VOC files, one VOC file, a COCO file, or train.json or val.json.

    Raises:
        UsageError: there is nothing at the path.
        HandPoseError: a file is broken; the sentence names it.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() == ".xml")
        if not files:
            raise UsageError(f"{path} holds no .xml files: give a folder that labelImg saved in")
        annotations = [read_voc(file) for file in files]
    elif path.suffix.lower() == ".xml":
        annotations = [read_voc(path)]
    else:
        content = _read_json(path)
        try:
            annotations = _from_coco(content) if isinstance(content, dict) else _from_list(path, content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise HandPoseError(
                f"{path} is neither COCO nor train.json ({_reason(error)}): check it"
            ) from None
    return sorted(annotations, key=lambda annotation: annotation.image)


# --- Pascal VOC ----------------------------------------------------------------------------------------
def read_voc(path: Path) -> Annotation:
    """One file of labelImg. Entities and document types are refused, so no file can grow when it is read.

    Raises:
        HandPoseError: not such a file.
    """
    from defusedxml import ElementTree, common

    try:
        root = ElementTree.parse(path, forbid_dtd=True).getroot()
        if root is None or root.tag != "annotation":
            raise ValueError("its root is not <annotation>")
        name = root.findtext("filename") or root.findtext("path") or path.stem
        size = int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
        objects = root.findall("object")
        boxes = [[_corner(thing, tag) for tag in ("xmin", "ymin", "xmax", "ymax")] for thing in objects]
        edges = np.array(boxes, dtype=np.float64).reshape(-1, 4) - _FROM_ONE
        labels = [thing.findtext("name") or "" for thing in objects]
        difficult = [thing.findtext("difficult") == "1" for thing in objects]
        return _annotation(name, size, edges, labels, difficult)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give a file of labelImg") from None
    except (ET.ParseError, common.DefusedXmlException, ValueError, LookupError) as error:
        raise HandPoseError(
            f"{path} is not a Pascal VOC annotation ({_reason(error)}): save it from labelImg again"
        ) from None


def write_voc(path: Path, annotation: Annotation, folder: str = "casted_ir_image") -> None:
    """One file that labelImg opens.

    Args:
        folder: of the image, beside the file's own folder.
    """
    root = ET.Element("annotation")
    values: dict[str, Any] = {
        "folder": folder,
        "filename": annotation.image,
        "path": f"../{folder}/{annotation.image}",
        "source": {"database": "Unknown"},
        "size": {"width": annotation.width, "height": annotation.height, "depth": 1},
        "segmented": 0,
    }
    _append(root, values)
    for box, label, difficult in zip(annotation.boxes, annotation.labels, annotation.difficult, strict=True):
        corners = np.rint(box).astype(int) + _FROM_ONE
        bounds = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners.tolist(), strict=True))
        fields = {"pose": "Unspecified", "truncated": 0, "difficult": int(difficult), "bndbox": bounds}
        _append(root, {"object": {"name": label, **fields}})
    ET.indent(root, space="\t")
    ET.ElementTree(root).write(path, encoding="utf-8")


def _append(parent: ET.Element, values: dict[str, Any]) -> None:
    for tag, value in values.items():
        child = ET.SubElement(parent, tag)
        if isinstance(value, dict):
            _append(child, value)
        else:
            child.text = str(value)


def _corner(thing: Any, tag: str) -> float:
    text = thing.findtext(f"bndbox/{tag}")
    if text is None:
        raise ValueError(f"a box lacks {tag}")
    return float(text)


# --- JSON ----------------------------------------------------------------------------------------------
def as_json(
    annotation: Annotation, label_map: dict[str, int], folder: str = "casted_ir_image"
) -> dict[str, Any]:
    """An entry of train.json or val.json; `difficult` is there only where a hand is."""
    boxes = np.rint(annotation.boxes).astype(int) - _LAST_PIXEL
    entry = {
        "img_path": f"{folder}/{annotation.image}",
        "chw": [1, annotation.height, annotation.width],
        "boxes": boxes.tolist(),
        "labels": [label_map[label] for label in annotation.labels],
    }
    return {**entry, "difficult": annotation.difficult.tolist()} if annotation.difficult.any() else entry


def match_predictions(path: Path, truth: Sequence[Annotation]) -> list[ImageBoxes]:
    """A detector's answers beside annotations; images without an answer count as empty.

    Args:
        path: JSON list of objects with `img_path`, `boxes` as in train.json, and `scores`.

    Raises:
        HandPoseError: another file, or one that answers for none of the images.
    """
    answers: dict[str, tuple[Boxes, NDArray[np.float64]]] = {}
    try:
        for entry in _read_json(path):
            boxes, scores = _edges(entry["boxes"]), np.array(entry["scores"], dtype=np.float64).reshape(-1)
            if len(boxes) != len(scores) or not np.isfinite(scores).all():
                raise ValueError(f"{len(boxes)} boxes with {np.isfinite(scores).sum()} finite scores")
            answers[_base_name(_image_of(entry))] = boxes, scores
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HandPoseError(
            f"{path} is no list of objects with img_path, boxes and scores ({_reason(error)}): check it"
        ) from None
    if answers.keys().isdisjoint(annotation.image for annotation in truth):
        raise HandPoseError(
            f"{path} has answers for {len(answers)} images, but none of the {len(truth)} annotated ones: "
            "give files that belong together"
        )
    nothing = np.zeros((0, 4)), np.zeros(0)
    return [
        ImageBoxes(*answers.get(hands.image, nothing), hands.boxes, ignored=hands.difficult)
        for hands in truth
    ]


def _from_list(path: Path, content: Any) -> list[Annotation]:
    """The form of centernet_kinect; numbers of the labels are looked up in the label_map.json beside it."""
    map_path = path.parent / "label_map.json"
    label_map = _read_json(map_path) if map_path.exists() else {"hand": 1}
    names = {int(number): str(name) for name, number in label_map.items()}
    annotations = []
    for entry in content:
        _, height, width = entry["chw"]
        boxes = _edges(entry["boxes"])
        numbers = entry.get("labels", [1] * len(boxes))
        labels = [names.get(number, f"class_{number}") for number in numbers]
        difficult = entry.get("difficult", [False] * len(boxes))
        annotations.append(_annotation(_image_of(entry), (width, height), boxes, labels, difficult))
    return annotations


def _from_coco(content: dict[str, Any]) -> list[Annotation]:
    names = {category["id"]: category["name"] for category in content["categories"]}
    of_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for thing in content["annotations"]:
        of_image[thing["image_id"]].append(thing)
    annotations = []
    for image in content["images"]:
        things = of_image[image["id"]]
        boxes = np.array([thing["bbox"] for thing in things], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [names[thing["category_id"]] for thing in things]
        crowd = [bool(thing.get("iscrowd", 0)) for thing in things]
        size = image["width"], image["height"]
        annotations.append(_annotation(image["file_name"], size, boxes, labels, crowd))
    return annotations


def _edges(boxes: Any) -> Boxes:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4) + _LAST_PIXEL


def _image_of(entry: dict[str, Any]) -> str:
    return entry["img_path"] if "img_path" in entry else entry["image"]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give a file of annotations") from None
    except (ValueError, RecursionError) as error:
        raise HandPoseError(f"{path} is not JSON ({_reason(error)}): check it") from None


# --- All -----------------------------------------------------------------------------------------------
def _annotation(
    image: str, size: tuple[int, int], boxes: Boxes, labels: Sequence[str], difficult: Sequence[bool]
) -> Annotation:
    """Checked, and clipped to the image; what is left of less than a pixel is left out.

    Raises:
        ValueError: the text says what is wrong.
    """
    (width, height), name = map(int, size), _base_name(str(image))
    if width <= 0 or height <= 0:
        raise ValueError(f"the size of {name[:80]} is {width}x{height} px")
    if not len(boxes) == len(labels) == len(difficult):
        raise ValueError(f"{name[:80]} has {len(boxes)} boxes, but {len(labels)} labels")
    if not np.isfinite(boxes).all():
        raise ValueError(f"a box of {name[:80]} is not finite")
    clipped = np.clip(boxes, 0, [width, height, width, height])
    keep = np.flatnonzero((clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1))
    names = tuple(str(labels[int(k)]).lower().strip() for k in keep)
    return Annotation(name, width, height, clipped[keep], names, np.array(difficult, dtype=bool)[keep])


def _base_name(path: str) -> str:
    return re.split(r"[\\/]", path)[-1]


def _reason(error: Exception) -> str:
    lacks = isinstance(error, KeyError)
    text = str(error.args[0] if error.args else type(error).__name__).replace("\n", " ")[:120]
    return f"it lacks {text}" if lacks else text or type(error).__name__

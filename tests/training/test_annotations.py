"""Boxes through VOC, COCO and JSON: nothing moves, nothing is lost, nothing hostile is expanded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import Frame
from pipeline.hand import Detection
from pipeline.training.annotation_files import Annotation, as_json, read_annotations, read_voc, write_voc
from pipeline.training.annotations import label_map, main, split
from pipeline.training.prelabel import prelabel
from tests.cameras.folders import write_folder

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "azure_kinect"
AS_LABELIMG_WRITES = """<annotation verified="yes">
	<folder>casted_ir_image</folder>
	<filename>0000012.png</filename>
	<path>/home/someone/data/casted_ir_image/0000012.png</path>
	<source><database>Unknown</database></source>
	<size><width>640</width><height>576</height><depth>1</depth></size>
	<segmented>0</segmented>
	<object>
		<name> Hand</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
		<bndbox><xmin>346</xmin><ymin>192</ymin><xmax>385</xmax><ymax>236</ymax></bndbox>
	</object>
	<object>
		<name>hand</name><pose>Unspecified</pose><truncated>1</truncated><difficult>1</difficult>
		<bndbox><xmin>600</xmin><ymin>1</ymin><xmax>700</xmax><ymax>20</ymax></bndbox>
	</object>
</annotation>"""


def annotation(name: str = "0.png", boxes: Any = ((10, 20, 30, 50),), label: str = "hand") -> Annotation:
    edges = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return Annotation(name, 640, 576, edges, (label,) * len(edges), np.zeros(len(edges), dtype=bool))


def test_voc_is_read_as_centernet_kinect_reads_it(tmp_path: Path) -> None:
    # The original subtracts 1 from every corner; what is outside of the image is cut off.
    path = tmp_path / "0000012.xml"
    path.write_text(AS_LABELIMG_WRITES)
    hands = read_voc(path)
    assert (hands.image, hands.width, hands.height) == ("0000012.png", 640, 576)
    assert hands.labels == ("hand", "hand")
    assert hands.difficult.tolist() == [False, True]
    entry = as_json(hands, {"hand": 1})
    assert entry == {
        "img_path": "casted_ir_image/0000012.png",
        "chw": [1, 576, 640],
        "boxes": [[345, 191, 384, 235], [599, 0, 639, 19]],
        "labels": [1, 1],
        "difficult": [False, True],
    }


whole_boxes = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 500), st.integers(1, 40), st.integers(1, 76)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    max_size=4,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=whole_boxes, name=st.sampled_from(["0000001.png", "a & b <c>.png", "ü.png"]))
def test_boxes_come_back_from_every_form(tmp_path: Path, boxes: list[tuple[int, ...]], name: str) -> None:
    hands = annotation(name, boxes)
    write_voc(tmp_path / "one.xml", hands)
    (tmp_path / "train.json").write_text(json.dumps([as_json(hands, {"hand": 1})]))
    things = [
        {"image_id": 7, "category_id": 3, "bbox": [x0, y0, x1 - x0, y1 - y0]} for x0, y0, x1, y1 in boxes
    ]
    coco = {
        "images": [{"id": 7, "file_name": f"images/{name}", "width": 640, "height": 576}],
        "annotations": things,
        "categories": [{"id": 3, "name": "Hand"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    for file in ("one.xml", "train.json", "coco.json"):
        [back] = read_annotations(tmp_path / file)
        np.testing.assert_array_equal(back.boxes, hands.boxes)
        assert (back.image, back.width, back.height, back.labels) == (name, 640, 576, hands.labels)


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="development data is absent")
def test_real_annotations_are_read() -> None:
    train, validation = (read_annotations(REAL / f"hand_boxes_{name}.json") for name in ("train", "val"))
    assert len(train) + len(validation) == 3997
    assert sum(len(hands.boxes) for hands in train + validation) == 11127


def test_split_is_the_same_again_and_blocks_stay_together() -> None:
    hands = [annotation(f"{n:07}.png") for n in range(100)]
    train, validation = split(hands, 0.2, seed=1)
    assert (len(train), len(validation)) == (80, 20)
    assert {a.image for a in train}.isdisjoint(a.image for a in validation)
    assert [a.image for a in split(hands, 0.2, seed=1)[1]] == [a.image for a in validation]
    assert [a.image for a in split(hands, 0.2, seed=2)[1]] != [a.image for a in validation]
    numbers = [int(a.image[:7]) for a in split(hands, 0.2, block=10)[1]]
    assert len({n // 10 for n in numbers}) == 2
    assert len(numbers) == 20
    assert not split(hands, 0.0)[1]
    for impossible in ({"share": 1.5}, {"seed": -1}, {"block": 0}):
        with pytest.raises(UsageError, match="cannot split"):
            split(hands, **impossible)
    assert not split(hands, 1e-320)[1]


def test_neighbours_in_a_recording_do_not_stand_on_both_sides() -> None:
    hands = [annotation(f"{n:07}.png") for n in range(1200)]
    for seed in range(5):
        validation = {int(a.image[:7]) for a in split(hands, seed=seed)[1]}
        assert len(validation) == 120
        assert sum(n + 1 not in validation for n in validation) <= 4  # seconds that end


def test_small_recordings_have_their_share_in_shorter_blocks() -> None:
    cases = ((10, 0.1, 1), (100, 0.1, 10), (121, 0.25, 30), (4, 0.5, 2), (10, 0.9, 9), (2, 0.1, 0))
    for count, share, expected in cases:
        hands = [annotation(f"{n:07}.png") for n in range(count)]
        train, validation = split(hands, share)
        assert (len(train), len(validation)) == (count - expected, expected)
        if share == 0.1:  # in one block
            numbers = [int(a.image[:7]) for a in validation]
            assert numbers[-1:] == [n + expected - 1 for n in numbers[:1]]


@pytest.mark.parametrize("count", [31, 150, 448, 450, 745, 2000])
def test_any_number_of_images_has_its_share(count: int) -> None:
    hands = [annotation(f"{n:07}.png") for n in range(count)]
    for share in (0.05, 0.1, 0.3):
        _, validation = split(hands, share)
        assert abs(len(validation) - share * count) <= max(3.0, 0.02 * count)
        numbers = np.array([int(a.image[:7]) for a in validation])
        breaks = int((np.diff(numbers) > 1).sum()) + 1
        assert breaks <= share * count / 30 + 1


def test_labels_decide_the_classes() -> None:
    assert label_map([annotation()]) == {"background": 0, "hand": 1}
    sides = [annotation(label="left"), annotation(label="right")]
    assert label_map(sides) == {"background": 0, "left": 1, "right": 2}
    with pytest.raises(HandPoseError, match=r"hand 1x, glove 1x"):
        label_map([annotation(), annotation(label="glove")])
    assert label_map([annotation(label="glove")], ["hand", "glove"])["glove"] == 2


def test_recorded_folder_becomes_train_and_val(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "annotation").mkdir()
    for n in range(10):
        write_voc(
            tmp_path / "annotation" / f"{n}.xml", annotation(f"{n}.png", [(n, n, n + 20, n + 20)] * (n > 0))
        )
    assert main([str(tmp_path)]) == 0
    train, validation = (json.loads((tmp_path / name).read_text()) for name in ("train.json", "val.json"))
    assert json.loads((tmp_path / "label_map.json").read_text()) == {"background": 0, "hand": 1}
    assert (len(train), len(validation)) == (9, 1)
    assert sorted(len(entry["boxes"]) for entry in train + validation) == [0] + [1] * 9
    assert "9 images to train and 1 to validate" in capsys.readouterr().out
    assert {a.image for a in read_annotations(tmp_path / "train.json")} == {e["img_path"][-5:] for e in train}


@pytest.mark.parametrize(("share", "hint"), [("0.1", "a larger --validation"), ("0.5", ""), ("0", "")])
def test_too_few_images_to_validate_with_are_told(
    share: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        write_voc(tmp_path / f"{n}.xml", annotation(f"{n}.png"))
    assert main([str(tmp_path), "--validation", share]) == 0
    told = capsys.readouterr().err
    assert hint in told
    assert bool(hint) == bool(told)


def test_detections_become_annotations_and_corrected_ones_stay(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", count=3)
    corrected = folder / "annotation" / "0000001.xml"
    corrected.parent.mkdir()
    corrected.write_text("corrected by hand")

    def detect(frame: Frame) -> list[Detection]:
        box = np.array([2.4, 3, frame.depth.shape[1] + 9, 12.6], dtype=np.float32)
        return [Detection(box, 0.9, "left")] * (frame.index > 0)

    assert prelabel(folder, detect) == (2, 1)
    assert corrected.read_text() == "corrected by hand"
    assert len(read_voc(folder / "annotation" / "0000000.xml").boxes) == 0
    hands = read_voc(folder / "annotation" / "0000002.xml")
    assert hands.image == "0000002.png"
    np.testing.assert_array_equal(hands.boxes, [[2, 3, hands.width, 13]])
    assert hands.labels == ("hand",)
    (folder / "annotation" / "0000002.xml").unlink()
    prelabel(folder, detect, handedness=True)
    assert read_voc(folder / "annotation" / "0000002.xml").labels == ("left",)


BILLION_LAUGHS = """<!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;.png</filename></annotation>"""
OUTSIDE = """<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<annotation><filename>&a;</filename></annotation>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BILLION_LAUGHS, "not a Pascal VOC annotation"),
        (OUTSIDE, "not a Pascal VOC annotation"),
        ("<annotation>", "not a Pascal VOC annotation"),
        ("", "not a Pascal VOC annotation"),
        ("<html/>", "its root is not <annotation>"),
        (AS_LABELIMG_WRITES.replace("<width>640</width>", ""), r"size of 0000012\.png is 0x576"),
        (AS_LABELIMG_WRITES.replace("<xmin>346</xmin>", ""), "a box lacks xmin"),
        (AS_LABELIMG_WRITES.replace(">346<", ">nan<"), "not finite"),
        (AS_LABELIMG_WRITES.replace(">346<", ">left<"), "'left'"),
    ],
)
def test_broken_or_hostile_voc_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "0.xml"
    path.write_text(text)
    with pytest.raises(HandPoseError, match=message) as caught:
        read_voc(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.recursive(
        st.none() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["images", "annotations", "categories", "id", "img_path", "chw", "boxes", "labels"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused_in_words(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    try:
        hands = read_annotations(path)
    except HandPoseError:
        return
    assert all(np.isfinite(h.boxes).all() for h in hands)


def test_empty_folder_and_missing_file_are_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "none.json", tmp_path / "none.xml"):
        assert main([str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1

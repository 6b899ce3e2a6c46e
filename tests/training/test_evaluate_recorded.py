"""A detector measured on frames as the recorder and labelImg leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Detection, Handedness
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_centernet
from pipeline.networks.contracts import DetectorInput
from pipeline.recording_writer import open_recorder
from pipeline.training.annotation_files import Annotation, write_voc
from pipeline.training.annotations import main as annotate
from pipeline.training.evaluate import main as evaluate
from pipeline.training.evaluate_recorded import recorded_boxes
from pipeline.training.metrics import summarize_boxes

CAMERA = DepthCamera(160, 120, 150.0, 150.0, 80.0, 60.0)
BOX = np.array([20, 30, 60, 80], dtype=np.float32)


def recorded(folder: Path, count: int = 4, label: str = "hand") -> Path:
    with open_recorder(folder, CAMERA) as recorder:
        for k in range(count):
            recorder.add_frame(Frame(np.full((120, 160), 500 + k, np.uint16), None, CAMERA, 0, k))
    for k in range(count):
        hands = Annotation(
            f"{k:07d}.png", 160, 120, BOX[None].astype(float), (label,), np.zeros(1, dtype=bool)
        )
        write_voc(folder / "annotation" / f"{k:07d}.xml", hands)
    return folder


def sees(side: Handedness | None, box: np.ndarray = BOX) -> Detection:
    return Detection(box.astype(np.float32), 0.5, side)


def test_each_frame_meets_its_own_annotation(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set")
    images = recorded_boxes(folder, lambda frame: [sees(None)] * int(frame.depth[0, 0] >= 502))
    figures = summarize_boxes(images)
    assert (figures["images"], figures["hands"], figures["ap50"]) == (4, 4, 0.5)
    assert np.isnan(figures["handedness_accuracy"])


def test_sides_count_where_both_know_them(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set", label="left")
    images = recorded_boxes(folder, lambda frame: [sees("right" if frame.index else "left")])
    assert summarize_boxes(images)["handedness_accuracy"] == 0.25


def test_only_the_validation_frames_are_measured_once_there_are_some(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set")
    assert annotate([str(folder), "--validation", "0.25"]) == 0
    assert len(recorded_boxes(folder, lambda frame: [])) == 1


def test_frames_without_annotations_are_wrong_use(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set", count=1)
    (folder / "annotation" / "0000000.xml").rename(folder / "annotation" / "kept")
    with pytest.raises(UsageError, match=r"holds no \.xml files"):
        recorded_boxes(folder, lambda frame: [])
    (folder / "val.json").write_text("[]")
    with pytest.raises(UsageError, match="annotates none of the frames"):
        recorded_boxes(folder, lambda frame: [])


def test_command_measures_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    contract = DetectorInput(size=64, classes=("left", "right"))
    model = CenterNet(2, width=0.125, plain_head=True, contract=contract)
    save_centernet(tmp_path / "net.pth", model.eval(), {})
    out = tmp_path / "figures.json"
    call = ["--recorded", str(recorded(tmp_path / "set")), "--centernet", str(tmp_path / "net.pth")]
    assert evaluate([*call, "--json", str(out), "--plot", str(tmp_path / "curve.png")]) == 0
    assert json.loads(out.read_text())["hands"] == 4

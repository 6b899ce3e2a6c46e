"""From frames to a measured detector: record, pre-label, split, train, resume, evaluate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.frame import Frame
from pipeline.hand import Detection
from pipeline.networks.checkpoints import load_centernet, read_meta
from pipeline.training.annotation_files import read_annotations
from pipeline.training.annotations import main as annotate
from pipeline.training.evaluate import main as evaluate
from pipeline.training.prelabel import prelabel
from pipeline.training.record import main as record
from pipeline.training.train_centernet import main as train
from pipeline.training.visualize import main as visualize
from tests.training.stand_ins import cut_short

FRAMES = 4


def nearest_thing(frame: Frame) -> Sequence[Detection]:
    """Stands in for a trained detector: what is nearest to the camera."""
    measured = frame.depth[frame.depth > 0]
    rows, columns = np.nonzero((frame.depth > 0) & (frame.depth < np.quantile(measured, 0.01) + 60))
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    return [Detection(box, 0.9, "left" if box[[0, 2]].mean() < frame.camera.cx else "right")]


def test_from_recording_to_evaluation(tmp_path: Path) -> None:
    data, run = tmp_path / "mine", tmp_path / "run"
    assert record(["--source", "demo", "--frames", str(FRAMES), str(data)]) == 0

    assert prelabel(data, nearest_thing, handedness=True) == (FRAMES, 0)
    assert prelabel(data, nearest_thing, handedness=True) == (0, FRAMES)  # nobody's corrections are lost
    assert annotate([str(data), "--validation", "0.5"]) == 0
    assert len(read_annotations(data / "train.json")) == len(read_annotations(data / "val.json")) == 2

    call = ["--data", "real", str(data), "--mix", "0.5", "--batch", "2", "--replay", "1", "--width", "0.125"]
    call += ["--device", "cpu", "--evaluations", "1", "--loss", "mse", "--out", str(run)]
    assert train([*call, "--steps", "2"]) == 0
    assert train([*call, "--steps", "2"]) == 2  # a run is not overwritten
    cut_short(run, 3)
    elsewhere = shutil.copytree(data, tmp_path / "theirs")
    other = [str(elsewhere) if part == str(data) else part for part in call]
    assert train([*other, "--steps", "3", "--resume"]) == 2
    assert train([*call, "--steps", "3", "--resume"]) == 0

    weights = run / "MSE_ResnetCenterNet_fused.pth"
    assert load_centernet(weights).contract.classes == ("left", "right")
    assert read_meta(run / "last.pth")["training"]["step"] == 3
    figures = tmp_path / "figures.json"
    assert evaluate(["--recorded", str(data), "--centernet", str(weights), "--json", str(figures)]) == 0
    measured = json.loads(figures.read_text())
    assert (measured["images"], measured["hands"]) == (2, 2)

    sheet = tmp_path / "sheet.png"
    assert visualize(["--data", "real", str(data), "--centernet", str(weights), "--out", str(sheet)]) == 0
    assert sheet.stat().st_size > 1000

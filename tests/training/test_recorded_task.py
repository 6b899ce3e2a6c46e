"""CenterNet on recorded frames: boxes follow the pixels, both losses fall, a resumed run goes on exactly."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_centernet, save_centernet
from pipeline.networks.preprocess import detector_input
from pipeline.recording_writer import open_recorder
from pipeline.training.annotation_files import Annotation, write_voc
from pipeline.training.annotations import main as annotate
from pipeline.training.augment_recorded import LabelledImage, RecordedAugmentation, view
from pipeline.training.detector_targets import BoxBatch
from pipeline.training.loop import INTERRUPTED, Training
from pipeline.training.options import LoopOptions
from pipeline.training.original_losses import HeatLoss
from pipeline.training.recorded_scenes import ONE_CLASS, SIDES, read_recorded
from pipeline.training.recorded_task import RecordedTask, collated, joined
from pipeline.training.scene_task import scene_contract
from pipeline.training.train_centernet import main as train

CPU = torch.device("cpu")
CAMERA = DepthCamera(160, 144, 126.0, 126.0, 80.0, 72.0)
HAND_MM, WALL_MM = 700, 2500
UNVARIED = RecordedAugmentation(magnify=0, zoom_out=0, crop=0, flip=0)


def whole_view(frame: LabelledImage, size: int) -> LabelledImage:
    """The frame as the detector sees it at run time."""
    height, width = frame.images.shape[1:]
    return view(frame, np.array([0.0, 0.0, width, height]), size)


def hand_frame(rng: np.random.Generator) -> tuple[Frame, np.ndarray]:
    """A near rectangle before a wall, and its edges."""
    x0, y0 = rng.integers(5, 100), rng.integers(5, 90)
    box = np.array([x0, y0, x0 + rng.integers(20, 45), y0 + rng.integers(20, 45)])
    depth = np.full((144, 160), WALL_MM, np.uint16)
    ir = np.full_like(depth, 150)
    depth[box[1] : box[3], box[0] : box[2]] = HAND_MM
    ir[box[1] : box[3], box[0] : box[2]] = 1800
    return Frame(depth, ir, CAMERA), box.astype(float)


def recorded(folder: Path, count: int = 6, labels: tuple[str, ...] = ("left", "right")) -> Path:
    """A recorded folder with annotations, split for training."""
    rng = np.random.default_rng(0)
    with open_recorder(folder, CAMERA) as recorder:
        for k in range(count):
            frame, box = hand_frame(rng)
            recorder.add_frame(frame)
            name, label = f"{k:07d}.png", labels[k % len(labels)]
            hands = Annotation(name, 160, 144, box[None], (label,), np.zeros(1, dtype=bool))
            write_voc((folder / "annotation" / name).with_suffix(".xml"), hands)
    assert annotate([str(folder), "--validation", "0.34"]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("own") / "set")


def task(folder: Path, loss: HeatLoss = "Logistic", size: int = 96, **more: object) -> RecordedTask:
    torch.manual_seed(0)
    frames = read_recorded([folder], "train.json")
    contract = replace(scene_contract(), size=size, classes=frames.classes)
    model = CenterNet(len(contract.classes), 0.125, plain_head=True, contract=contract)
    return RecordedTask(model, frames, read_recorded([folder], "val.json"), 3, loss, **more)  # type: ignore[arg-type]


def test_frames_have_their_labels_and_sides(folder: Path) -> None:
    train_set, held_out = (read_recorded([folder], name) for name in ("train.json", "val.json"))
    assert (len(train_set), len(held_out), train_set.classes) == (4, 2, SIDES)
    for n in range(4):
        frame = train_set.labelled(n, SIDES)
        x0, y0, x1, y1 = frame.boxes[0].astype(int)
        assert (frame.images[0, y0:y1, x0:x1] == HAND_MM).all()
        assert (frame.images[0] == HAND_MM).sum() == (x1 - x0) * (y1 - y0)
        assert frame.classes.tolist() == [SIDES.index(train_set.annotation(n).labels[0])]


def test_an_unvaried_frame_is_the_detectors_input(folder: Path) -> None:
    one = task(folder)
    frames, contract = read_recorded([folder], "train.json"), one.model.contract
    shown = [whole_view(frames.labelled(n, SIDES), 96) for n in range(4)]
    images, labels = collated(shown, contract, CPU)
    for n in range(4):
        frame = frames.frame(n)
        np.testing.assert_allclose(images[n], detector_input(frame.depth, frame.ir, contract), atol=2e-4)
        expected = frames.annotation(n).boxes[0] * (96 / np.array([160, 144, 160, 144]))
        np.testing.assert_allclose(labels.boxes[n, 0], expected, rtol=1e-5)


@settings(max_examples=60)
@given(st.integers(0, 10**9))
def test_boxes_follow_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, box = hand_frame(rng)
    assert frame.ir is not None
    given_frame = LabelledImage(
        np.stack([frame.depth, frame.ir]).astype(np.float32), box[None], np.array([0]), np.array([1])
    )
    shown = RecordedAugmentation(magnify=0)(given_frame, 128, rng)
    hand = (shown.images[0] == HAND_MM).astype(np.uint8)
    if not len(shown.boxes):
        assert hand.sum() <= 128
        return
    x, y, width, height = cv2.boundingRect(hand)
    np.testing.assert_allclose(shown.boxes[0], [x, y, x + width, y + height], atol=1.01)
    assert shown.state[0] == 1  # windows are placed so that they hold its centre


def test_mirroring_swaps_sides_and_magnifying_changes_the_hand_alone() -> None:
    frame, box = hand_frame(np.random.default_rng(1))
    images = np.stack([frame.depth, frame.depth]).astype(np.float32)
    given_frame = LabelledImage(images, box[None], np.array([0]), np.array([1]))
    mirrored = replace(UNVARIED, flip=1.0)(given_frame, 144, np.random.default_rng(0))
    assert mirrored.classes.tolist() == [1]
    assert mirrored.boxes[0, 0] == pytest.approx(144 - box[2] * 144 / 160)
    near = replace(UNVARIED, magnify=1.0)(given_frame, 144, np.random.default_rng(0))
    plain = UNVARIED(given_frame, 144, np.random.default_rng(0))
    changed = near.images[0] != plain.images[0]
    np.testing.assert_array_equal(changed, plain.images[0] == HAND_MM)


@pytest.mark.parametrize("loss", ["Logistic", "MSE"])
def test_a_short_run_lowers_the_loss(folder: Path, loss: HeatLoss) -> None:
    one = task(folder, loss, augmentation=UNVARIED)
    optimizer = torch.optim.Adam(one.model.parameters(), 5e-3)
    totals = []
    for step in range(24):
        losses = one.losses(one.model.train(), step, 0.0)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        totals.append(float(losses["total"].detach()))
    assert sum(totals[-5:]) < 0.7 * sum(totals[:5])


class Stopping(RecordedTask):
    """Presses Ctrl-C in its second step."""

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().losses(model, step, progress)


def test_resumed_equals_uninterrupted(folder: Path, tmp_path: Path) -> None:
    def options(name: str, resume: bool = False) -> LoopOptions:
        plain = LoopOptions(tmp_path / name, None, 4, 3, 1e-3, 0, evaluations=1)
        return replace(plain, resume=resume, tensorboard=False, progress_bar=False)

    assert Training(task(folder), options("whole"), CPU).run() == 0
    cut = task(folder)
    cut.__class__ = Stopping
    assert Training(cut, options("cut"), CPU).run() == INTERRUPTED
    assert Training(task(folder), options("cut", resume=True), CPU).run() == 0
    whole, resumed = (
        torch.load(tmp_path / name / "state.pth", weights_only=True)["model"] for name in ("whole", "cut")
    )
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_hands_without_sides_make_a_detector_of_one_class(tmp_path: Path) -> None:
    one = task(recorded(tmp_path / "set", 6, ("hand",)), augmentation=RecordedAugmentation(flip=1.0))
    assert one.model.contract.classes == ONE_CLASS
    _, labels = one.samples(0)
    assert not labels.classes.any()
    assert (labels.state == 1).any()
    one.export(tmp_path / "best.pth", one.model, {})
    assert load_centernet(tmp_path / "Logistic_ResnetCenterNet_fused.pth").contract.classes == ONE_CLASS


def test_labels_of_different_numbers_are_joined() -> None:
    def labels(count: int, value: int) -> BoxBatch:
        full = torch.full((2, count), value)
        return BoxBatch(torch.full((2, count, 4), float(value)), full, full)

    both = joined(labels(1, 1), labels(3, -1))
    assert both.state.tolist() == [[1, 0, 0]] * 2 + [[-1, -1, -1]] * 2
    assert both.boxes.shape == (4, 3, 4)


def test_data_that_cannot_be_trained_on_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"pipeline\.training\.annotations"):
        read_recorded([tmp_path], "train.json")
    mixed = recorded(tmp_path / "mixed", 4, ("left", "right"))
    (mixed / "train.json").write_text(
        (mixed / "train.json").read_text().replace("0000001.png", "9999999.png")
    )
    broken = [name for name in ("train.json", "val.json") if "9999999" in (mixed / name).read_text()]
    for name in broken:
        with pytest.raises(HandPoseError, match="first 9999999"):
            read_recorded([mixed], name)
    save_centernet(tmp_path / "one.pth", CenterNet(1, 0.125, plain_head=True).eval(), {})
    call = ["--data", "real", str(folder), "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert train([*call, "--init", str(tmp_path / "one.pth"), "--mix", "0"]) == 2
    assert "label them alike" in capsys.readouterr().err
    assert train([*call, "--mix", "1"]) == 2

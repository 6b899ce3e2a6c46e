"""A2J on a tiny NYU folder: it learns, resumes exactly, and several processes make the steps of one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.crop import HandCrop
from pipeline.hand import centre_of
from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import load_a2j, read_meta, save_a2j
from pipeline.training.devices import Workers
from pipeline.training.hand_folder_task import (
    RECIPES,
    FolderAugmentation,
    HandFolderTask,
)
from pipeline.training.hand_folders import read_nyu
from pipeline.training.hand_task import hand_contract
from pipeline.training.loop import INTERRUPTED, Training
from pipeline.training.options import LoopOptions
from pipeline.training.train_a2j import main as train
from tests.training.data_folders import write_nyu
from tests.training.stand_ins import cut_short
from tests.training.two_processes import in_two_processes

CPU = torch.device("cpu")
SMALL = ["--backbone", "resnet18", "--width", "0.125", "--head-width", "16", "--size", "64"]
UNVARIED = FolderAugmentation(shift_px=0, roll=0, scale=(1, 1), erase=0, depth_mm=0)


@pytest.fixture(scope="module")
def nyu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nyu(tmp_path_factory.mktemp("nyu"), count=6)


def task(
    nyu: Path, batch: int = 4, workers: Workers | None = None, norm: bool = True, **more: object
) -> HandFolderTask:
    torch.manual_seed(0)
    frames = read_nyu(nyu, "train")
    model = A2J("resnet18", 14, 0.125, 16, RECIPES["nyu"].contract(frames.skeleton, 64))
    if not norm:  # statistics are those of each process's own samples
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.Identity())
    return HandFolderTask(model, frames, read_nyu(nyu, "test"), batch, 0, workers, **more)  # type: ignore[arg-type]


def options(out: Path, steps: int, **more: object) -> LoopOptions:
    return LoopOptions(
        out,
        None,
        steps,
        4,
        1e-3,
        0,
        evaluations=1,
        tensorboard=False,
        progress_bar=False,
        optimizer="adam",
        decay_share=0.3,
        ema=0.0,
        **more,  # type: ignore[arg-type]
    )


def test_unvaried_samples_are_what_the_pipeline_sees(nyu: Path) -> None:
    one = task(nyu, augmentation=UNVARIED)
    frames = read_nyu(nyu, "train")
    samples = one.samples(0)
    for n, (number, _) in enumerate(one.order.samples(0)):
        crop = HandCrop.around(centre_of(frames.joints[number]), frames.camera, one.model.contract)
        np.testing.assert_allclose(samples.images[n, 0], crop.take(frames.depth(number)), atol=1e-6)
        place = crop.from_image(frames.joints[number])[:, [1, 0, 2]]
        np.testing.assert_allclose(samples.joints[n], place, atol=1e-3)


def test_varied_joints_stay_on_the_hand(nyu: Path) -> None:
    """Every joint of NYU's 14 lies behind a surface that the varied crop shows."""
    one = task(nyu, augmentation=FolderAugmentation(erase=0, scale=(0.5, 1.0), mirror=0.5))
    contract = one.model.contract
    depths, behind = [], []
    for step in range(4):
        samples = one.samples(step)
        for image, joints in zip(samples.images[:, 0].numpy(), samples.joints.numpy(), strict=True):
            row, column = joints[:, :2].round().astype(int).clip(0, 63).T
            depths.append(image[row, column] * contract.std + contract.mean)
            behind.append(joints[:, 2])
    errors = np.abs(np.concatenate(depths) - np.concatenate(behind))
    shuffled = np.abs(np.concatenate(depths) - np.concatenate(behind)[::-1])
    assert np.median(errors) < 0.7 * np.median(shuffled)


def test_a_short_run_lowers_the_loss(nyu: Path) -> None:
    one = task(nyu, augmentation=UNVARIED)
    optimizer = torch.optim.Adam(one.model.parameters(), 1e-2)
    totals = []
    for step in range(40):
        losses = one.losses(one.model.train(), step, 0.0)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        totals.append(float(losses["total"].detach()))
    assert sum(totals[-10:]) < 0.7 * sum(totals[:10])


class Stopping(HandFolderTask):
    """Presses Ctrl-C in its third step."""

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().losses(model, step, progress)


def test_resumed_equals_uninterrupted(nyu: Path, tmp_path: Path) -> None:
    assert Training(task(nyu), options(tmp_path / "whole", 5), CPU).run() == 0
    cut = task(nyu)
    cut.__class__ = Stopping
    assert Training(cut, options(tmp_path / "cut", 5), CPU).run() == INTERRUPTED
    assert Training(task(nyu), options(tmp_path / "cut", 5, resume=True), CPU).run() == 0
    whole, resumed = (
        torch.load(tmp_path / name / "state.pth", weights_only=True)["model"] for name in ("whole", "cut")
    )
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def half_of_the_work(workers: Workers, nyu: Path, out: Path) -> None:
    Training(task(nyu, 2, workers, norm=False), options(out, 2), CPU, workers=workers).run()


def test_two_processes_with_half_batches_make_the_steps_of_one(nyu: Path, tmp_path: Path) -> None:
    in_two_processes(half_of_the_work, nyu, tmp_path / "two")
    Training(task(nyu, 4, norm=False), options(tmp_path / "one", 2), CPU).run()
    one, two = (
        torch.load(tmp_path / name / "state.pth", weights_only=True)["model"] for name in ("one", "two")
    )
    apart = max(float((two[name] - tensor).abs().max()) for name, tensor in one.items())
    moved = max(float((task(nyu, norm=False).model.state_dict()[n] - t).abs().max()) for n, t in one.items())
    assert apart < 0.02 * moved


def test_the_command_leaves_weights_that_describe_themselves(nyu: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    call = ["--data", "nyu", str(nyu), "--epochs", "1", "--batch", "3", "--device", "cpu", "--out", str(out)]
    assert train([*call, "--evaluations", "1", *SMALL]) == 0
    model = load_a2j(out / "NYU_1_resnet18_14_a2j.pth")
    assert model.contract == RECIPES["nyu"].contract(model.contract.skeleton, 64)
    assert read_meta(out / "best.pth")["training"]["step"] == 2
    cut_short(out, 3)
    assert train([*call, *SMALL, "--resume"]) == 0


def test_weights_to_start_from_bring_their_whole_backbone(
    nyu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, out = tmp_path / "start.pth", tmp_path / "run"
    other = A2J("resnet18", 21, 0.125, 8, hand_contract(32))  # joints and heads of its own
    save_a2j(start, other, {})
    call = ["--data", "nyu", str(nyu), "--steps", "1", "--batch", "3", "--device", "cpu", "--lr", "1e-9"]
    call += ["--init", str(start), "--out", str(out), "--size", "64", "--head-width", "16"]
    for backbone in (["--backbone", "resnet34", "--width", "0.125"], ["--backbone", "resnet18"]):
        assert train([*call, *backbone]) == 2
        assert "give --backbone resnet18 --width 0.125" in capsys.readouterr().err
    assert train([*call, "--backbone", "resnet18", "--width", "0.125"]) == 0
    begun = load_a2j(out / "last.pth").get_parameter("back_bone.model.conv1.weight")
    torch.testing.assert_close(begun, other.get_parameter("back_bone.model.conv1.weight"), rtol=0, atol=1e-3)


def test_wrong_data_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["real", str(tmp_path)], ["nyu"], ["nyu", str(tmp_path / "nothing")]):
        with pytest.raises(SystemExit, match="2"):
            train(["--data", *given, "--steps", "1"])
    assert train(["--data", "nyu", str(tmp_path), "--steps", "1", "--device", "cpu"]) == 2
    assert "joint_data.mat is missing" in capsys.readouterr().err

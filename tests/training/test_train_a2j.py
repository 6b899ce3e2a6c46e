"""The command that trains A2J on rendered hands: what it refuses, and what a resumed run must share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import save_a2j
from pipeline.training import train_a2j, train_centernet
from pipeline.training.hand_task import hand_contract
from pipeline.training.rundir import RunFolder
from pipeline.training.train_a2j import main as train
from tests.training.test_hand_task import in_scenes, slopes

RUN = ["--steps", "1", "--batch", "4", "--block", "8", "--held-out", "2", "--device", "cpu"]
SMALL = ["--width", "0.125", "--head-width", "8"]


@pytest.fixture(autouse=True)
def _simple_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hands of 32 px that cost nothing, instead of rendered ones."""
    monkeypatch.setattr(train_a2j, "crop_renderer", lambda *_: slopes)
    monkeypatch.setattr(train_a2j, "scene_crop_renderer", lambda *_: in_scenes)
    monkeypatch.setattr(train_a2j, "hand_crops", lambda _, count, seed: [slopes(seed, count)])
    monkeypatch.setattr(train_a2j, "scene_hand_crops", lambda _, count, seed: [in_scenes(seed, count)])


def test_a_run_is_resumed_with_the_size_it_began_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*RUN, *SMALL, "--out", str(tmp_path)]
    assert train([*call, "--size", "32"]) == 0
    assert train([*call, "--size", "64", "--resume"]) == 2
    assert "has --size 32:" in capsys.readouterr().err


def test_a_run_from_weights_is_not_resumed_without_their_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, call = tmp_path / "start.pth", [*RUN, "--out", str(tmp_path / "run")]
    contract = hand_contract(32, crop_mm=250.0)
    save_a2j(start, A2J(width=0.125, head_width=8, contract=contract, side_head=True, presence=True), {})
    assert train([*call, "--init", str(start)]) == 0
    assert train([*call, *SMALL, "--resume"]) == 2
    assert "has --size 32:" in capsys.readouterr().err
    assert train([*call, *SMALL, "--size", "32", "--resume"]) == 2
    assert "--init" in capsys.readouterr().err


@pytest.mark.parametrize("main", [train_a2j.main, train_centernet.main])
@pytest.mark.parametrize("option", ["--held-out", "--replay", "--block", "--threads"])
def test_counts_are_from_1_on(
    main: Callable[[list[str]], int], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--steps", "1", option, "0"])
    assert f"{option}: '0' is not a number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [
        (["--size", "100"], "give 96 instead of 100"),
        (["--size", "0"], "give 16 instead of 0"),
        (["--sizes", "60,128"], "give 64 instead of 60"),
        (["--data", "nyu", ".", "--size", "100"], "give 96 instead of 100"),
    ],
)
def test_inputs_are_filled_by_anchors(
    sizes: list[str], advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([*RUN, *sizes, "--out", str(tmp_path / "run")]) == 2
    assert advice in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--steps", "1", "--width", "0"],
        ["--steps", "1", "--head-width", "-4"],
        ["--steps", "1", "--margin", "nan"],
        ["--steps", "1", "--lr", "nan"],
        ["--minutes", "nan"],
    ],
)
def test_numbers_that_make_no_run_are_told(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_a2j.main([*options, "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    assert "must be positive and finite" in capsys.readouterr().err


@pytest.mark.parametrize("wide", [["--width", "1e9"], ["--light", "1e-9:8"]])
def test_widths_that_make_no_network_are_told(
    wide: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run"), *wide]
    assert train_a2j.main(call) == 2
    assert "makes no network: give 0.05 to 8" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run", resume=False, tensorboard=False)
    with pytest.raises(UsageError, match="cannot be made"):
        RunFolder(tmp_path / ("x" * 300), resume=False, tensorboard=False)

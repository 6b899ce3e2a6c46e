"""The evaluation command: published figures to the digit, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import io

from pipeline.engines import choice
from pipeline.training import evaluate_synthetic
from pipeline.training.benchmarks import BENCHMARKS, NYU_EVALUATED
from pipeline.training.evaluate import evaluate_predictions, format_figures, main

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "a2j_published"


def write_text(path: Path, joints: np.ndarray) -> Path:
    np.savetxt(path, joints.reshape(len(joints), -1))
    return path


def truth_uvd(frames: int = 5, joints: int = 14) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (frames, joints)
    return np.stack(
        [rng.uniform(100, 500, shape), rng.uniform(100, 400, shape), rng.uniform(500, 900, shape)], -1
    )


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED.exists(), reason="development data is absent")
@pytest.mark.parametrize(
    ("dataset", "predictions", "expected"),
    [("nyu", "nyu_861_epoch32_UVD.txt", (8.610, 8252)), ("icvl", "icvl_646_epoch12_UVD.txt", (6.461, 1596))],
)
def test_published_figures_come_out(
    dataset: str, predictions: str, expected: tuple[float, int], tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    truth = PUBLISHED / f"{dataset}_keypointsUVD_test.mat"
    call = ["--predictions", str(PUBLISHED / predictions), "--truth", str(truth), "--dataset", dataset]
    assert main([*call, "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert (round(figures["mean_mm"], 3), figures["frames"]) == expected


def test_a_known_shift_in_the_image_is_measured_in_millimetres(tmp_path: Path) -> None:
    truth = truth_uvd()
    truth[..., 2] = 600.0
    predicted = truth + (10.0, 0.0, 0.0)  # noqa: RUF005
    figures = evaluate_predictions(
        write_text(tmp_path / "p.txt", predicted), write_text(tmp_path / "t.txt", truth), "nyu"
    )
    assert figures["mean_mm"] == pytest.approx(10 * 600 / 588.03)
    assert figures["per_joint_mm"]["palm"] == pytest.approx(10 * 600 / 588.03)


def test_coordinates_in_millimetres_are_taken_as_they_are(tmp_path: Path) -> None:
    xyz = truth_uvd(joints=21)
    paths = write_text(tmp_path / "p.txt", xyz + 2.0), write_text(tmp_path / "t.txt", xyz)
    expected = pytest.approx(np.sqrt(12))
    assert evaluate_predictions(*paths, "hands2017")["mean_mm"] == expected
    assert evaluate_predictions(*paths, "msra", "xyz")["mean_mm"] == expected


def test_fourteen_predicted_joints_meet_the_thirtysix_of_nyus_own_file(tmp_path: Path) -> None:
    truth = truth_uvd(joints=36)
    io.savemat(tmp_path / "joint_data.mat", {"joint_uvd": np.stack([truth, truth, truth])})
    predicted = write_text(tmp_path / "p.txt", truth[:, NYU_EVALUATED])
    figures = evaluate_predictions(predicted, tmp_path / "joint_data.mat", "nyu")
    assert figures["joints"] == 14
    assert figures["mean_mm"] == pytest.approx(0, abs=1e-9)


def test_every_benchmark_names_its_joints_once() -> None:
    for benchmark in BENCHMARKS.values():
        for count, names in benchmark.joints.items():
            assert len(set(names)) == count


def test_plot_is_a_picture_of_the_curves(tmp_path: Path) -> None:
    truth = write_text(tmp_path / "t.txt", truth_uvd())
    call = ["--predictions", str(truth), "--truth", str(truth), "--dataset", "nyu"]
    assert main([*call, "--plot", str(tmp_path / "curves.png")]) == 0
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None
    assert picture.shape[1] > 800
    assert picture.std() > 10


def test_boxes_of_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hands = [
        {"img_path": "0.png", "chw": [1, 100, 100], "boxes": [[10, 10, 39, 39]], "labels": [1]},
        {"img_path": "1.png", "chw": [1, 100, 100], "boxes": [[50, 50, 79, 79]], "labels": [1]},
    ]
    found = [{"img_path": "a/1.png", "boxes": [[50, 50, 79, 79], [0, 0, 9, 9]], "scores": [0.9, 0.95]}]
    (tmp_path / "t.json").write_text(json.dumps(hands))
    (tmp_path / "p.json").write_text(json.dumps(found))
    call = [
        "--predictions",
        str(tmp_path / "p.json"),
        "--truth",
        str(tmp_path / "t.json"),
        "--dataset",
        "boxes",
    ]
    assert main([*call, "--json", str(tmp_path / "o.json"), "--plot", str(tmp_path / "o.png")]) == 0
    figures = json.loads((tmp_path / "o.json").read_text())
    assert figures["ap50"] == pytest.approx(0.25)  # half of the hands at precision 1/2
    assert figures["precision_recall"]["precision"] == [0, 0.5]
    assert figures["handedness_accuracy"] is None  # not finite in Python, null in JSON
    assert "ap50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ([], 2, "nothing to measure"),
        (["--predictions", "p.txt", "--truth", "t.txt"], 2, "nothing to measure"),
        (["--synthetic", "--real", "x"], 2, "nothing to measure"),
        (["--recorded", "x", "--engine", "onnx"], 2, "--engine is for"),
        (["--predictions", "p.txt", "--truth", "t.txt", "--dataset", "nyu"], 2, "cannot be read"),
    ],
)
def test_wrong_use_is_one_sentence(
    call: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(call) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unwritable_output_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = str(write_text(tmp_path / "t.txt", truth_uvd()))
    call = ["--predictions", truth, "--truth", truth, "--dataset", "nyu"]
    for option in ("--json", "--plot"):
        assert main([*call, option, str(tmp_path / "none" / "out.png")]) == 2
        assert "cannot write" in capsys.readouterr().err


def test_table_is_readable_with_figures_that_are_not_finite() -> None:
    text = format_figures({"hands": {"mean_mm": float("nan"), "n": 3}, "curve": {"x": [1, 2]}})
    assert "mean (mm)" in text
    assert "curve" not in text


@pytest.mark.parametrize("what", [["--real", "DIR"], ["--sequences"], ["--synthetic"]])
def test_the_engine_asked_for_runs_the_program(
    what: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that is not there is told, whatever is measured, and before it is."""
    monkeypatch.setattr(evaluate_synthetic, "evaluate_hands", lambda *_: pytest.fail("was measured"))
    absent = choice.Kind("onnx", False, lambda: "it is missing", lambda *_: pytest.fail("was made"))
    monkeypatch.setattr(choice, "KINDS", (absent,))
    options = [str(tmp_path) if one == "DIR" else one for one in what]
    assert main([*options, "--engine", "onnx"]) == 2
    assert "the engine onnx cannot be used: it is missing" in capsys.readouterr().err

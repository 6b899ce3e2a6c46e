from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.hand_pose import HandPosePipeline
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.contracts import DetectorInput
from pipeline.synthetic.sequences import HandSequence
from pipeline.training import evaluate, evaluate_sequences
from pipeline.training.evaluate_sequences import play, smoothing_curves
from pipeline.training.hand_task import hand_contract
from tests.training.test_sequence_metrics import video


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of checkpoints."""
    torch.manual_seed(0)
    detector = CenterNet(2, 0.125, True, DetectorInput(64, classes=("left", "right")))
    joints = A2J(width=0.125, head_width=8, contract=hand_contract(32))

    def make(engine: str, track: bool, **_: object) -> HandPosePipeline:
        return HandPosePipeline("torch", track=track, centernet=detector, a2j=joints, device="cpu")

    monkeypatch.setattr(evaluate_sequences, "HandPosePipeline", make)


@pytest.mark.usefixtures("small_networks")
def test_the_command_measures_tracking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("motmetrics")
    out = tmp_path / "figures.json"
    assert evaluate.main(["--sequences", "--frames", "3", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["frames"] == 3
    assert figures["kinds"]["gestures"]["frames"] == 3
    assert figures["detector_share"] > 0
    assert figures["ms"] > 0
    assert "id switches" in capsys.readouterr().out


def test_no_frames_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--sequences", "--frames", "0"]) == 2
    assert "--frames 0" in capsys.readouterr().err


@pytest.mark.usefixtures("small_networks")
def test_both_ways_see_the_same_frames() -> None:
    tracked, plain = (evaluate_sequences.HandPosePipeline("torch", track=track) for track in (True, False))
    steps = play(HandSequence("resting", 0, 2), tracked, plain)
    assert [step.seconds for step in steps] == [0.0, pytest.approx(1 / 30, abs=1e-6)]
    assert all(step.truth and step.ms > 0 and step.plain_ms > 0 for step in steps)


def test_curves_have_gaps_where_no_hand_was_found() -> None:
    curves = smoothing_curves(video(9, lambda k: {0: 2.0 * k}, lambda k: {} if k == 4 else {1: 2.0 * k}))
    assert len(curves["seconds"]) == 9
    assert np.flatnonzero(np.isnan(curves["tracked_mm"])).tolist() == [4]
    np.testing.assert_allclose(np.diff(curves["truth_mm"]), 2.0, atol=1e-3)


def test_the_plot_shows_trembling_and_lag(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from pipeline.training.evaluate_plot import write_plot

    curves = smoothing_curves(video(120, lambda k: {0: 2.0 * k}, lambda k: {1: 2.0 * k}))
    figures = {"smoothing": curves, "jitter_mm": 0.4, "plain_jitter_mm": 2.0}
    write_plot(tmp_path / "a.png", {**figures, "lag_frames": 0.7, "plain_lag_frames": 0.1})
    assert (tmp_path / "a.png").stat().st_size > 10_000

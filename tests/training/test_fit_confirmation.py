"""The regression finds the weights that made the data, and proposals are told apart by their boxes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.confirmation import evidence
from pipeline.frame import Frame
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j, save_centernet
from pipeline.training.fit_confirmation import Proposals, fit, gather, main
from tests.training.test_evaluate_program import found, scene


def test_the_weights_that_made_the_data_are_found() -> None:
    random = np.random.default_rng(0)
    truth = np.array([-0.5, 1.4, 1.2, 0.4])
    signs = random.normal(0, 2, (20000, 3))
    chance = 1 / (1 + np.exp(-(truth[0] + signs @ truth[1:])))
    proposals = Proposals(signs, random.random(len(signs)) < chance, 0, 1)
    assert fit(proposals) == pytest.approx(truth, abs=0.12)


def test_proposals_on_hands_off_hands_and_on_hardly_visible_ones() -> None:
    on, off, hardly = found(120.0, 108.0, 0.4), found(400.0, 100.0, 0.4), found(440.0, 396.0, 0.4)

    def propose(frame: Frame) -> list[Any]:
        return [on, off, hardly]

    proposals = gather(SimpleNamespace(propose=propose), [scene()])  # type: ignore[arg-type]
    assert proposals.is_hand.tolist() == [True, False]
    assert proposals.evidence[0] == pytest.approx(evidence(0.4, on[1]))
    assert (proposals.hands, proposals.frames) == (1, 1)


def test_nothing_to_learn_from_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenes", "0"]) == 2
    assert "--scenes" in capsys.readouterr().err
    both, detector = tmp_path / "both.pth", tmp_path / "detector.pth"
    save_a2j(both, A2J(num_joints=14, width=0.125, head_width=8).eval(), {})
    save_centernet(detector, CenterNet(1, 0.125).eval(), {})
    assert main(["--scenes", "1", "--a2j", str(both), "--centernet", str(detector)]) == 2
    assert "trained on one" in capsys.readouterr().err

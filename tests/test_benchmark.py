import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import benchmark, benchmark_contenders
from pipeline.benchmark import Row, markdown, timed
from pipeline.benchmark_contenders import CAMERA, Contender, gflop
from pipeline.engines.spec import EngineSpec
from pipeline.frame import Frame
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j, save_centernet
from pipeline.networks.contracts import DetectorInput, HandInput


def test_contenders_run_in_turn_and_equally_often() -> None:
    calls: list[str] = []
    contenders = [Contender(name, "", lambda name=name: calls.append(name)) for name in "ab"]  # type: ignore[misc]
    rows = timed(contenders, seconds=0.0, peak=1.0)
    assert len(calls) >= 2 * 6
    assert calls == ["a", "b"] * (len(calls) // 2)
    assert [row.what for row in rows] == ["a", "b"]
    assert all(row.median_ms <= row.p95_ms for row in rows)


def test_work_is_counted_as_products_and_sums() -> None:
    spec = EngineSpec(nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 16, 16))
    assert gflop(spec, 2) == pytest.approx(2 * 2 * 3 * 8 * 9 * 16 * 16 * 1e-9)


def test_rows_become_a_table() -> None:
    table = markdown(
        [Row("A2J", "torch", 12.34, 20.0, 0.5, "9.1 mm"), Row("frame", "torch", 1.0, 2.0, 0.0, "")]
    )
    lines = table.splitlines()
    assert lines[2] == "| A2J | torch | 12.3 | 20.0 | 50% | 9.1 mm |"
    assert {line.count("|") for line in lines} == {7}


def test_the_command_writes_table_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    hands = HandInput(size=64, crop_mm=260, outside="far", handedness="right", std=150, depth_range_mm=150)
    save_centernet(tmp_path / "c.pth", CenterNet(1, 0.125, True, DetectorInput(size=64)), {})
    save_a2j(tmp_path / "a.pth", A2J(width=0.125, head_width=8, contract=hands), {})
    depth = np.full((576, 640), 700, np.uint16)
    boxes = np.array([[100, 100, 180, 180], [300, 100, 380, 180]], np.float32)
    scene = Frame(depth, depth, CAMERA, 0, 0), boxes, ["left", "right"]
    monkeypatch.setattr(benchmark, "scene_with_hands", lambda: scene)
    small = CenterNet(1, 0.125, contract=DetectorInput(size=64))
    monkeypatch.setattr(benchmark_contenders, "CenterNet", lambda *_: small)
    monkeypatch.setattr(benchmark_contenders, "A2J", lambda *_: A2J(width=0.125, head_width=8))
    arguments = ["--engines", "torch", "--seconds", "0", "--json", str(tmp_path / "out.json")]
    files = ["--centernet", str(tmp_path / "c.pth"), "--a2j", str(tmp_path / "a.pth")]
    assert benchmark.main([*arguments, *files]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    said = {row["what"] for row in report["rows"]}
    assert {"original: CenterNet, 320 px", "ours: A2J, 2 hands, 64 px", "frame, 2 hands, tracked"} <= said
    assert "| frame, 1 hand, detected | torch float32" in capsys.readouterr().out


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--engines", "steam"]) == 2
    assert "the engine 'steam' is unknown" in capsys.readouterr().err

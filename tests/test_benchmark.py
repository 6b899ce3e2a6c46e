import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import benchmark, benchmark_contenders
from pipeline.benchmark import Peak, Row, markdown, ratios, timed
from pipeline.benchmark_contenders import CPU, GPU, Contender, EagerEngine, Scene, gflop
from pipeline.engines.precision import Proof, write_proofs
from pipeline.engines.spec import EngineSpec
from pipeline.frame import RENDERED_CAMERA, Frame
from pipeline.hand import Handedness
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j, save_centernet
from pipeline.networks.contracts import DetectorInput, HandInput

DEVICES = [
    CPU,
    pytest.param(GPU, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def test_contenders_run_in_turn_and_equally_often() -> None:
    calls: list[str] = []
    contenders = [Contender(name, "", lambda name=name: calls.append(name)) for name in "ab"]  # type: ignore[misc]
    rows = timed(contenders, seconds=0.0, peaks={})
    assert len(calls) >= 2 * 6
    assert calls == ["a", "b"] * (len(calls) // 2)
    assert [row.what for row in rows] == ["a", "b"]
    assert all(row.median_ms <= row.p95_ms for row in rows)


def test_of_calls_in_a_row_the_first_does_not_count() -> None:
    calls: list[str] = []

    def call(name: str) -> None:
        time.sleep(0.02 if calls[-1:] != [name] else 0.0)  # the first after another one is slow
        calls.append(name)

    contenders = [Contender(name, "", lambda name=name: call(name)) for name in "ab"]  # type: ignore[misc]
    assert all(row.median_ms > 15 for row in timed(contenders, 0.0, {}))
    assert all(row.median_ms < 15 for row in timed(contenders, 0.0, {}, in_a_row=3))
    assert "".join(calls[-6:]) == "aaabbb"


class Rising(Peak):
    """A peak that is twice as high at each look."""

    def __init__(self, gflops: float) -> None:
        self.gflops = gflops

    def measure(self) -> None:
        self.gflops *= 2


def test_the_floor_is_that_of_the_device_at_its_best() -> None:
    contenders = [
        Contender("net", "", lambda: time.sleep(0.005), gflop=2.0, device=device) for device in (CPU, GPU)
    ]
    slow, fast = timed(contenders, seconds=0.0, peaks={CPU: Rising(1e3), GPU: Rising(1e5)})
    assert slow.floor_share == pytest.approx(2.0 / 2**5 / slow.median_ms)  # five rounds
    assert fast.floor_share == pytest.approx(0.02 / 2**5 / fast.median_ms)


def test_work_is_counted_as_products_and_sums() -> None:
    spec = EngineSpec(nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 16, 16))
    assert gflop(spec, 2) == pytest.approx(2 * 2 * 3 * 8 * 9 * 16 * 16 * 1e-9)


def test_rows_become_a_table() -> None:
    table = markdown(
        [Row("A2J", "torch", 12.34, 20.0, 0.5, "9.1 mm"), Row("frame", "torch", 1.0, 2.0, 0.0, "")]
    )
    lines = table.splitlines()
    assert lines[2] == "| A2J | torch | 12.3 | 20.0 | 50% | 9.1 mm |"
    assert lines[3] == "| frame | torch | 1.00 | 2.00 |  |  |"
    assert {line.count("|") for line in lines} == {7}


def test_ratios_compare_the_same_network_on_the_same_device() -> None:
    rows = [
        Row("A2J", "eager PyTorch float32 (cpu)", 30.0, 0.0, 0.0, "", CPU),
        Row("A2J", "eager PyTorch float32 (cuda)", 3.0, 0.0, 0.0, "", GPU),
        Row("A2J", "openvino float32 (cpu)", 10.0, 0.0, 0.0, "", CPU),
        Row("A2J", "torch float16 (cuda)", 0.5, 0.0, 0.0, "", GPU),
        Row("frame", "torch float16 (cuda)", 1.0, 0.0, 0.0, "", GPU),
    ]
    assert ratios(rows).splitlines()[2:] == [
        "| A2J | openvino float32 (cpu) | 30.0 | 10.0 | 3.0 |",
        "| A2J | torch float16 (cuda) | 3.00 | 0.50 | 6.0 |",
    ]
    assert ratios(rows[:2]) == ""


@pytest.mark.parametrize("device", DEVICES)
def test_eager_modules_take_and_give_arrays_of_the_host(device: str) -> None:
    module = nn.Conv2d(1, 2, 3).eval()
    engine = EagerEngine(module, device)
    batch = np.ones((2, 1, 5, 5), np.float32)
    np.testing.assert_allclose(
        engine.run(batch)[0], EngineSpec(module, (1, 5, 5)).reference(batch)[0], atol=1e-2
    )
    assert engine.name == f"eager PyTorch float32 ({device})"
    assert next(module.parameters()).device.type == "cpu"


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_has_a_peak(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_GEMM", {CPU: (64, 64), GPU: (1024, 1024)})
    peak = Peak(device)
    before = peak.gflops
    peak.measure()
    assert peak.gflops >= before > 0


@pytest.mark.parametrize("device", DEVICES)
def test_the_command_writes_table_and_json(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(benchmark, "_GEMM", {CPU: (64, 64), GPU: (1024, 1024)})
    hands = HandInput(size=64, crop_mm=260, outside="far", handedness="right", std=150, depth_range_mm=150)
    save_centernet(tmp_path / "c.pth", CenterNet(1, 0.125, True, DetectorInput(size=64)), {})
    save_a2j(tmp_path / "a.pth", A2J(width=0.125, head_width=8, contract=hands), {})
    depth = np.full((576, 640), 700, np.uint16)
    boxes = np.array([[100, 100, 180, 180], [300, 100, 380, 180]], np.float32)
    sides: list[Handedness] = ["left", "right"]
    scenes = {n: [Scene(Frame(depth, depth, RENDERED_CAMERA), boxes[:n], sides[:n])] for n in (1, 2)}
    monkeypatch.setattr(benchmark, "scenes_with_hands", lambda: scenes)
    small = CenterNet(1, 0.125, contract=DetectorInput(size=64))
    monkeypatch.setattr(benchmark_contenders, "_original_detector", small.eval)
    joints = A2J(width=0.125, head_width=8).eval()
    monkeypatch.setattr(benchmark_contenders, "_original_joints", lambda _: joints)
    arguments = ["--engines", "torch", "--device", device, "--originals", "--seconds", "0"]
    arguments += ["--json", str(tmp_path / "out.json")]
    files = ["--centernet", str(tmp_path / "c.pth"), "--a2j", str(tmp_path / "a.pth")]
    assert benchmark.main([*arguments, *files]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report["peak_gflops"]) == {row["device"] for row in report["rows"]} == {device}
    engines: dict[str, list[str]] = {}
    for row in report["rows"]:
        engines.setdefault(row["what"], []).append(row["engine"].split(" float")[0])
    both = ["eager PyTorch", "torch"]
    assert engines["original: CenterNet, 64 px"] == engines["ours: A2J, 2 hands, 64 px"] == both
    assert engines["frame, 2 hands, resnet18"] == ["the original's steps, eager PyTorch"]
    assert engines["frame, 2 hands, tracked"] == ["torch"]
    printed = capsys.readouterr().out
    assert "| frame, 1 hand, detected | torch float" in printed
    assert "| original: A2J resnet50, 176 px | torch float" in printed.split("times faster")[1]


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--engines", "steam"]) == 2
    assert "the engine 'steam' is unknown" in capsys.readouterr().err


def test_a_device_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main(["--device", "cuda"]) == 2
    assert "PyTorch sees no CUDA GPU here" in capsys.readouterr().err


def test_scenes_hold_as_many_hands_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_contenders, "_RENDERED", 16)
    scenes = benchmark_contenders.scenes_with_hands()
    assert set(scenes) == {1, 2}
    for hands, those in scenes.items():
        assert those
        for one in those:
            assert len(one.boxes) == len(one.sides) == hands
            assert (one.boxes[:, :2] < one.boxes[:, 2:]).all()


def test_light_networks_are_the_shipped_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[benchmark.Networks] = []

    def measure(devices: object, kinds: object, networks: benchmark.Networks, *_: object) -> object:
        taken.append(networks)
        return [], {}

    monkeypatch.setattr(benchmark, "measure", measure)
    assert benchmark.main(["--light", "--device", "cpu"]) == benchmark.main(["--device", "cpu"]) == 0
    assert [one.centernet.stem.endswith("_light") for one in taken] == [True, False]
    assert [one.a2j.stem.endswith("_light") for one in taken] == [True, False]


def test_accuracy_is_that_of_the_precision(tmp_path: Path) -> None:
    spec = EngineSpec(nn.Conv2d(1, 1, 3), (1, 8, 8), checkpoint=tmp_path / "a.pth")
    assert benchmark_contenders._accuracy(spec, "torch float32 (cpu)") == ""
    int8 = Proof(False, {"mean_mm": 12.34}, {"mean_mm": 14.0})
    bfloat16 = Proof(True, {"mean_mm": 12.34}, {"mean_mm": 12.4})
    write_proofs(spec, {"int8": int8, "bfloat16": bfloat16})
    assert benchmark_contenders._accuracy(spec, "openvino bfloat16 (cpu)") == "12.4 mm"
    assert benchmark_contenders._accuracy(spec, "torch float32 (cpu)") == "12.3 mm"


def test_original_networks_are_the_same_each_time() -> None:
    state = torch.get_rng_state()
    first, second = (benchmark_contenders._original_joints("resnet18") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert EngineSpec(first, (1, 64, 64)).fingerprint == EngineSpec(second, (1, 64, 64)).fingerprint

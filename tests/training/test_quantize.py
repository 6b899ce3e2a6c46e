from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.engines import create_engines, openvino_engine, precision
from pipeline.engines.eight_bits import measure_ranges
from pipeline.engines.precision import Proof, accepted_proofs, proof_path, read_proofs, write_proofs
from pipeline.engines.spec import EngineSpec, spec_of
from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j
from pipeline.networks.preprocess import detector_batch
from pipeline.training import quantize
from pipeline.training.evaluate_synthetic import scene_hand_crops, scene_hand_figures
from pipeline.training.hand_task import hand_contract
from pipeline.training.rendered import fixed_scenes
from pipeline.training.scene_task import scene_contract
from tests.engines.modules import SHAPE, noise, two_heads

pytest.importorskip("openvino")

RANGES = ((0.0, 1.0), (-0.5, 2.0))


@pytest.fixture
def hands(tmp_path: Path) -> tuple[Path, A2J]:
    torch.manual_seed(0)
    network = A2J(width=0.125, head_width=8, contract=hand_contract(64)).eval()
    save_a2j(tmp_path / "hands.pth", network, {})
    return tmp_path / "hands.pth", network


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the figures that are found in float32 and in the lower precision."""
    for name in ("hand_crops", "scene_hand_crops"):
        monkeypatch.setattr(quantize, name, lambda *_: [])
    monkeypatch.setattr(quantize, "calibration_inputs", lambda *_: np.zeros((1, 1, 64, 64), np.float32))
    monkeypatch.setattr(quantize, "measure_ranges", lambda *_: list(RANGES))
    monkeypatch.setattr(quantize, "has_int8_products", lambda: True)
    monkeypatch.setattr(quantize, "has_bfloat16", lambda: True)
    monkeypatch.setattr(quantize, "find_spec", lambda _: True)
    monkeypatch.setattr(quantize, "_engine_of", lambda *_: None)

    def figures(before: float, after: float, name: str = "mean_mm") -> None:
        found = iter([{name: before}, {name: after}])
        monkeypatch.setattr(quantize, "hand_figures", lambda *_: next(found))

    return figures


def test_int8_stands_only_while_it_is_accurate(
    hands: tuple[Path, A2J], measured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    path, network = hands
    spec = spec_of(network, checkpoint=path)
    measured(9.0, 9.1)
    assert quantize.prove(path, network, "int8").accepted
    expected = Proof(True, {"mean_mm": 9.0}, {"mean_mm": 9.1}, RANGES, "bfloat16", 256, 1024)
    assert read_proofs(spec)["int8"] == accepted_proofs(spec)["int8"] == expected
    measured(9.0, 9.3)
    assert not quantize.prove(path, network, "int8").accepted
    assert not read_proofs(spec)["int8"].accepted
    assert not accepted_proofs(spec)


def test_too_few_samples_prove_nothing(
    hands: tuple[Path, A2J], measured: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--a2j", str(hands[0]), "--precision", "bfloat16", "--test"]
    measured(9.0, 9.0)
    assert quantize.main([*command, str(quantize.LEAST_TEST - 1)]) == 2
    assert capsys.readouterr().err == "511 test samples prove nothing: give --test 512 or more\n"
    assert not proof_path(hands[0]).exists()
    assert quantize.main([*command, str(quantize.LEAST_TEST)]) == 0
    assert proof_path(hands[0]).exists()


def test_int8_is_not_tried_where_it_brings_nothing(
    hands: tuple[Path, A2J], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantize, "has_int8_products", lambda: False)
    assert quantize.main(["--a2j", str(hands[0])]) == 2
    assert "no VNNI on this processor" in capsys.readouterr().err


def test_missing_packages_are_told_before_anything_is_rendered(
    hands: tuple[Path, A2J], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantize, "has_int8_products", lambda: True)
    monkeypatch.setattr(quantize, "find_spec", lambda name: name != "openvino")
    monkeypatch.setattr(quantize, "calibration_inputs", lambda *_: pytest.fail("rendered"))
    assert quantize.main(["--a2j", str(hands[0])]) == 2
    assert "pip install openvino" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "before", "just", "worse"),
    [("scene_mm", 9.0, 9.19, 9.21), ("side_second", 0.9, 0.896, 0.894), ("presence_no", 0.9, 0.896, 0.894)],
)
def test_what_else_the_joint_network_tells_counts_as_well(
    hands: tuple[Path, A2J],
    measured: Callable[..., None],
    name: str,
    before: float,
    just: float,
    worse: float,
) -> None:
    path, network = hands
    measured(before, just, name)
    assert quantize.prove(path, network, "bfloat16").accepted
    measured(before, worse, name)
    assert not quantize.prove(path, network, "bfloat16").accepted


def test_sides_count_where_a_detector_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    network, untold = CenterNet(1, 0.125, plain_head=True), {"ap50": 0.8, "handedness": float("nan")}
    before, after = {"ap50": 0.8, "handedness": 0.86}, {"ap50": 0.8, "handedness": 0.85}
    monkeypatch.setattr(quantize, "_figures", lambda *_: (untold, untold))
    assert quantize.compare(network, network, 8).accepted
    monkeypatch.setattr(quantize, "_figures", lambda *_: (before, after))
    assert not quantize.compare(network, network, 8).accepted


def test_both_precisions_are_remembered(
    hands: tuple[Path, A2J], measured: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = hands
    from pipeline.networks.checkpoints import load_a2j

    loaded = spec_of(load_a2j(path), checkpoint=path)
    for name, known in {"int8": {"int8"}, "bfloat16": {"int8", "bfloat16"}}.items():
        measured(9.0, 9.0)
        assert quantize.main(["--a2j", str(path), "--precision", name]) == 0
        assert f"hands.pth in {name}: accepted" in capsys.readouterr().out
        assert set(read_proofs(loaded)) == known


def test_bfloat16_is_the_network_rounded() -> None:
    network = A2J(width=0.125, head_width=8, contract=hand_contract(64)).eval()
    images = torch.from_numpy(noise(2, (1, 64, 64)))
    with torch.no_grad():
        found, expected = quantize.BFloat16Module(network)(images), network(images)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("on_the_processor", [True, False])
def test_bfloat16_is_measured_as_it_will_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_the_processor: bool
) -> None:
    spec = EngineSpec(two_heads(), SHAPE)
    network = A2J(width=0.125, head_width=8, contract=hand_contract(64)).eval()
    monkeypatch.setattr(quantize, "has_bfloat16", lambda: on_the_processor)
    lower = quantize._in_bfloat16(network, spec, tmp_path)
    assert isinstance(lower, quantize.EngineModule if on_the_processor else quantize.BFloat16Module)


def test_stand_ins_tell_all_that_the_network_does(tmp_path: Path) -> None:
    network = A2J(width=0.125, head_width=8, contract=hand_contract(64), side_head=True, presence=True).eval()
    spec = spec_of(network, checkpoint=tmp_path / "hands.pth")
    lower = (
        quantize.EngineModule(network, create_engines("torch", [spec], "cpu")[0]),
        quantize.BFloat16Module(network),
    )
    for module in lower:
        assert set(scene_hand_figures(module, scene_hand_crops(network.contract, 4, 1))) == {  # type: ignore[arg-type]
            "scene_mm",
            "presence_yes",
            "presence_no",
        }


def test_what_is_measured_is_the_precision_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: True)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    trial = Proof(True, {}, {}, tuple(measure_ranges(spec.module, noise(8))), "bfloat16")
    write_proofs(spec, {"int8": trial, "bfloat16": Proof(True, {}, {})})
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    assert "bfloat16" in quantize._engine_of(spec, "bfloat16", Proof(True, {}, {}), elsewhere).name
    assert "int8" in quantize._engine_of(spec, "int8", trial, elsewhere).name


def test_another_precision_is_not_measured_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    with pytest.raises(UsageError, match="hands gives wrong answers in int8"):
        quantize._engine_of(spec, "int8", Proof(True, {}, {}, ((0.0, 0.0),)), tmp_path)


def test_the_detector_is_measured_on_what_engines_are_given(tmp_path: Path) -> None:
    network = CenterNet(2, 0.125, plain_head=True, contract=replace(scene_contract(), size=64)).eval()
    spec = spec_of(network, checkpoint=tmp_path / "scenes.pth")
    engine = create_engines("torch", [spec], "cpu")[0]
    depth, ir = torch.rand(2, 64, 64) * 3000, torch.rand(2, 64, 64) * 2000
    whole = detector_batch(depth, ir, network.contract)
    with torch.no_grad():
        expected = network(whole)
        found, rounded = (
            quantize.EngineModule(network, engine)(whole),
            quantize.BFloat16Module(network)(whole),
        )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(rounded, expected, rtol=0.1, atol=0.05)


def test_calibration_sees_what_engines_are_given() -> None:
    detector = CenterNet(2, 0.125, plain_head=True, contract=scene_contract())
    inputs = quantize.calibration_inputs(detector, 2)
    assert inputs.shape == (2, *spec_of(detector).input_shape)
    (expected,) = fixed_scenes(2, quantize.CALIBRATION_SEED)
    np.testing.assert_array_equal(
        inputs, detector_batch(expected.depth, expected.ir, detector.contract)[:, :2].numpy()
    )
    hands = A2J(width=0.125, head_width=8, contract=hand_contract(64))
    assert quantize.calibration_inputs(hands, 3).shape == (3, *spec_of(hands).input_shape)


def test_nothing_to_quantise_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize.main([]) == 2
    assert "give --a2j FILE or --centernet FILE" in capsys.readouterr().err

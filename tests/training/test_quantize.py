from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.engines import create_engines
from pipeline.engines.precision import Proof, model_path, read_proofs
from pipeline.engines.spec import EngineSpec
from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import save_a2j
from pipeline.training import quantize
from pipeline.training.hand_task import hand_contract
from tests.engines.modules import SHAPE, noise, two_heads

pytest.importorskip("openvino")


@pytest.fixture
def hands(tmp_path: Path) -> tuple[Path, A2J]:
    torch.manual_seed(0)
    network = A2J(width=0.125, head_width=8, contract=hand_contract(64)).eval()
    save_a2j(tmp_path / "hands.pth", network, {})
    return tmp_path / "hands.pth", network


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Sets the mean errors that are found in float32 and in the lower precision."""
    monkeypatch.setattr(quantize, "fixed_crops", lambda *_: [])
    monkeypatch.setattr(quantize, "calibration_inputs", lambda *_: np.zeros((1, 1, 64, 64), np.float32))

    def quantized(spec: EngineSpec, inputs: np.ndarray) -> bytes:
        return b"8 bits"

    monkeypatch.setattr(quantize, "quantized", quantized)
    monkeypatch.setattr(quantize, "_engine_of", lambda *_: None)

    def errors(before: float, after: float) -> None:
        found = iter([{"mean_mm": before}, {"mean_mm": after}])
        monkeypatch.setattr(quantize, "hand_figures", lambda *_: next(found))

    return errors


def test_int8_stands_only_while_it_is_accurate(
    hands: tuple[Path, A2J], measured: Callable[[float, float], None]
) -> None:
    path, network = hands
    spec = EngineSpec(network, (1, 64, 64), checkpoint=path)
    measured(9.0, 9.1)
    assert quantize.prove(path, network, "int8").accepted
    assert model_path(path, "int8").read_bytes() == b"8 bits"
    assert read_proofs(spec)["int8"] == Proof(True, {"mean_mm": 9.0}, {"mean_mm": 9.1})
    measured(9.0, 9.3)
    assert not quantize.prove(path, network, "int8").accepted
    assert not model_path(path, "int8").exists()
    assert not read_proofs(spec)["int8"].accepted


def test_both_precisions_are_remembered(
    hands: tuple[Path, A2J], measured: Callable[[float, float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = hands
    for precision in ("int8", "bfloat16"):
        measured(9.0, 9.0)
        assert quantize.main(["--a2j", str(path), "--precision", precision]) == 0
    assert "hands.pth in bfloat16: accepted" in capsys.readouterr().out
    from pipeline.networks.checkpoints import load_a2j

    loaded = EngineSpec(load_a2j(path), (1, 64, 64), checkpoint=path)
    assert set(read_proofs(loaded)) == {"int8", "bfloat16"}


def test_bfloat16_is_the_network_rounded() -> None:
    network = A2J(width=0.125, head_width=8, contract=hand_contract(64)).eval()
    images = torch.from_numpy(noise(2, (1, 64, 64)))
    with torch.no_grad():
        found, expected = quantize.BFloat16Module(network)(images), network(images)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.05)


def test_quantised_networks_run(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    spec = EngineSpec(two_heads(), SHAPE)
    model = quantize.quantized(spec, noise(8))
    engine = quantize._engine_of(spec, model, tmp_path)
    assert "int8" in engine.name
    (reference,) = create_engines("torch", [spec], "cpu")
    for found, expected in zip(engine.run(noise(2)), reference.run(noise(2)), strict=True):
        error = np.sqrt(np.square(found - expected).mean())
        assert 0 < error < 0.1 * np.sqrt(np.square(expected).mean())


def test_nothing_to_quantise_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize.main([]) == 2
    assert "give --a2j FILE or --centernet FILE" in capsys.readouterr().err

"""OpenVINO and ONNX Runtime."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.constants import ROOT
from pipeline.engines import onnx_engine, openvino_engine, precision
from pipeline.engines.cache import ModelCache
from pipeline.engines.eight_bits import in_eight_bits, measure_ranges
from pipeline.engines.onnx_engine import OnnxEngine
from pipeline.engines.onnx_export import export_onnx
from pipeline.engines.openvino_engine import OpenVinoEngine
from pipeline.engines.precision import Proof, proof_path, read_proofs, write_proofs
from pipeline.engines.protocol import Engine
from pipeline.engines.spec import EngineSpec, spec_of
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.contracts import DetectorInput
from pipeline.training.hand_task import hand_contract
from tests.engines.modules import SHAPE, exported, lived_in, noise, two_heads

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

both = pytest.mark.parametrize("make", [OpenVinoEngine, OnnxEngine])


def assert_same_answers(engine: Engine, spec: EngineSpec, count: int) -> None:
    batch = noise(count, spec.input_shape)
    found, expected = engine.run(batch), spec.reference(batch)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.fixture(autouse=True)
def exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_engine, "export_onnx", exported)


@both
def test_any_batch_gives_the_modules_answers(make: Callable[[EngineSpec], Engine]) -> None:
    spec = EngineSpec(two_heads(), SHAPE)
    engine = make(spec)
    for count in (1, 3, 1, 9):
        assert_same_answers(engine, spec, count)
    assert engine.name == f"{'openvino' if make is OpenVinoEngine else 'onnx'} float32 (cpu)"


def test_engines_for_single_images_take_several_too() -> None:
    spec = EngineSpec(two_heads(), SHAPE, max_batch=1)
    engine = OpenVinoEngine(spec)
    for count in (3, 1, 2):
        assert_same_answers(engine, spec, count)


def test_ctrl_c_reaches_the_program_after_engines_are_gone() -> None:
    """In a process of its own: it would crash."""
    code = (
        "import os, signal, torch\n"
        "from pipeline.engines.openvino_engine import OpenVinoEngine\n"
        "from pipeline.engines.spec import EngineSpec\n"
        "engines = [OpenVinoEngine(EngineSpec(torch.nn.ReLU(), (1, 4, 4))) for _ in range(2)]\n"
        "while engines:\n"
        "    del engines[0]\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('told')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "told\n"


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (CenterNet(2, width=0.125, plain_head=True), (3, 64, 64)),
        (A2J(width=0.125, head_width=8), (1, 64, 64)),
        (A2J("mobilenet", head_width=8), (1, 64, 64)),
    ],
    ids=["detector", "resnet", "mobilenet"],
)
def test_both_networks_convert(module: nn.Module, shape: tuple[int, int, int]) -> None:
    spec = EngineSpec(lived_in(module), shape)
    assert_same_answers(OpenVinoEngine(dataclasses.replace(spec, threads=1)), spec, 2)


@both
def test_the_second_start_converts_nothing(
    make: Callable[[EngineSpec], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    make(spec)

    def never(*_: object) -> bytes:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino_engine, "convert", never)
    monkeypatch.setattr(onnx_engine, "export_onnx", never)
    assert_same_answers(make(dataclasses.replace(spec)), spec, 2)
    with pytest.raises(AssertionError, match="again"):
        make(dataclasses.replace(spec, module=two_heads(seed=1)))


def test_the_module_is_left_alone(tmp_path: Path) -> None:
    module = two_heads()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    spec = EngineSpec(module, SHAPE)
    OpenVinoEngine(spec, cache=ModelCache(spec, [tmp_path]))
    export_onnx(spec, half=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_eight_bits_are_taken_where_they_are_proven_for_these_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    ranges = tuple(measure_ranges(spec.module, noise(8)))
    assert "float32" in OpenVinoEngine(spec).name
    write_proofs(spec, {"int8": Proof(False, {"mean_mm": 9.0}, {"mean_mm": 12.0}, ranges)})
    assert "float32" in OpenVinoEngine(spec).name
    write_proofs(spec, {"int8": Proof(True, {"mean_mm": 9.0}, {"mean_mm": 9.1}, ranges)})
    engine = OpenVinoEngine(spec)
    assert "int8" in engine.name
    rounded = EngineSpec(in_eight_bits(spec.module, ranges), SHAPE)
    for found, expected in zip(engine.run(noise(2)), rounded.reference(noise(2)), strict=True):
        # A sum that lies between two steps may fall on either.
        assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()
    assert "float32" in OpenVinoEngine(dataclasses.replace(spec, module=two_heads(seed=1))).name
    assert "float32" in OnnxEngine(spec).name
    monkeypatch.setattr(precision, "has_int8_products", lambda: False)  # a processor without VNNI
    assert "float32" in OpenVinoEngine(spec).name


def test_models_in_8_bits_of_earlier_proofs_and_weights_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    for seed in range(6):
        spec = EngineSpec(two_heads(seed), SHAPE, max_batch=1, checkpoint=tmp_path / "hands.pth")
        ranges = tuple(measure_ranges(spec.module, noise(8)))
        write_proofs(spec, {"int8": Proof(True, {}, {}, ranges)})
        assert "int8" in OpenVinoEngine(spec).name
    assert len(list(tmp_path.glob("*.engine"))) == 4


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        '{"ranges": 3}',
        "[[0, NaN]]",
        "[[0, 1, 2]]",
        '[["a", 1]]',
        '["01"]',
        "null",
        "[[true, true]]",
        "[[5, -5]]",
        "[[0, 1e308]]",
        f"[[0, 1{'0' * 400}]]",
    ],
)
def test_damaged_proofs_are_told_and_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    write_proofs(spec, {"int8": Proof(True, {}, {}, ((0.0, 1.0),))})
    path = proof_path(tmp_path / "hands.pth")
    content = json.loads(path.read_text())
    content["precisions"]["int8"]["ranges"] = "RANGES"
    path.write_text(json.dumps(content).replace('"RANGES"', broken))
    assert "float32" in OpenVinoEngine(spec).name
    assert "is damaged and counts for nothing" in caplog.text
    assert read_proofs(spec) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accepted", "true"),
        ("accepted", 2),
        ("rest", 5),
        ("rest", "int4"),
        ("before", None),
        ("test", "8"),
        ("calibration", True),
    ],
)
def test_proofs_of_wrong_types_are_none(tmp_path: Path, name: str, value: object) -> None:
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    write_proofs(spec, {"bfloat16": Proof(True, {}, {})})
    path = proof_path(tmp_path / "hands.pth")
    content = json.loads(path.read_text())
    content["precisions"]["bfloat16"][name] = value
    path.write_text(json.dumps(content))
    assert read_proofs(spec) == {}


def test_proofs_that_do_not_tell_their_samples_count(tmp_path: Path) -> None:
    """As those of earlier versions."""
    spec, proof = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth"), Proof(True, {}, {})
    write_proofs(spec, {"bfloat16": proof})
    path = proof_path(tmp_path / "hands.pth")
    content = json.loads(path.read_text())
    del content["precisions"]["bfloat16"]["calibration"], content["precisions"]["bfloat16"]["test"]
    path.write_text(json.dumps(content))
    assert read_proofs(spec) == {"bfloat16": proof}


def test_proofs_that_cannot_be_read_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    assert read_proofs(spec) == {}
    assert not caplog.text
    proof_path(tmp_path / "hands.pth").write_text("[" * 200_000)
    assert read_proofs(spec) == {}
    proof_path(tmp_path / "hands.pth").unlink()
    proof_path(tmp_path / "hands.pth").mkdir()
    assert read_proofs(spec) == {}
    assert "is damaged" in caplog.text
    assert "cannot be read" in caplog.text


def test_ranges_that_do_not_fit_cost_the_8_bits_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    write_proofs(spec, {"int8": Proof(True, {}, {}, ((0.0, 1.0),) * 3)})
    engine = OpenVinoEngine(spec)
    assert "float32" in engine.name
    assert_same_answers(engine, spec, 2)
    assert "hands does without 8 bits" in caplog.text


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (-1e29, 1e29), (0.0, 1e-3)])
def test_8_bits_that_give_wrong_answers_cost_the_8_bits_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bounds: tuple[float, float],
) -> None:
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    write_proofs(spec, {"int8": Proof(True, {}, {}, (bounds,))})
    engine = OpenVinoEngine(spec)
    assert "float32" in engine.name
    assert_same_answers(engine, spec, 2)
    assert "hands gives wrong answers in 8 bits, and does without" in caplog.text


def _networks() -> dict[str, EngineSpec]:
    torch.manual_seed(0)
    contract = hand_contract(64)
    hands = A2J(width=0.125, head_width=8, contract=contract, side_head=True, presence=True)
    scenes = CenterNet(2, 0.125, plain_head=True, contract=DetectorInput(size=64, classes=("left", "right")))
    for network in (hands, scenes):
        lived_in(network)
    return {"hands": spec_of(hands), "scenes": spec_of(scenes)}


@pytest.mark.parametrize(("name", "convolutions"), [("hands", 35), ("scenes", 20)])
def test_networks_in_8_bits_run_in_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, convolutions: int
) -> None:
    """All convolutions but the first, and the detector's last three; OpenVINO itself says so."""
    import openvino

    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    spec = dataclasses.replace(_networks()[name], checkpoint=tmp_path / "network.pth")
    batch = noise(2, spec.input_shape)
    ranges = tuple(measure_ranges(spec.module, batch))
    write_proofs(spec, {"int8": Proof(True, {}, {}, ranges)})
    compiled: list[openvino.CompiledModel] = []
    compile_model = openvino.Core.compile_model

    def remember(core: openvino.Core, *arguments: object) -> openvino.CompiledModel:
        compiled.append(compile_model(core, *arguments))
        return compiled[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", remember)
    engine = OpenVinoEngine(spec)
    assert len(compiled) == 2
    for model in compiled:
        layers = [op.get_rt_info() for op in model.get_runtime_model().get_ops()]
        kinds = [
            layer["runtimePrecision"].get() for layer in layers if layer["layerType"].get() == "Convolution"
        ]
        assert kinds.count("u8") + kinds.count("i8") == convolutions
    rounded = dataclasses.replace(spec, module=in_eight_bits(spec.module, ranges))
    for found, expected in zip(engine.run(batch), rounded.reference(batch), strict=True):
        assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean() + 1e-3


@pytest.mark.parametrize(("rest", "able"), [("bfloat16", True), ("bfloat16", False), ("float32", True)])
def test_what_is_not_in_8_bits_is_in_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: Literal["float32", "bfloat16"], able: bool
) -> None:
    import openvino

    hints: list[str] = []
    compile_model = openvino.Core.compile_model

    def remember(core: openvino.Core, model: object, device: str, settings: dict[str, str]) -> object:
        hints.append(settings["INFERENCE_PRECISION_HINT"])
        return compile_model(core, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", remember)
    monkeypatch.setattr(precision, "has_int8_products", lambda: True)
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: able)
    spec = EngineSpec(two_heads(), SHAPE, max_batch=1, checkpoint=tmp_path / "hands.pth")
    eight = Proof(True, {}, {}, tuple(measure_ranges(spec.module, noise(8))), rest)
    write_proofs(spec, {"int8": eight, "bfloat16": Proof(True, {}, {})})
    assert "int8" in OpenVinoEngine(spec).name
    assert hints == ["bf16" if rest == "bfloat16" and able else "f32"]


@pytest.mark.parametrize("on_the_processor", [True, False])
def test_bfloat16_is_for_proven_weights_and_processors_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_the_processor: bool
) -> None:
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: on_the_processor)
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "hands.pth")
    assert "float32" in OpenVinoEngine(spec).name
    write_proofs(spec, {"bfloat16": Proof(True, {"mean_mm": 9.0}, {"mean_mm": 9.1})})
    assert OpenVinoEngine(spec).name == f"openvino {'bfloat16' if on_the_processor else 'float32'} (cpu)"
    assert "float32" in OpenVinoEngine(dataclasses.replace(spec, module=two_heads(seed=1))).name


def test_half_precision_onnx_takes_and_gives_float32(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    spec = EngineSpec(two_heads(), SHAPE)
    model = exported(spec, half=True)
    weights = {tensor.data_type for tensor in onnx.load_from_string(model).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in weights
    assert onnx.TensorProto.FLOAT not in weights
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batch = noise(2)
    for found, expected in zip(session.run(None, {"x": batch}), spec.reference(batch), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_openvino_tells_its_makers_nothing(tmp_path: Path) -> None:
    """In a process of its own, that is not in CI."""
    script = (
        "import multiprocessing\n"
        "from pipeline.engines.openvino_engine import convert\n"
        "from pipeline.engines.spec import EngineSpec\n"
        "from tests.engines.modules import SHAPE, two_heads\n"
        "multiprocessing.Process.start = lambda *_: print('sent')\n"
        "assert convert(EngineSpec(two_heads(), SHAPE))\n"
    )
    of_ci = ("CI", "TF_BUILD", "JENKINS_URL")
    alone = {name: value for name, value in os.environ.items() if name not in of_ci}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**alone, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "sent" not in done.stdout
    assert not list(tmp_path.iterdir())

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from pipeline import engines
from pipeline.command_line import ENGINES, _parser
from pipeline.constants import A2J_CHECKPOINT, CENTERNET_CHECKPOINT

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
REQUIREMENT_FILES = sorted(ROOT.glob("requirements*.txt"))
PACKAGE_OF_MODULE = {
    "cv2": "opencv-python",
    "PIL": "pillow",
    "fast_simplification": "fast-simplification",
}
# Imported where they are, beside others that do the same work.
OPTIONAL = {"pyk4a", "tensorrt", "torch2trt", "onnx", "onnxscript", "onnxruntime"}
# Required, but imported nowhere.
NOT_IMPORTED = {
    "pyk4a-bundle",  # brings pyk4a
    "ruff",  # a command
    "mypy",  # a command
    "setuptools",  # builds torch2trt
}
COMMANDS_WITHOUT_CAMERAS = ("train_a2j", "train_centernet", "evaluate", "evaluate_synthetic", "visualize")
JETSON = {"platform_release": "5.15.148-tegra", "platform_machine": "aarch64", "sys_platform": "linux"}
PC = {"platform_release": "6.8.0-45-generic", "platform_machine": "x86_64", "sys_platform": "linux"}


def _requirements(path: Path) -> Iterator[Requirement]:
    for line in path.read_text().splitlines():
        text = line.split(" #")[0].strip()
        if text.startswith("-r "):
            yield from _requirements(path.parent / text[3:].strip())
        elif text and not text.startswith("#"):
            yield Requirement(text)


def _names(path: Path, environment: dict[str, str] | None = None) -> set[str]:
    return {
        one.name
        for one in _requirements(path)
        if environment is None or one.marker is None or one.marker.evaluate(environment)
    }


def _packages(files: Iterable[Path]) -> set[str]:
    """That the files import, the standard library apart."""
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    found -= {"pipeline", "tests", *sys.stdlib_module_names}
    return {PACKAGE_OF_MODULE.get(name, name) for name in found}


def test_every_import_of_the_program_is_required() -> None:
    program = _packages(path for path in (ROOT / "pipeline").rglob("*.py") if "training" not in path.parts)
    assert program - OPTIONAL <= _names(ROOT / "requirements.txt")


def test_every_import_of_training_and_tests_is_required() -> None:
    training = set((ROOT / "pipeline" / "training").rglob("*.py"))
    bodies = {path for path in training if path.name == "export_bodies.py"}
    assert _packages(training - bodies) - OPTIONAL <= _names(ROOT / "requirements-training.txt")
    assert _packages(bodies) <= _names(ROOT / "requirements-bodies.txt")
    tests = _packages((ROOT / "tests").rglob("*.py"))
    assert tests - OPTIONAL <= _names(ROOT / "requirements-test.txt")


def test_every_requirement_is_imported() -> None:
    required = set().union(*(_names(path) for path in REQUIREMENT_FILES))
    imported = _packages(path for name in ("pipeline", "tests") for path in (ROOT / name).rglob("*.py"))
    assert required - imported == NOT_IMPORTED


def test_all_packages_that_users_expect_are_accounted_for() -> None:
    everything = set().union(*(_names(path) for path in REQUIREMENT_FILES))
    named = {"pyk4a", "torch", "torchvision", "torch2trt", "tensorrt", "numpy", "opencv-python"}
    assert named <= everything
    text = (ROOT / "requirements.txt").read_text()
    assert all(package in text for package in named)


def test_default_packages_need_no_vendor_and_a_jetson_keeps_its_own() -> None:
    default = _names(ROOT / "requirements.txt", PC)
    assert not default & {"pyk4a", "pyk4a-bundle", "tensorrt", "torch2trt"}
    assert {"torch", "torchvision"} <= default
    assert not _names(ROOT / "requirements.txt", JETSON) & {"torch", "torchvision", "tensorrt"}
    assert "tensorrt" not in _names(ROOT / "requirements-tensorrt.txt", JETSON)
    assert "pyk4a-bundle" in _names(ROOT / "requirements-azure.txt", PC)
    assert "pyk4a" in _names(ROOT / "requirements-azure.txt", JETSON)


@pytest.mark.parametrize("path", REQUIREMENT_FILES, ids=lambda path: path.name)
def test_every_package_has_its_reason(path: Path) -> None:
    """A comment above each group of lines."""
    explained = False
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("-r "):
            explained = False
        elif line.startswith("#"):
            explained = True
        else:
            assert explained, f"{path.name}: {line}"


def test_no_module_hides_one_of_the_standard_library() -> None:
    modules = {path.stem for path in (ROOT / "pipeline").iterdir()}
    assert not modules & set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", ["pipeline", "pipeline.errors", "pipeline.hand", "pipeline.command_line"])
def test_light_modules_load_without_networks(module: str) -> None:
    program = f"import sys, {module}; assert not {{'torch', 'av'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("command", ["benchmark", *(f"training.{n}" for n in COMMANDS_WITHOUT_CAMERAS)])
def test_commands_start_without_packages_that_they_do_not_use(command: str) -> None:
    absent = "import sys; sys.modules.update(dict.fromkeys(['av', 'openvino', 'motmetrics', 'pyk4a']))"
    program = f"{absent}; import pipeline.{command}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", ["outputs", "cameras.recording", "recording_writer"])
def test_opencv_is_loaded_before_pyav(module: str) -> None:
    """Or its window hangs: see `pipeline/pyav.py`."""
    program = f"import sys, pipeline.{module}; loaded = list(sys.modules)\n"
    program += "assert loaded.index('cv2') < loaded.index('av')"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_engines_on_the_command_line_are_those_that_exist() -> None:
    assert engines.ENGINES == ENGINES


def test_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_make_installs_once_and_then_only_runs(tmp_path: Path) -> None:
    fresh = _make("-n", "demo", f"VENV={tmp_path}/venv").stdout
    assert "-m venv" in fresh
    assert "install -r requirements.txt" in fresh
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for name in ("bin/python", ".installed"):
        (tmp_path / "venv" / name).touch()
    again = _make("-n", "demo", f"VENV={tmp_path}/venv").stdout
    assert "install -r" not in again
    assert "-m venv" not in again
    assert "pipeline.azure_kinect --source demo" in again


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-training.txt", "requirements-test.txt"])
def test_make_test_installs_what_has_changed(tmp_path: Path, name: str) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for made in ("bin/python", ".installed", ".installed-test"):
        (tmp_path / "venv" / made).touch()
    assert "install -r" not in _make("-n", "test", f"VENV={tmp_path}/venv").stdout
    changed = _make("-n", "-W", name, "test", f"VENV={tmp_path}/venv").stdout
    assert "install -r requirements-test.txt" in changed


def test_make_sees_the_jetsons_packages(tmp_path: Path) -> None:
    assert "--system-site-packages" in _make("-n", "demo", "JETSON=1", f"VENV={tmp_path}/venv").stdout
    assert "--system-site-packages" not in _make("-n", "demo", "JETSON=", f"VENV={tmp_path}/venv").stdout


@pytest.mark.parametrize(
    ("fails", "advice"), [("version_info", "older than 3.10"), ("ensurepip", "apt install python3-venv")]
)
def test_make_says_what_is_missing(tmp_path: Path, fails: str, advice: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *{fails}*) exit 1;; esac\n')
    python.chmod(0o755)
    run = _make("demo", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert run.returncode != 0
    assert advice in run.stderr
    assert not (tmp_path / "venv").exists()


def test_readme_lists_exactly_the_options_of_the_program() -> None:
    table = README.split("## Options")[1].split("Keys in the window")[0]
    described = set(re.findall(r"--[a-z][a-z0-9-]*", table))
    options = {text for action in _parser()._actions for text in action.option_strings if text[:2] == "--"}
    assert described == options - {"--help"}


def test_readme_commands_use_options_and_files_that_exist() -> None:
    options = {text for action in _parser()._actions for text in action.option_strings}
    for line in README.splitlines():
        if "azure_kinect.py " in line:
            assert set(re.findall(r"(?<=\s)--[a-z0-9-]+", line.split("azure_kinect.py")[1])) <= options
    for name in re.findall(r"requirements[a-z0-9-]*\.txt", README):
        assert (ROOT / name).is_file()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make (demo|test|lint)", README)) <= set(targets)


def test_readme_keys_are_those_of_the_window() -> None:
    from pipeline.drawing import HELP

    keys = README.split("Keys in the window:")[1].split("\n\n")[0]
    for line in HELP:
        for key in line.split("  ")[0].split(", "):
            assert key in keys, key


@pytest.fixture
def weights() -> None:
    if not (A2J_CHECKPOINT.is_file() and CENTERNET_CHECKPOINT.is_file()):
        pytest.skip("there are no weights")


@pytest.mark.usefixtures("weights")
def test_readme_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def _snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def short_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo ends after three frames."""
    from pipeline.cameras.demo import DemoCamera

    endless: Callable[[DemoCamera], Any] = DemoCamera.__next__

    def limited(camera: DemoCamera) -> Any:
        frame = endless(camera)
        if frame.index >= 3:
            raise StopIteration
        return frame

    monkeypatch.setattr(DemoCamera, "__next__", limited)


@pytest.mark.usefixtures("weights", "short_demo")
@pytest.mark.parametrize("snippet", _snippets("python"))
def test_readme_python_runs(snippet: str) -> None:
    rng = np.random.default_rng(0)
    depth = rng.integers(500, 2000, (576, 640)).astype(np.uint16)
    exec(snippet, {"depth": depth, "ir": depth})


def test_readme_json_has_the_keys_that_are_written(tmp_path: Path) -> None:
    import json

    from pipeline.hand import HAND_21
    from pipeline.outputs import JsonLines
    from pipeline.result import Result
    from tests.scripted import CAMERA, ScriptedPose, flat_frame, open_hand

    output = JsonLines(tmp_path / "a.jsonl", HAND_21, CAMERA, "torch")
    output.write(Result(flat_frame(), [open_hand()], ScriptedPose.timings))
    output.close()
    (shown,) = _snippets("json")
    for described, written in zip(shown.splitlines(), output.path.read_text().splitlines(), strict=True):
        assert _shape(json.loads(described)) == _shape(json.loads(written))


def _shape(value: Any) -> Any:
    """Keys of nested dictionaries, in order."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_shape(value[0])]
    return None

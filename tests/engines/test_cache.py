import dataclasses
import logging
import os
from pathlib import Path

import pytest
import torch

from pipeline.engines.cache import ModelCache, user_folder
from pipeline.engines.spec import EngineSpec
from pipeline.engines.spec import spec_of as spec_of_network
from pipeline.networks.centernet import CenterNet
from tests.engines.modules import SHAPE, two_heads


def spec_of(folder: Path, seed: int = 0) -> EngineSpec:
    return EngineSpec(two_heads(seed), SHAPE, checkpoint=folder / "hands.pth")


def never() -> bytes:
    raise AssertionError("made again")


def test_models_are_made_once(tmp_path: Path) -> None:
    assert ModelCache(spec_of(tmp_path)).get("kind", "v1", lambda: b"model", bytes.decode) == "model"
    assert ModelCache(spec_of(tmp_path)).get("kind", "v1", never, bytes.decode) == "model"
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("hands.kind.v1.")
    assert file.suffix == ".engine"


def test_other_weights_versions_and_kinds_are_made_anew(tmp_path: Path) -> None:
    ModelCache(spec_of(tmp_path)).get("kind", "v1", lambda: b"old", bytes.decode)
    for spec, kind, version in (
        (spec_of(tmp_path, seed=1), "kind", "v1"),
        (spec_of(tmp_path), "other", "v1"),
        (spec_of(tmp_path), "kind", "v2"),
    ):
        assert ModelCache(spec).get(kind, version, lambda: b"new", bytes.decode) == "new"


def test_fingerprint_sees_every_weight_and_layer() -> None:
    module = two_heads()
    known = {EngineSpec(module, SHAPE).fingerprint, EngineSpec(module, (2, 16, 16)).fingerprint}
    module.common[2].negative_slope = 0.1  # type: ignore[index, union-attr]
    known.add(EngineSpec(module, SHAPE).fingerprint)
    with torch.no_grad():
        module.common[1].running_var[0] += 1e-3  # type: ignore[index, union-attr]
    known.add(EngineSpec(module, SHAPE).fingerprint)
    assert len(known) == 4
    assert EngineSpec(two_heads(), SHAPE).fingerprint in known


def test_other_forms_of_a_network_keep_its_fingerprint() -> None:
    """Their weights are computed, and may come to other digits on another machine."""
    network = CenterNet(2, 0.125, plain_head=True).eval()
    spec = spec_of_network(network)
    digits = spec.fingerprint
    with torch.no_grad():
        next(spec.module.parameters()).add_(1e-6)
    assert dataclasses.replace(spec).fingerprint == digits
    with torch.no_grad():
        network.model.conv1.weight[0, 0, 0, 0] += 1e-3
    assert spec_of_network(network).fingerprint != digits


def test_damaged_models_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def load(content: bytes) -> bytes:
        if content != b"model":
            raise RuntimeError("unexpected end")
        return content

    cache = ModelCache(spec_of(tmp_path))
    cache.get("kind", "v1", lambda: b"model", load)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"mod")
    assert cache.get("kind", "v1", lambda: b"model", load) == b"model"
    assert "cannot be used (unexpected end): it is made anew" in caplog.text
    assert file.read_bytes() == b"model"


def test_models_that_do_not_load_are_not_kept(tmp_path: Path) -> None:
    def load(content: bytes) -> None:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        ModelCache(spec_of(tmp_path)).get("kind", "v1", lambda: b"model", load)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed, opened = tmp_path / "file", tmp_path / "opened"
    closed.write_text("not a folder")
    cache = ModelCache(spec_of(tmp_path), [closed, opened])
    assert cache.get("kind", "v1", lambda: b"model", bytes.decode) == "model"
    assert cache.get("kind", "v1", never, bytes.decode) == "model"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        ModelCache(spec_of(tmp_path), [closed]).get("kind", "v1", lambda: b"model", bytes.decode)
    assert "made again next time" in caplog.text


def test_the_newest_four_are_kept(tmp_path: Path) -> None:
    for k in range(6):
        ModelCache(spec_of(tmp_path)).get("kind", f"v{k}", lambda: b"model", bytes.decode)
        for file in tmp_path.glob(f"*.v{k}.*"):
            os.utime(file, (k, k))
    ModelCache(spec_of(tmp_path)).get("other", "v0", lambda: b"model", bytes.decode)
    kept = sorted(file.name.split(".")[2] for file in tmp_path.glob("hands.kind.*"))
    assert kept == ["v2", "v3", "v4", "v5"]


def test_dots_in_a_files_name_do_not_mix_up_kinds(tmp_path: Path) -> None:
    spec = EngineSpec(two_heads(), SHAPE, checkpoint=tmp_path / "best.epoch32.pth")
    for k in range(6):
        ModelCache(spec).get(f"kind{k}", "v1", lambda: b"model", bytes.decode)
    assert len(list(tmp_path.glob("*.engine"))) == 6


def test_networks_without_a_file_use_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ModelCache(EngineSpec(two_heads(), SHAPE)).get("kind", "v1", lambda: b"model", bytes.decode)
    assert user_folder().parent == tmp_path
    assert [file.name.split(".")[0] for file in user_folder().iterdir()] == ["twoheads"]

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import HandPoseError, UsageError
from pipeline.hand import HANDS2017_21, ICVL_16, NYU_14, NYU_16, skeleton_for
from pipeline.networks.a2j import A2J, BACKBONES
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_a2j, load_centernet, read_meta, save_a2j, save_centernet
from pipeline.networks.contracts import DetectorInput, HandInput
from tests.networks import literal

AUTHORS = {
    "back_bone.": "Backbone.",
    "joint_classification.": "classificationModel.",
    "offset_regression.": "regressionModel.",
    "depth_regression.": "DepthRegressionModel.",
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a test writes its checkpoint; full-size ones are not kept."""
    file = tmp_path / "network.pth"
    yield file
    if file.is_file():
        file.unlink()


def small_a2j(side_head: bool = False) -> A2J:
    torch.manual_seed(0)
    contract = HandInput(size=64, crop_mm=260.0, depth_range_mm=150.0, outside="far", std=150.0)
    contract = replace(contract, handedness="right")
    network = A2J("resnet18", width=0.125, head_width=8, contract=contract, side_head=side_head)
    literal.shaken(network)
    return network


def small_centernet() -> CenterNet:
    torch.manual_seed(0)
    contract = DetectorInput(ir_max=3000.0, ir_sqrt=True, offset_scale=2.0, classes=("left", "right"))
    network = CenterNet(2, width=0.125, plain_head=True, contract=contract)
    literal.shaken(network)
    return network


def hollow(module: nn.Module) -> dict[str, Tensor]:
    """The state dict's names and shapes in a file of a few kilobytes."""
    return {
        name: torch.full((), 0.5, device="cpu").expand(tensor.shape)
        for name, tensor in module.state_dict().items()
    }


def authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace(ours, theirs, 1): tensor
        for name, tensor in state.items()
        for ours, theirs in AUTHORS.items()
        if name.startswith(ours)
    }


# --- Ours ----------------------------------------------------------------------------------------------


def test_own_a2j_comes_back_with_its_contract_and_story(path: Path) -> None:
    network = small_a2j()
    save_a2j(path, network, {"command": "train a2j", "error_mm": 12.5, "commit": None})
    again = load_a2j(path)
    assert again.contract == network.contract
    assert not again.training
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        for one, other in zip(again(x), network(x), strict=True):
            torch.testing.assert_close(one, other, atol=2e-2, rtol=2e-2)
    meta = read_meta(path)
    assert (meta["command"], meta["error_mm"], meta["commit"]) == ("train a2j", 12.5, None)
    assert meta["contract"]["crop_mm"] == 260.0


def test_side_head_comes_back(path: Path) -> None:
    network = small_a2j(side_head=True)
    save_a2j(path, network, {})
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        for one, other in zip(load_a2j(path).read(x), network.read(x), strict=True):
            torch.testing.assert_close(one, other, atol=2e-2, rtol=2e-2)


def test_files_from_before_the_side_head_load(path: Path) -> None:
    save_a2j(path, small_a2j(), {})
    file = torch.load(path, weights_only=True)
    del file["meta"]["architecture"]["side_head"]
    torch.save(file, path)
    assert load_a2j(path).side_head is None


def test_own_centernet_comes_back_with_its_contract(path: Path) -> None:
    network = small_centernet()
    save_centernet(path, network, {})
    again = load_centernet(path)
    assert again.contract == network.contract
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(x), network(x), atol=2e-2, rtol=2e-2)


def test_files_are_half_as_large_and_hold_plain_values_only(path: Path) -> None:
    network = small_a2j()
    save_a2j(path, network, {"folder": path, "loss": float("nan")})
    kernels = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    assert path.stat().st_size < 2.6 * kernels
    file = torch.load(path, weights_only=True)
    assert file["num_classes"] == 21
    assert file["meta"]["folder"] == str(path)
    assert file["model"]["offset_regression.output.weight"].dtype == torch.float16


def test_loaded_network_goes_on_training(path: Path) -> None:
    save_a2j(path, small_a2j(), {})
    network = load_a2j(path).train()
    network(torch.randn(2, 1, 64, 64))[1].sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert gradients["offset_regression.conv1.weight"] is not None


def test_large_statistics_survive_half_precision(path: Path) -> None:
    network = small_a2j()
    network.state_dict()["back_bone.model.bn1.running_var"].fill_(1e6)  # beyond half precision
    save_a2j(path, network, {})
    assert load_a2j(path).state_dict()["back_bone.model.bn1.running_var"][0] == 1e6


def test_failed_write_says_so_and_keeps_the_file_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_a2j(path, small_a2j(), {"run": 1})

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(HandPoseError, match=r"cannot write the checkpoint .*network\.pth"):
        save_a2j(path, small_a2j(), {"run": 2})
    assert read_meta(path)["run"] == 1


# --- Published -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_nvidias_a2j_is_recognised(path: Path, backbone: str) -> None:
    with torch.device("meta"):
        network = A2J(backbone, num_joints=16)
    rest: dict[str, Any] = {"optim": {"state": {}, "param_groups": []}, "sched": {"gamma": 0.2}, "epoch": 33}
    torch.save({"num_classes": 16, "model": hollow(network), **rest}, path)
    found = load_a2j(path)
    assert (found.backbone, found.num_joints, found.negative_slope) == (backbone, 16, 0.01)
    assert found.contract == HandInput(
        size=176,
        window_px=220.0,
        window_fx=588.0,
        depth_range_mm=180.0,
        outside="centre",
        mean=-0.66877532,
        std=28.32958208,
        skeleton=NYU_16,
    )
    assert read_meta(path) == {}


def test_nvidias_a2j_gives_the_same_output(path: Path) -> None:
    torch.manual_seed(0)
    network = literal.shaken(A2J("resnet18", num_joints=14))
    state = network.state_dict()
    torch.save({"num_classes": 14, "model": state, "epoch": 1}, path)
    x = torch.randn(1, 1, 48, 48)
    with torch.no_grad():
        for one, other in zip(load_a2j(path)(x), literal.a2j(state, x, "resnet18", 14), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_authors_weights_give_the_same_output(path: Path) -> None:
    """A bare state dict in the file format of their day, ReLU, ResNet-50."""
    torch.manual_seed(0)
    state = literal.shaken(A2J("resnet50", num_joints=14)).state_dict()
    old = {name: t for name, t in authors_names(state).items() if not name.endswith("num_batches_tracked")}
    torch.save(old, path, _use_new_zipfile_serialization=False)
    network = load_a2j(path)
    x = torch.randn(1, 1, 48, 48)
    with torch.no_grad():
        for one, other in zip(network(x), literal.a2j(state, x, "resnet50", 14, slope=0.0), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "wanted",
    [
        HandInput(crop_mm=220.0, mean=-0.66877532, std=28.32958208, skeleton=NYU_14),
        HandInput(crop_mm=190.0, mean=4.82706137, std=16.29524411, skeleton=ICVL_16),
        HandInput(crop_mm=200.0, mean=-6.39239157, std=25.00686072, skeleton=HANDS2017_21),
    ],
)
def test_authors_weights_bring_their_data_sets_input(path: Path, wanted: HandInput) -> None:
    with torch.device("meta"):
        torch.save(authors_names(hollow(A2J("resnet50", wanted.skeleton.num_joints))), path)
    assert load_a2j(path).contract == replace(wanted, size=176, depth_range_mm=150.0, outside="centre")


@pytest.mark.parametrize(("classes", "channels"), [(1, "fused"), (2, "depth")])
def test_nvidias_centernet_gives_the_same_output(path: Path, classes: int, channels: str) -> None:
    torch.manual_seed(0)
    state = literal.shaken(CenterNet(classes)).state_dict()
    described = {"model_name": "ResnetCenterNet", "num_classes": classes, "input_format": channels}
    torch.save({**described, "model": state, "optim": {"state": {}}, "epoch": 9}, path)
    network = load_centernet(path)
    assert (network.contract.channels, network.contract.offset_scale) == (channels, 1.0)
    assert network.contract.classes == ((None,) if classes == 1 else ("left", "right"))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), literal.centernet(state, x, classes), atol=1e-4, rtol=1e-4)


# --- Refused -------------------------------------------------------------------------------------------


def refusal(load: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(UsageError) as caught:  # exit code 2
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("load", [load_a2j, load_centernet])
def test_what_is_no_checkpoint_is_refused(load: Callable[[Path], object], tmp_path: Path) -> None:
    assert "cannot read" in refusal(load, tmp_path)
    assert "No such file" in refusal(load, tmp_path / "missing.pth")
    file = tmp_path / "file.pth"
    for content in (b"", b"version https://example.org\noid 1\n", os.urandom(500), b"PK\x03\x04" + bytes(99)):
        file.write_bytes(content)
        assert "damaged" in refusal(load, file)
    for thing in ([1, 2], torch.zeros(3), 5):
        torch.save(thing, file)
        assert "holds no weights" in refusal(load, file)
    models: list[object] = [3, {}, {"a": 1}, {"a": torch.zeros(1)}]
    for state in ({}, *({"model": model} for model in models)):
        torch.save(state, file)
        assert "is no checkpoint for" in refusal(load, file)


def test_a_file_with_code_is_not_run(path: Path, tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    for save in (torch.save, lambda thing, file: Path(file).write_bytes(pickle.dumps(thing))):
        save({"model": Code(), "num_classes": 1}, path)
        refusal(load_a2j, path)
    assert not (tmp_path / "ran").exists()


def test_every_truncation_is_refused(path: Path) -> None:
    save_a2j(path, small_a2j(), {})
    content = path.read_bytes()
    for part in (0.01, 0.3, 0.7, 0.999):
        path.write_bytes(content[: int(len(content) * part)])
        assert "damaged" in refusal(load_a2j, path)


def test_the_other_network_is_refused(path: Path) -> None:
    save_a2j(path, small_a2j(), {})
    refusal(load_centernet, path)
    save_centernet(path, small_centernet(), {})
    refusal(load_a2j, path)


def test_two_dimensional_a2j_is_refused_in_words(path: Path) -> None:
    with torch.device("meta"):
        state = authors_names(hollow(A2J("resnet50", 15)))
    torch.save({k: v for k, v in state.items() if not k.startswith("Depth")}, path)
    assert "without a depth head" in refusal(load_a2j, path)
    torch.save(state, path)
    assert "14, 16 or 21 joints, these weights 15" in refusal(load_a2j, path)


def spoil(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        save_a2j(path, small_a2j(), {})
        file = torch.load(path, weights_only=True)
        change(file)
        torch.save(file, path)

    return write


LAST = "depth_regression.output.bias"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file["model"][LAST].fill_(float("nan")), "not finite"),
        (lambda file: file["model"].pop(LAST), "is missing"),
        (lambda file: file["model"].update(extra=torch.zeros(1)), "extra is unknown"),
        (lambda file: file["model"].update({LAST: torch.zeros(3)}), "has the shape"),
        (lambda file: file["model"].update({LAST: torch.zeros(336, dtype=torch.int)}), "floating-point"),
        (lambda file: file["model"].update({LAST: torch.zeros(336).to_sparse()}), "no plain array"),
        (lambda file: file["model"].update({LAST: torch.zeros(336, device="meta")}), "no plain array"),
        (lambda file: file.update(num_classes=16), "num_classes is 16"),
        (lambda file: file.update(meta=3), "A2JArchitecture must be a dictionary"),
        (lambda file: file["meta"]["architecture"].update(num_joints=10**12), "num_joints"),
        (lambda file: file["meta"]["architecture"].update(width=float("inf")), "width"),
        (lambda file: file["meta"]["architecture"].update(backbone="vgg"), "backbone"),
        (lambda file: file["meta"]["architecture"].pop("head_width"), "lacks 'head_width'"),
        (lambda file: file["meta"]["contract"].update(std=0), "std cannot be"),
        (lambda file: file["meta"]["contract"].update(mean="0"), "mean cannot be"),
        (lambda file: file["meta"]["contract"].update(crop_mm=None), "window_px cannot be"),
        (lambda file: file["meta"]["contract"].update(outside="red"), "outside cannot be"),
        (lambda file: file["meta"]["contract"].update(magic=1), "no field 'magic'"),
        (lambda file: file["meta"]["contract"].update(size=100), "size cannot be"),
        (lambda file: file["meta"]["contract"]["skeleton"]["bones"].append([0, 99]), "bones cannot be"),
        (lambda file: file["meta"]["contract"]["skeleton"].update(joint_names=["a"]), "fingers"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    spoil(change)(path)
    assert reason in refusal(load_a2j, path)


@pytest.mark.parametrize("window", [0, 4, 999])
def test_peaks_of_a_window_without_a_middle_are_refused(tmp_path: Path, window: int) -> None:
    contract = replace(DetectorInput(), peak_window=window)
    save_centernet(tmp_path / "detector.pth", CenterNet(1, width=0.125, contract=contract), {})
    assert "peak_window cannot be" in refusal(load_centernet, tmp_path / "detector.pth")


def test_published_centernet_with_wrong_claims_is_refused(path: Path) -> None:
    with torch.device("meta"):
        state = hollow(CenterNet(1))
    torch.save({"model": state, "num_classes": 2, "input_format": "fused"}, path)
    assert "num_classes is 2" in refusal(load_centernet, path)
    torch.save({"model": state, "num_classes": 1, "input_format": "colour"}, path)
    assert "colour" in refusal(load_centernet, path)


def test_unknown_numbers_of_joints_load_with_numbered_names(path: Path) -> None:
    with torch.device("meta"):
        torch.save({"num_classes": 5, "model": hollow(A2J("resnet18", 5))}, path)
    assert load_a2j(path).contract.skeleton == skeleton_for(5)

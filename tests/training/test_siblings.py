"""Networks that learn together: what each says, and where its figures and files are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.networks.a2j import A2J
from pipeline.training import train_a2j, train_centernet
from pipeline.training.hand_task import hand_contract
from pipeline.training.siblings import Siblings, named, weights_path


def small(side_head: bool) -> A2J:
    return A2J(width=0.125, head_width=8, contract=hand_contract(32), side_head=side_head).eval()


@torch.no_grad()
def test_each_network_tells_all_it_knows() -> None:
    one, other = small(side_head=True), small(side_head=False)
    x = torch.zeros(2, 1, 32, 32)
    first, second = Siblings([one, other])(x)
    assert all(torch.equal(a, b) for a, b in zip(first, one.read(x), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(second, other(x), strict=True))


def test_the_standard_network_keeps_its_names() -> None:
    assert named("", {"ap50": 1}) == {"ap50": 1}
    assert named("light", {"ap50": 1}) == {"light_ap50": 1}
    assert weights_path(Path("a/best.pth"), "") == Path("a/best.pth")
    assert weights_path(Path("a/best.pth"), "light") == Path("a/best_light.pth")


def test_none_and_three_are_refused() -> None:
    for networks in ([], [small(False)] * 3):
        with pytest.raises(ValueError, match="learn together"):
            Siblings(networks)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (["--init", "a", "--light", "0.375:96"], "leave --light out"),
        (["--init", "a", "--width", "0.5"], "leave --width out"),
        (["--init", "a", "b", "c"], "one file or two"),
        (["--init", "a", "./a"], "names a twice"),
    ],
)
def test_weights_to_start_from_tell_the_networks_shapes(
    options: list[str], advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert train_a2j.main([*options, *run]) == 2
    assert advice in capsys.readouterr().err
    options = ["0.375" if option == "0.375:96" else option for option in options]
    assert train_centernet.main([*options, *run]) == 2
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize(("main", "kind"), [(train_a2j.main, "nyu"), (train_centernet.main, "real")])
def test_your_own_data_teach_one_network(
    main: Callable[[list[str]], int], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run"), "--data", kind, str(tmp_path)]
    assert main([*call, "--init", "a", "b"]) == 2
    assert "one network learns" in capsys.readouterr().err


@pytest.mark.parametrize("light", ["-1:3", "0.5", "wide:96"])
def test_a_light_network_needs_two_numbers(light: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_a2j.main(["--steps", "1", f"--light={light}"])
    assert "such as 0.375:96" in capsys.readouterr().err


@pytest.mark.parametrize(("main", "light"), [(train_a2j.main, "0.375:96"), (train_centernet.main, "0.375")])
def test_a_light_network_is_lighter(
    main: Callable[[list[str]], int], light: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]  # 0.375 is the width there
    assert main([*run, "--light", light]) == 2
    assert f"narrower than the one beside it, which is {light}" in capsys.readouterr().err

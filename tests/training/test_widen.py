"""A wider network begins where the trained one ended, and can learn from there."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import load_a2j, save_a2j
from pipeline.training import train_a2j
from pipeline.training.hand_task import hand_contract
from pipeline.training.widen import widened


@pytest.fixture
def trained() -> A2J:
    network = A2J(
        width=0.125,
        head_width=8,
        contract=hand_contract(32),
        side_head=True,
        presence=True,
        negative_slope=0.1,
    )
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                for value in (part.weight, part.bias, part.running_mean, part.running_var):
                    assert value is not None
                    value.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(("width", "head_width"), [(0.125, 8), (0.25, 8), (0.125, 12), (0.1875, 24)])
@torch.no_grad()
def test_the_answers_stay(trained: A2J, width: float, head_width: int) -> None:
    wider = widened(trained, width, head_width)
    assert (wider.width, wider.head_width) == (width, head_width)
    x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(wider.read(x), trained.read(x), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_new_channels_learn(trained: A2J) -> None:
    wider = widened(trained, 0.25, 16).train()
    sum(part.square().mean() for part in wider.read(torch.randn(4, 1, 32, 32))).backward()  # type: ignore
    for name, old in trained.named_parameters():
        new = wider.get_parameter(name)
        if old.ndim > 1 and new.shape[1] > old.shape[1]:
            assert new.grad is not None
            assert new.grad[: len(old), old.shape[1] :].abs().sum() > 0, name


def test_no_network_becomes_narrower(trained: A2J) -> None:
    for narrower in ((0.0625, 8), (0.25, 4)):
        with pytest.raises(ValueError, match="cannot be widened"):
            widened(trained, *narrower)


def test_training_goes_on_with_the_wider_network(
    trained: A2J, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, run = tmp_path / "start.pth", tmp_path / "run"
    save_a2j(start, trained, {})
    options = ["--steps", "1", "--batch", "4", "--block", "8", "--held-out", "2", "--device", "cpu"]
    options += ["--init", str(start), "--out", str(run)]
    assert train_a2j.main([*options, "--widen", "0.0625:8"]) == 2
    assert "cannot be widened" in capsys.readouterr().err
    assert train_a2j.main([*options, "--widen", "0.25:16"]) == 0
    assert load_a2j(run / "last.pth").head_width == 16


def test_widening_needs_a_network_and_rendered_hands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_a2j.main(["--steps", "1", "--widen", "0.5:112"]) == 2
    assert "--init" in capsys.readouterr().err
    assert train_a2j.main(["--epochs", "1", "--widen", "0.5:112", "--data", "nyu", str(tmp_path)]) == 2
    assert "rendered hands" in capsys.readouterr().err

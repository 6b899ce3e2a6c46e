"""The side head learns, and nothing but the side head."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import load_a2j, read_meta, save_a2j
from pipeline.training.hand_task import hand_contract
from pipeline.training.loop import Training
from pipeline.training.options import LoopOptions
from pipeline.training.side_task import SideTask, with_mirrors
from pipeline.training.train_side import main

SIZE = 32


class Slopes:
    """Stands in for rendered hands: what rises to the right is a right hand."""

    def __init__(self, model: A2J) -> None:
        self.model = model.eval()
        self.held_out = [SimpleNamespace(images=self.samples(1 << 20, SIZE)[0])]

    def size_at(self, progress: float) -> int:
        return SIZE

    def cost(self, progress: float) -> float:
        return 1.0

    def samples(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(step)
        noise = 0.3 * torch.randn(48, 1, size, size, generator=generator)
        return (torch.linspace(-1, 1, size) + noise).clamp(-1, 1), torch.zeros(48, 21, 3)


def small_network() -> A2J:
    torch.manual_seed(0)
    return A2J(width=0.125, head_width=8, contract=hand_contract(SIZE))


def options(out: Path, **changes: Any) -> LoopOptions:
    given = {"steps": 40, "lr": 1e-2, "evaluations": 1, "ema": 0.8, "tensorboard": False, **changes}
    return LoopOptions(out=out, minutes=None, batch=48, seed=0, progress_bar=False, **given)


def test_the_head_learns_sides_and_the_rest_stays_bit_for_bit(tmp_path: Path) -> None:
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    task = SideTask(Slopes(network), {"command": "train_a2j"})  # type: ignore[arg-type]
    training = Training(task, options(tmp_path), torch.device("cpu"), meta={"command": "train_side"})
    assert training.run() == 0
    for model in (task.model, training.average.model):
        state = model.a2j.state_dict()  # type: ignore[union-attr]
        assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    assert task.evaluate(training.average.model, 1.0)["side_first"] > 0.9  # type: ignore[arg-type]

    network.side_head = None
    save_a2j(tmp_path / "before.pth", network, {})
    plain, told = load_a2j(tmp_path / "before.pth"), load_a2j(tmp_path / "last.pth")
    assert all(torch.equal(told.state_dict()[name], t) for name, t in plain.state_dict().items())
    assert told.side_head is not None
    meta = read_meta(tmp_path / "last.pth")
    assert (meta["command"], meta["side_head"]["command"]) == ("train_a2j", "train_side")


def test_a_resumed_run_goes_on(tmp_path: Path) -> None:
    finals = []
    for folder, parts in ((tmp_path / "whole", [6]), (tmp_path / "parts", [3, 6])):
        for steps in parts:
            task = SideTask(Slopes(small_network()), {})  # type: ignore[arg-type]
            resume = steps != parts[0]
            Training(task, options(folder, steps=steps, resume=resume), torch.device("cpu")).run()
        finals.append(torch.load(folder / "state.pth", weights_only=True))
    assert finals[0]["step"] == finals[1]["step"] == 6
    assert finals[0]["model"].keys() == finals[1]["model"].keys()


def test_every_second_image_is_mirrored() -> None:
    images = torch.arange(24.0).view(3, 1, 2, 4)
    mixed, known = with_mirrors(images)
    assert known.tolist() == [1, 0, 1]
    assert torch.equal(mixed[0], images[0])
    assert torch.equal(mixed[1], images[1].flip(-1))


def test_wrong_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    assert "--init" in capsys.readouterr().err
    both = tmp_path / "both.pth"
    save_a2j(both, A2J(num_joints=14, width=0.125, head_width=8), {})
    assert main(["--steps", "1", "--device", "cpu", "--init", str(both), "--out", str(tmp_path / "run")]) == 2
    assert "both hands" in capsys.readouterr().err

"""The loop learns, keeps its promises about files and time, and resumes as if nothing had happened."""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from pipeline.errors import HandPoseError, UsageError
from pipeline.networks.contracts import HandInput
from pipeline.training import loop
from pipeline.training.devices import Workers
from pipeline.training.loop import INTERRUPTED, Training
from pipeline.training.options import LoopOptions
from tests.training.stand_ins import LineTask
from tests.training.two_processes import in_two_processes

CPU = torch.device("cpu")


def options(out: Path, steps: int | None = 60, minutes: float | None = None, **more: object) -> LoopOptions:
    plain = LoopOptions(
        out, minutes, steps, 16, 1e-2, 0, evaluations=3, progress_bar=False, tensorboard=False
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def lines(out: Path, kind: str) -> list[dict[str, float]]:
    read = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in read if line["kind"] == kind]


class Stopping(LineTask):
    """Presses Ctrl-C in one of its steps."""

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        if step == 37:
            os.kill(os.getpid(), signal.SIGINT)
        return super().losses(model, step, progress)


class Timed(LineTask):
    """Has a clock of its own: a step takes a second, and two once 200 s have passed."""

    now = 0.0

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        self.now += 1.0 if self.now < 200.0 else 2.0
        return super().losses(model, step, progress)


def test_a_run_learns_and_leaves_weights_figures_and_a_picture(tmp_path: Path) -> None:
    task = LineTask()
    assert Training(task, options(tmp_path / "run", steps=300), CPU).run() == 0
    found = lines(tmp_path / "run", "evaluation")
    assert [line["step"] for line in found] == [100, 200, 300]
    assert found[-1]["error"] < found[0]["error"] < 0.5  # of about 3 for a guess
    assert {"best.pth", "last.pth", "state.pth", "predictions.png"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    about = task.exported[-1]["training"]
    assert (about["step"], about["steps"], about["samples"]) == (300, 300, 4800)


class Broken(LineTask):
    """Its samples cannot be read from its 51st step on."""

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        if step == 50:
            raise HandPoseError("no sample")
        return super().losses(model, step, progress)


@pytest.mark.parametrize(("task", "logged"), [(LineTask, 3), (Broken, 2)])
def test_tensorboard_gets_all_figures(
    task: type[LineTask], logged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_on_a_slow_disk(writer: RecordWriter, data: bytes) -> None:
        time.sleep(0.05)
        write(writer, data)

    write = RecordWriter.write
    monkeypatch.setattr(RecordWriter, "write", write_on_a_slow_disk)
    training = Training(task(), options(tmp_path, tensorboard=True), CPU)
    with suppress(HandPoseError):
        training.run()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for kind in ("train", "evaluation"):
        found = lines(tmp_path, kind)
        assert len(found) == logged
        for name in found[0].keys() - {"kind", "step"}:
            seen = [(event.step, event.value) for event in events.Scalars(f"{kind}/{name}")]
            assert seen == [(line["step"], pytest.approx(line[name])) for line in found], name


def test_the_state_knows_the_best_weights(tmp_path: Path) -> None:
    with pytest.raises(HandPoseError):
        Training(Broken(), options(tmp_path), CPU).run()
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    assert state["best"] == min(line["error"] for line in lines(tmp_path, "evaluation"))
    assert (state["step"], state["evaluated"]) == (40, 2)


class Diverging(LineTask):
    """Its loss, or, unseen in it, its weights are no numbers from some step on."""

    def __init__(self, step: int, weights: bool = False) -> None:
        super().__init__()
        self.broken, self.weights = step, weights

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        losses = super().losses(model, step, progress)
        if step < self.broken:
            return losses
        if self.weights:
            next(self.model.parameters()).data[0] = torch.nan
            return losses
        return {"total": losses["total"] * torch.nan}


@pytest.mark.parametrize(("step", "weights"), [(25, False), (38, False), (39, True), (58, True)])
def test_broken_weights_replace_no_others(step: int, weights: bool, tmp_path: Path) -> None:
    task = Diverging(step, weights)
    with pytest.raises(HandPoseError, match="--lr"):
        Training(task, options(tmp_path, state_minutes=0.0), CPU).run()
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    kept = [state["model"], *(torch.load(tmp_path / name) for name in ("best.pth", "last.pth"))]
    assert all(value.isfinite().all() for weights in kept for value in weights.values())
    assert state["step"] == step


def test_a_loss_that_is_no_number_ends_a_run_soon(tmp_path: Path) -> None:
    task = Diverging(25)
    with pytest.raises(HandPoseError, match="step 40"):
        Training(task, options(tmp_path, steps=1000), CPU).run()


class Watched(LineTask):
    """Looks at the types of what its network takes and gives, and of products beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[tuple[torch.dtype, ...]] = set()

    def losses(self, model, step, progress):  # type: ignore[no-untyped-def]
        x, y = self.samples(step)
        output = model(x)
        self.types.add((output.dtype, (x @ x.T).dtype))
        return {"total": (output - y).square().mean()}


def test_only_the_network_computes_in_half_precision(tmp_path: Path) -> None:
    task = Watched()
    assert Training(task, options(tmp_path / "half", steps=300), CPU, torch.bfloat16).run() == 0
    assert task.types == {(torch.bfloat16, torch.float32)}
    found = lines(tmp_path / "half", "evaluation")
    assert found[-1]["error"] < found[0]["error"]
    assert {parameter.dtype for parameter in task.model.parameters()} == {torch.float32}


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = LineTask()
    Training(whole, options(tmp_path / "whole"), CPU).run()
    assert Training(Stopping(), options(tmp_path / "cut"), CPU).run() == INTERRUPTED
    assert (tmp_path / "cut" / "last.pth").exists()
    resumed = LineTask()
    assert Training(resumed, options(tmp_path / "cut", resume=True), CPU).run() == 0
    assert resumed.steps == list(range(38, 60))
    for kind in ("model", "average"):
        states = [
            torch.load(tmp_path / name / "state.pth", weights_only=True)[kind] for name in ("whole", "cut")
        ]
        for name, tensor in states[0].items():
            assert torch.equal(tensor, states[1][name]), name


def test_minutes_are_kept_and_the_steps_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Timed()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: task.now))
    Training(task, options(tmp_path / "run", steps=None, minutes=10.0), CPU).run()
    assert 540.0 < task.now < 660.0
    state = torch.load(tmp_path / "run" / "state.pth", weights_only=True)
    assert state["step"] == lines(tmp_path / "run", "plan")[-1]["steps"] == len(task.steps)
    assert lines(tmp_path / "run", "evaluation")[-1]["step"] == state["step"]


def test_a_run_is_neither_overwritten_nor_resumed_with_other_options(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        Training(LineTask(), options(tmp_path / "run", resume=True), CPU)
    Training(LineTask(), options(tmp_path / "run", steps=2), CPU).run()
    with pytest.raises(UsageError, match="--resume"):
        Training(LineTask(), options(tmp_path / "run"), CPU)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="--lr"):
        Training(LineTask(), options(tmp_path / "run", resume=True, lr=0.5, tensorboard=True), CPU)
    assert sorted(tmp_path.rglob("*")) == before  # no empty file for TensorBoard either
    (tmp_path / "run" / "state.pth").write_bytes(b"cut off")
    with pytest.raises(UsageError, match="damaged"):
        Training(LineTask(), options(tmp_path / "run", resume=True), CPU)


@pytest.mark.parametrize("length", [{"steps": 60}, {"steps": 90}, {"steps": None, "minutes": 9.0}])
def test_a_finished_run_is_not_resumed(length: dict[str, float | None], tmp_path: Path) -> None:
    Training(LineTask(), options(tmp_path), CPU).run()
    (tmp_path / "best_light.pth").touch()
    with pytest.raises(UsageError, match=r"--init \S+/best.pth \S+/best_light.pth and another --out"):
        Training(LineTask(), options(tmp_path, resume=True, **length), CPU)  # type: ignore[arg-type]


def seeing(crop_mm: float, task: LineTask) -> LineTask:
    task.model.contract = HandInput(crop_mm=crop_mm)  # type: ignore[assignment]
    return task


def test_a_run_is_resumed_with_the_same_inputs_and_processes(tmp_path: Path) -> None:
    assert Training(seeing(260.0, Stopping()), options(tmp_path), CPU).run() == INTERRUPTED
    again = options(tmp_path, resume=True)
    with pytest.raises(UsageError, match="--init"):
        Training(seeing(250.0, LineTask()), again, CPU)
    with pytest.raises(UsageError, match="--nproc-per-node 1"):
        Training(seeing(260.0, LineTask()), again, CPU, workers=Workers(1, 2))
    Training(seeing(260.0, LineTask()), again, CPU)
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    del state["contracts"][0]["crop_mm"]  # a field that came later
    torch.save(state, tmp_path / "state.pth")
    Training(seeing(250.0, LineTask()), again, CPU)
    with pytest.raises(UsageError, match="--init"):
        Training(LineTask(), again, CPU)
    del state["workers"], state["contracts"]  # as it was written once
    torch.save(state, tmp_path / "state.pth")
    assert Training(seeing(250.0, LineTask()), again, CPU).run() == 0


def test_a_run_needs_one_length(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--minutes, --steps or --epochs"):
        options(tmp_path, steps=None)
    with pytest.raises(UsageError, match="positive"):
        options(tmp_path, steps=-3)


def half_of_the_work(workers: Workers, out: Path) -> None:
    task = LineTask(workers=workers, norm=False)
    Training(task, options(out, steps=12), CPU, workers=workers).run()


def test_two_processes_with_half_batches_make_the_steps_of_one(tmp_path: Path) -> None:
    in_two_processes(half_of_the_work, tmp_path / "two")
    Training(LineTask(workers=Workers(), norm=False), options(tmp_path / "one", steps=12), CPU).run()
    one, two = (
        torch.load(tmp_path / name / "state.pth", weights_only=True)["average"] for name in ("one", "two")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)

"""The training loop: schedule, averaging, evaluation, files of the run, stopping and resuming."""

from __future__ import annotations

import shlex
import signal
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from pipeline.errors import HandPoseError, UsageError
from pipeline.networks.metadata import plain
from pipeline.training.devices import Workers
from pipeline.training.ema import WeightAverage
from pipeline.training.options import LoopOptions, recorded
from pipeline.training.rundir import RunFolder
from pipeline.training.schedule import UNKNOWN, Deadline, Plan, learning_rate, stepped_rate
from pipeline.training.siblings import NAMES, weights_path

INTERRUPTED = 130
_UNTIMED_STEPS = 5  # allocations and kernels' first calls
_SPEED_STEPS = 25  # after which the first plan is made
_REPLAN_SECONDS = 60.0


class Task(Protocol):
    """What the loop has to know about one network."""

    @property
    def model(self) -> nn.Module: ...

    def cost(self, progress: float) -> float:
        """Relative time of a step at this progress."""

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        """The terms of a step's loss; "total" is the one to be made small."""

    def evaluate(self, model: Any, progress: float) -> dict[str, float]:
        """Figures on the held-out set."""

    def score(self, figures: dict[str, float]) -> float:
        """Which weights are best: the smaller, the better."""

    def picture(self, model: Any, progress: float) -> NDArray[np.uint8]:
        """Predictions on held-out samples as a BGR image."""

    def export(self, path: Path, model: Any, meta: dict[str, Any]) -> None:
        """Writes weights that can be shipped."""


class Training:
    """One run of a task.

    Args:
        task: network, data and losses; its network is on the device already.
        options: how the run is driven.
        device, precision: where, and in which type the network computes (None: float32).
        workers: the processes that train together.
        meta: what exported weights should tell, besides what the loop knows.

    Raises:
        UsageError: nothing to resume, or a run in the folder that is finished or of other options.
    """

    def __init__(
        self,
        task: Task,
        options: LoopOptions,
        device: torch.device,
        precision: torch.dtype | None = None,
        workers: Workers | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.options, self.device, self.precision = task, options, device, precision
        self.workers, self.meta = workers or Workers(), meta or {}
        self.folder = RunFolder(options.out, options.resume, options.tensorboard, self.workers.first)
        self.average = WeightAverage(task.model, options.ema)
        self.optimizer = _optimizer(task.model, options)
        self.step, self.elapsed, self.best, self.evaluated = 0, 0.0, float("inf"), 0
        self.plan = Plan(options.steps or UNKNOWN)
        if options.resume:
            self._restore(self.folder.state())
        self.network: nn.Module = task.model
        if options.compile:
            self.network = torch.compile(self.network)  # type: ignore[assignment]
        if self.workers.count > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of a name that older versions do not know
                self.network = DistributedDataParallel(self.network, broadcast_buffers=False)
        self.network = _Autocast(self.network, device.type, precision)
        limit = None if options.minutes is None else 60.0 * options.minutes
        self._deadline = None if limit is None else Deadline(limit, task.cost, 0.01 * limit)

    def run(self) -> int:
        """Trains to the end.

        Returns:
            0, or 130 when it was interrupted; the state and the weights are saved either way.

        Raises:
            HandPoseError: the loss or the weights are no finite numbers any more; what was saved stays.
        """
        try:
            self.folder.open_events()
            return self._steps()
        finally:
            self.folder.close()

    def _steps(self) -> int:
        began, before = time.monotonic(), self.elapsed
        saved = planned = self.elapsed
        losses: dict[str, Tensor] = {}
        bar = tqdm(
            initial=self.step,
            total=self.plan.total if self.plan.total < UNKNOWN else None,
            disable=not (self.workers.first and self.options.progress_bar),
            unit="step",
        )
        first = self.step
        with _stop_on_signals() as stopped, bar:
            while self.step < self.plan.total:
                losses = self._advance()
                self.elapsed = before + time.monotonic() - began
                bar.update()
                done = self.step - first
                if done == _UNTIMED_STEPS and self._deadline:
                    self._deadline.restart(self.elapsed)
                timely = done == _SPEED_STEPS or self.elapsed - planned > _REPLAN_SECONDS
                if self._deadline and done >= _SPEED_STEPS and self._everywhere(timely):
                    self._correct_plan(self._deadline)
                    planned, bar.total = self.elapsed, self.plan.total
                if self.step % 20 == 0:
                    self._check_finite([losses["total"]])
                    if self.workers.first:
                        self._log(losses, bar)
                if self._evaluation_due():
                    self._evaluate(losses)
                if self.elapsed - saved > 60.0 * self.options.state_minutes:
                    saved = self.elapsed
                    self._save()
                if self.workers.any(bool(stopped), self.device):
                    self._save()
                    self._export("last", {})
                    return INTERRUPTED
        self._save()
        return 0

    # --- A step ------------------------------------------------------------------------------------------
    def _advance(self) -> dict[str, Tensor]:
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        losses = self.task.losses(self.network, self.step, self.plan.progress(self.step))
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        nn.utils.clip_grad_norm_(self.task.model.parameters(), 10.0)
        self.optimizer.step()
        self.average.update(self.task.model)
        if self._deadline:
            self._deadline.count(self.plan.progress(self.step))
        self.step += 1
        return losses

    def _learning_rate(self) -> float:
        if self.options.decay_share is None:
            return learning_rate(self.plan, self.step, self.options.lr)
        return stepped_rate(self.plan, self.step, self.options.lr, self.options.decay_share)

    # --- The plan ----------------------------------------------------------------------------------------
    def _everywhere(self, timely: bool) -> bool:
        """The first process's watch is the one that counts."""
        return bool(self.workers.agree([float(timely)], self.device)[0])

    def _correct_plan(self, deadline: Deadline) -> None:
        plan = deadline.corrected(self.plan, self.step, self.elapsed)
        total, start, progress = self.workers.agree(
            [plan.total, plan.start, plan.progress_at_start], self.device
        )
        deadline.age(self.elapsed)
        if int(total) != self.plan.total:
            self.plan = Plan(int(total), int(start), progress)
            self.folder.log("plan", self.step, {"steps": int(total), "seconds": self.elapsed})

    def _evaluation_due(self) -> bool:
        part = self.options.evaluations * self.plan.progress(self.step)
        return self.step >= self.plan.total or part >= self.evaluated + 1

    # --- Files -------------------------------------------------------------------------------------------
    def _check_finite(self, values: Iterable[Tensor]) -> None:
        if not all(bool(value.detach().isfinite().all()) for value in values):
            raise HandPoseError(
                f"The loss or the weights are no finite numbers any more at step {self.step}: start again "
                "with a smaller --lr or a larger --batch, and another --out."
            )

    def _log(self, losses: dict[str, Tensor], bar: tqdm[Any]) -> None:
        values = {name: float(value.detach()) for name, value in losses.items()}
        bar.set_postfix({"loss": f"{values['total']:.3f}"}, refresh=False)
        rate = self.optimizer.param_groups[0]["lr"]
        self.folder.log("train", self.step, {**values, "lr": rate, "seconds": self.elapsed})

    def _evaluate(self, losses: dict[str, Tensor]) -> None:
        self.evaluated = int(self.options.evaluations * self.plan.progress(self.step))
        if not self.workers.first:
            return
        self._check_finite(self.task.model.state_dict().values())
        self.average.model.eval()
        progress = self.plan.progress(self.step - 1)  # of the last step made
        figures = self.task.evaluate(self.average.model, progress)
        loss = float(losses["total"].detach())
        samples = self.step * self.options.batch * self.workers.count
        self.folder.log(
            "evaluation", self.step, {**figures, "loss": loss, "samples": samples, "seconds": self.elapsed}
        )
        self.folder.picture(self.task.picture(self.average.model, progress))
        self._export("last", figures)
        score = float(self.task.score(figures))  # a NumPy number could not be read back safely
        if score < self.best:
            self.best = score
            self._export("best", figures)
            self._save()  # or, after a kill, worse weights would seem better than those before
        self.folder.flush()

    def _export(self, name: str, figures: dict[str, float]) -> None:
        if self.workers.first:
            about = {
                "options": recorded(self.options),
                "step": self.step,
                "steps": self.plan.total,
                "samples": self.step * self.options.batch * self.workers.count,
                "seconds": self.elapsed,
                "figures": figures,
            }
            self.task.export(self.folder.weights(name), self.average.model, {**self.meta, "training": about})

    def _save(self) -> None:
        self._check_finite(self.task.model.state_dict().values())
        self.folder.save_state(
            {
                "model": self.task.model.state_dict(),
                "average": self.average.model.state_dict(),
                "updates": self.average.updates,
                "optimizer": self.optimizer.state_dict(),
                "rng": torch.get_rng_state(),
                "step": self.step,
                "elapsed": self.elapsed,
                "best": self.best,
                "evaluated": self.evaluated,
                "plan": [self.plan.total, self.plan.start, self.plan.progress_at_start],
                "options": recorded(self.options),
                "workers": self.workers.count,
                "contracts": _contracts(self.task.model),
            }
        )

    def _check_alike(self, state: dict[str, Any]) -> None:
        """Raises UsageError for the state of another run than this one; old states tell less."""
        before, now = _decisive(state["options"]), _decisive(recorded(self.options))
        for name, value in before.items():
            if name in now and now[name] != value:
                option = f"--{name.replace('_', '-')}"
                had = f"no {option}" if value == "None" else f"{option} {value}"
                raise UsageError(
                    f"The run in {self.options.out} has {had}: resume it with that, or give another --out."
                )
        processes, contracts = self.workers.count, _contracts(self.task.model)
        if state.get("workers", processes) != processes:
            raise UsageError(
                f"The run in {self.options.out} has {state['workers']} process(es), not {processes}: resume "
                f"it with torchrun --nproc-per-node {state['workers']}, or give another --out."
            )
        told = state.get("contracts", contracts)
        if len(told) != len(contracts) or any(
            {**ours, **theirs} != ours for ours, theirs in zip(contracts, told, strict=True)
        ):
            raise UsageError(
                f"The networks of the run in {self.options.out} have other inputs: resume it with the "
                "options that it began with, --init too, or give another --out."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        self._check_alike(state)
        try:
            self.task.model.load_state_dict(state["model"])
            self.average.model.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:  # other parameters, or other ones of them that learn
            raise UsageError(
                f"The run in {self.options.out} is of another network: resume it with the options that it "
                "began with, or give another --out."
            ) from error
        self.average.updates = state["updates"]
        torch.set_rng_state(state["rng"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        self.best, self.evaluated = state["best"], state["evaluated"]
        plan = Plan(*state["plan"])
        if self.step >= plan.total:
            raise UsageError(
                f"The run in {self.options.out} is finished: to go on from its weights, start one with "
                f"--init {self._finished()} and another --out."
            )
        steps = self.options.steps
        self.plan = plan if steps is None or steps == plan.total else plan.replanned(self.step, steps)

    def _finished(self) -> str:
        """The run's weights as --init takes them: the best ones, of a light network too, or the last."""
        best = [weights_path(self.folder.weights("best"), name) for name in NAMES]
        return shlex.join(str(path) for path in best if path.exists()) or str(self.folder.weights("last"))


class _Autocast(nn.Module):
    """Computes the network, and nothing else, in another precision: samples are rendered in float32."""

    def __init__(self, network: nn.Module, device_type: str, precision: torch.dtype | None) -> None:
        super().__init__()
        self.network = network
        self._device_type, self._precision = device_type, precision

    def forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(self._device_type, self._precision, enabled=self._precision is not None):
            return self.network(*inputs)


def _decisive(options: dict[str, Any]) -> dict[str, Any]:
    """Of recorded options, those that a resumed run must share."""
    return {name: options[name] for name in ("batch", "seed", "lr")} | options.get("task", {})


def _contracts(model: nn.Module) -> list[dict[str, Any]]:
    """What each network in it reads and answers, as plain values."""
    return [plain(part.contract) for part in model.modules() if hasattr(part, "contract")]


def _optimizer(model: nn.Module, options: LoopOptions) -> torch.optim.Optimizer:
    """Adam, or AdamW that does not decay norms and biases."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if options.optimizer == "adam":
        return torch.optim.Adam(weights, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.99), fused=True)


@contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """Ctrl-C and termination fill the list, so that the step in work is finished; a second one breaks off."""
    received: list[int] = []

    def note(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

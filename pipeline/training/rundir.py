"""The files of one training run: state, figures, pictures, weights."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import UsageError


class RunFolder:
    """A folder with `state.pth`, `metrics.jsonl`, `predictions.png`, `last.pth`, `best.pth`.

    Args:
        path: the folder; made if it is not there.
        resume: whether it holds a run to go on with.
        tensorboard: write events too, if the package is there.
        writes: False in all processes but the first.

    Raises:
        UsageError: there is nothing to resume, there is a run that would be overwritten, or the folder cannot
            be made.
    """

    def __init__(self, path: Path, resume: bool, tensorboard: bool, writes: bool = True) -> None:
        self.path, self._writes = path, writes
        held = os.path.exists(path / "state.pth")
        if resume and not held:
            raise UsageError(f"{path} holds no run to resume; leave --resume out to start one.")
        if held and not resume and writes:
            raise UsageError(f"{path} holds a run already; give --resume to go on, or another --out.")
        if writes:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{path} cannot be made ({error.strerror}): give another --out.") from None
        self._tensorboard = tensorboard and writes
        self._events: Any = None

    def open_events(self) -> None:
        """Begins what TensorBoard reads: once it is sure that the run goes on."""
        if self._tensorboard:
            self._events = _events(self.path)

    def state(self) -> dict[str, Any]:
        """The saved state of the run.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            return torch.load(self.path / "state.pth", map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler meets bad bytes with whatever comes up
            raise UsageError(
                f"{self.path / 'state.pth'} is damaged: start again with another --out, "
                f"from {self.path / 'last.pth'} by --init."
            ) from error

    def save_state(self, state: dict[str, Any]) -> None:
        """Replaces the state in one go: a run that is killed meanwhile leaves the one before."""
        if self._writes:
            part = self.path / "state.pth.part"
            torch.save(state, part)
            os.replace(part, self.path / "state.pth")

    def log(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl, and the values to TensorBoard."""
        if not self._writes:
            return
        finite = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **finite}) + "\n")
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def flush(self) -> None:
        """Lets TensorBoard see what was logged so far."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Writes what TensorBoard has not got yet; nothing can be logged afterwards."""
        if self._events is not None:
            self._events.close()

    def picture(self, image: NDArray[np.uint8]) -> None:
        """Replaces predictions.png."""
        cv2.imwrite(str(self.path / "predictions.png"), image)

    def weights(self, name: str) -> Path:
        return self.path / f"{name}.pth"


def _events(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(path))

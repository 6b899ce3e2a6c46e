"""Training A2J's side head on rendered hands and their mirror images, the rest of the network as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.networks.a2j import A2J
from pipeline.networks.checkpoints import save_a2j
from pipeline.training.contact_sheet import grey, sheet
from pipeline.training.evaluate_synthetic import side_figures, side_logits
from pipeline.training.hand_task import HandTask

if TYPE_CHECKING:
    from typing_extensions import Self

_GREEN, _RED = (80, 200, 80), (60, 60, 230)  # BGR


class SideReader(nn.Module):
    """A network of which nothing but the side head learns.

    Args:
        a2j: the network; it is given a side head if it has none.
    """

    def __init__(self, a2j: A2J) -> None:
        super().__init__()
        if a2j.side_head is None:
            a2j.add_side_head()
        self.a2j = a2j.requires_grad_(False)
        self._head.requires_grad_(True)

    @property
    def _head(self) -> nn.Module:
        assert self.a2j.side_head is not None
        return self.a2j.side_head

    def train(self, mode: bool = True) -> Self:
        """The frozen part stays in eval mode, so that its statistics stay as they are."""
        super().train(mode)
        self.a2j.eval()
        self._head.train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, S, S) to (N,) logits: positive where the crop shows the hand that the network knows."""
        with torch.no_grad():
            _, features = self.a2j.back_bone(images)
        return self.a2j.side_logit(features)


class SideTask:
    """The side head, its data and its loss.

    Args:
        hands: the network, on the device, and its rendered hands.
        story: what the network's checkpoint tells; that of the side head is written beside it.
    """

    def __init__(self, hands: HandTask, story: Mapping[str, Any]) -> None:
        self._hands, self._story = hands, story
        device = next(hands.model.parameters()).device
        self.model = SideReader(hands.model).to(device)

    def cost(self, progress: float) -> float:
        return self._hands.cost(progress)

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        images, _ = self._hands.samples(step, self._hands.size_at(progress))
        images, known = with_mirrors(images)
        logits = model(images.contiguous(memory_format=torch.channels_last)).float()
        loss = F.binary_cross_entropy_with_logits(logits, known)
        return {"total": loss, "accuracy": ((logits > 0) == (known > 0.5)).float().mean()}

    def evaluate(self, model: SideReader, progress: float) -> dict[str, float]:
        return side_figures(model.a2j, self._hands.held_out, self._hands.size_at(progress))

    def score(self, figures: dict[str, float]) -> float:
        """Share of wrong answers, where a network looks twice at the second look."""
        return 1.0 - figures.get("side_second", figures["side_first"])

    def picture(self, model: SideReader, progress: float) -> NDArray[np.uint8]:
        """48 held-out crops, every second one mirrored: framed in green where the first look is right."""
        images, known = with_mirrors(self._hands.held_out[0].images[:48])
        seen = images.to(next(model.parameters()).device)
        logits = side_logits(model.a2j, seen, self._hands.size_at(progress))[:, 0].cpu()
        pictures = []
        for image, right in zip(images[:, 0].numpy(), (logits > 0) == (known > 0.5), strict=True):
            picture = grey(image, -1.0, 1.0, 160)
            cv2.rectangle(picture, (2, 2), (157, 157), _GREEN if right else _RED, 3)
            pictures.append(picture)
        return sheet(pictures, 8)

    def export(self, path: Path, model: SideReader, meta: dict[str, Any]) -> None:
        save_a2j(path, model.a2j, {**self._story, "side_head": meta})


def with_mirrors(images: Tensor) -> tuple[Tensor, Tensor]:
    """Every second image mirrored left to right, and (N,) 1 for those that are not, 0 for those that are."""
    known = (torch.arange(len(images), device=images.device) % 2 == 0).float()
    return torch.where(known[:, None, None, None] > 0, images, images.flip(-1)), known

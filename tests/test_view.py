"""Pictures of successive results are drawn once for the window and the video."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import view
from pipeline.drawing import Image, ViewOptions
from pipeline.hand import HAND_21
from pipeline.result import Result
from pipeline.view import View
from tests.scripted import ScriptedPose, flat_frame, open_hand


def _result(index: int) -> Result:
    return Result(flat_frame(index), [open_hand()], ScriptedPose.timings)


def test_who_asks_alike_shares_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    compose = view.compose

    def counted(*arguments: object) -> Image:
        drawn.append(arguments)
        return compose(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(view, "compose", counted)
    made = View(HAND_21, "torch", ScriptedPose())
    for count in (1, 2):
        result = _result(count)
        made.advance(result)
        assert made.picture(result, ViewOptions()) is made.picture(result, ViewOptions())
        assert len(drawn) == count


def test_other_options_and_switches_give_other_pictures() -> None:
    pose, result = ScriptedPose(), _result(0)
    made = View(HAND_21, "torch", pose)
    made.advance(result)
    tracked = made.picture(result, ViewOptions())
    assert not np.array_equal(made.picture(result, ViewOptions(depth=True)), tracked)
    assert np.array_equal(made.picture(result, ViewOptions()), tracked)
    pose.smooth = False
    unfiltered = made.picture(result, ViewOptions())
    assert not np.array_equal(unfiltered, tracked)
    pose.track = False
    assert not np.array_equal(made.picture(result, ViewOptions()), unfiltered)

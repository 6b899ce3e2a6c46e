"""Rendered scenes become frames, and what the program finds in them is measured."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.confirmation import Found, joints_box
from pipeline.crop import CropPose, HandCrop
from pipeline.frame import Frame
from pipeline.hand import Detection, Handedness
from pipeline.networks.contracts import HandInput
from pipeline.synthetic.scenes import SceneBatch
from pipeline.training.evaluate_program import CAMERA, program_figures, scene_frames


def scene() -> SceneBatch:
    """A wall, and two hands that one could see, the second of them hardly."""
    depth, ir = torch.full((1, 320, 320), 1000.0), torch.zeros(1, 320, 320)
    boxes = torch.tensor([[40.0, 40.0, 80.0, 80.0], [200.0, 200.0, 240.0, 240.0]])
    visible = torch.tensor([1.0, 0.1])
    return SceneBatch(depth, ir, [boxes], [torch.tensor([0, 1])], [visible], [torch.zeros(2, 21, 3)])


def test_scenes_become_frames_of_the_camera() -> None:
    ((frame, boxes, sides, wanted),) = scene_frames(scene())
    assert frame.depth.shape == (CAMERA.height, CAMERA.width)
    assert frame.ir is None
    assert boxes[0].tolist() == [80.0, 72.0, 160.0, 144.0]
    assert sides.tolist() == [0, 1]
    assert wanted.tolist() == [True, False]


def found(u: float, v: float, score: float, side: Handedness = "left") -> Found:
    """A proposal whose joints' box is 80 x 72 px about (u, v)."""
    crop = HandCrop.around(np.array([u, v, 1000.0]), CAMERA, HandInput(size=64, crop_mm=256.0))
    corners = np.array([[-32.0, -28.0, 1000.0], [32.0, 28.0, 1000.0]])
    pose = CropPose(crop, corners * [1, 1, 0] + [u, v, 1000.0], np.full(2, 8.0), None, 3.0)
    return Detection(joints_box(pose, CAMERA), score, side), pose


@pytest.mark.parametrize(
    ("proposed", "average_precision", "handedness"),
    [
        ([found(120, 108, 0.4)], 1.0, 1.0),
        ([found(120, 108, 0.4, "right")], 1.0, 0.0),
        ([found(120, 108, 0.4), found(400, 100, 0.8)], 0.5, 1.0),  # a false hand is surer
        ([found(120, 108, 0.4), found(440, 396, 0.8)], 1.0, 1.0),  # one that hardly shows counts for nothing
        ([], 0.0, np.nan),
    ],
)
def test_figures_of_a_scene(proposed: list[Found], average_precision: float, handedness: float) -> None:
    def propose(frame: Frame) -> list[Found]:
        return proposed

    figures = program_figures(SimpleNamespace(propose=propose), [scene()])  # type: ignore[arg-type]
    assert figures["ap50"] == pytest.approx(average_precision)
    assert figures["handedness"] == pytest.approx(handedness, nan_ok=True)
    assert np.isnan(figures["ap50_ir"])  # no scene has infrared


def test_scenes_with_infrared_have_their_own_figure() -> None:
    bright = replace(scene(), ir=torch.ones(1, 320, 320))

    def propose(frame: Frame) -> list[Found]:
        return [] if frame.ir is None else [found(120, 108, 0.4)]

    figures = program_figures(SimpleNamespace(propose=propose), [scene(), bright])  # type: ignore[arg-type]
    assert (figures["ap50"], figures["ap50_ir"]) == (0.5, 1.0)

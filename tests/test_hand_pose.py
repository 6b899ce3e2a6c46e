import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pipeline
from pipeline import hand_pose
from pipeline.constants import CONFIDENCE_HALF_MM, FLESH_MM
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera, Frame
from pipeline.hand import Detection, Hand
from pipeline.hand_pose import HandPosePipeline
from pipeline.networks.a2j import A2J, anchor_grid
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j, save_centernet
from pipeline.networks.contracts import DetectorInput, HandInput
from pipeline.sight import Look
from tests.strategies import KINECT_LENS

CAMERA = DepthCamera(640, 576, 504.6, 504.7, 332.8, 348.8, KINECT_LENS)
DETECTOR = DetectorInput(
    size=64,
    depth_max_mm=4000.0,
    ir_max=3000.0,
    ir_sqrt=True,
    offset_scale=2.0,
    classes=("left", "right"),
)
SIZE = 64
HANDS = HandInput(
    size=SIZE,
    crop_mm=260.0,
    depth_range_mm=150.0,
    outside="far",
    std=150.0,
    depth_unit_mm=260 / SIZE,
    handedness="right",
)


class FakeEngine:
    """A network whose answer a test chooses, and which remembers what it was asked."""

    def __init__(self) -> None:
        self.name = "fake"
        self.batches: list[NDArray[np.float32]] = []

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        self.batches.append(batch)
        return self.answer(batch)

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        raise NotImplementedError


class FakeDetector(FakeEngine):
    """Sees boxes (x0, y0, x1, y1 px of its input, score, class)."""

    def __init__(self, *boxes: tuple[float, float, float, float, float, int]) -> None:
        super().__init__()
        self.boxes = boxes

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        out = np.zeros((1, 6, SIZE // 2, SIZE // 2), np.float32)
        for x0, y0, x1, y1, score, kind in self.boxes:
            u, v = (x0 + x1) / 2, (y0 + y1) / 2
            row, column = np.clip([int(v) // 2, int(u) // 2], 0, SIZE // 2 - 1)
            out[0, kind, row, column] = score
            out[0, 2:, row, column] = y1 - y0, x1 - x0, v / 2 - row, u / 2 - column
        return (out,)


class NearestPoint(FakeEngine):
    """Puts all joints on the crop's nearest pixel, joint k 10 + k px lower; sure of right hands only.

    A hand is a right one if its nearest pixel lies right of the crop's middle.
    """

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        anchors = anchor_grid(SIZE).numpy()
        votes, offsets, depths = [], [], []
        for image in batch[:, 0]:
            row, column = np.unravel_index(np.argmin(image), image.shape)
            target = np.array([row, column]) + np.stack([10 + np.arange(21), np.zeros(21)], 1)  # (21, 2)
            if column < SIZE / 2:
                target = target[None] + np.where(np.arange(len(anchors)) % 2, 9, -9)[:, None, None]
            votes.append(np.zeros((len(anchors), 21)))
            offsets.append(target - anchors[:, None])
            depths.append(np.full((len(anchors), 21), image.min() * 150 / (260 / SIZE)))
        return tuple(np.stack(x).astype(np.float32) for x in (votes, offsets, depths))


class KnowsRightHands(NearestPoint):
    """Its side head takes a hand for a right one if its nearest pixel lies right of the others' mean.

    Args:
        wrong_looks: in so many of its first batches it says the opposite.
    """

    def __init__(self, wrong_looks: int = 0) -> None:
        super().__init__()
        self.wrong_looks = wrong_looks

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        away = [np.argmin(image) % SIZE - np.nonzero(image < 0.9)[1].mean() for image in batch[:, 0]]
        logits = np.where(np.array(away) > 0, 4, -4) * (-1 if len(self.batches) <= self.wrong_looks else 1)
        return (*super().answer(batch), logits.astype(np.float32))


def make(**options: object) -> HandPosePipeline:
    """A pipeline on small networks with random weights."""
    torch.manual_seed(0)
    detector = CenterNet(2, width=0.125, plain_head=True, contract=DETECTOR)
    joints = A2J(width=0.125, head_width=8, contract=HANDS)
    options = {"engine": "torch", "device": "cpu", **options}
    return HandPosePipeline(centernet=detector, a2j=joints, **options)  # type: ignore[arg-type]


@pytest.fixture
def pose(monkeypatch: pytest.MonkeyPatch) -> HandPosePipeline:
    """A pipeline whose A2J finds the nearest pixel; hands are not cropped anew."""
    monkeypatch.setattr(hand_pose, "RECROP_MM", np.inf)
    made = make()
    made._joints = NearestPoint()
    return made


BOXES = np.array([[200, 150, 280, 230], [400, 300, 460, 360]], np.float32)
TIPS = np.array([[250, 180], [425, 320]])  # px: the nearest points; right and left of the middle


@pytest.fixture
def frame() -> Frame:
    """Two squares before a wall, each with a nearest pixel."""
    depth = np.full((576, 640), 2500, np.uint16)
    for (x0, y0, x1, y1), (u, v), z in zip(BOXES.astype(int), TIPS, (700, 1400), strict=True):
        depth[y0:y1, x0:x1] = z
        depth[v - 1 : v + 2, u - 1 : u + 2] = z - 50
    return Frame(depth, depth // 2, CAMERA, timestamp_us=7, index=3)


# --- The whole -------------------------------------------------------------------------------------------


def test_random_weights_run_from_checkpoints(tmp_path: Path, frame: Frame) -> None:
    torch.manual_seed(0)
    save_centernet(tmp_path / "c.pth", CenterNet(2, 0.125, True, DETECTOR), {})
    save_a2j(tmp_path / "a.pth", A2J(width=0.125, head_width=8, contract=HANDS), {})
    made = HandPosePipeline("torch", centernet=tmp_path / "c.pth", a2j=str(tmp_path / "a.pth"), track=True)
    assert made.engine_name.startswith("torch")
    assert made.skeleton == HANDS.skeleton
    assert isinstance(made(frame), list)
    hands = made.estimate(frame, BOXES)
    assert len(hands) == 2
    for hand in hands:
        assert hand.joint_names == HANDS.skeleton.joint_names
        for array, shape in (
            (hand.box, (4,)),
            (hand.joints_uvd, (21, 3)),
            (hand.joints_xyz, (21, 3)),
            (hand.confidence, (21,)),
        ):
            assert array.shape == shape
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
        np.testing.assert_allclose(CAMERA.project(hand.joints_xyz), hand.joints_uvd, atol=0.05)
        assert (hand.confidence >= 0).all()
        assert (hand.confidence <= 1).all()


def test_missing_default_weights_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hand_pose, "CENTERNET_CHECKPOINT", tmp_path / "none.pth")
    with pytest.raises(HandPoseError, match=r"-m pipeline[.]training[.]train_centernet"):
        HandPosePipeline()
    monkeypatch.setattr(hand_pose, "A2J_CHECKPOINT", tmp_path / "none.pth")
    with pytest.raises(HandPoseError, match=r"-m pipeline[.]training[.]train_a2j"):
        HandPosePipeline(centernet=CenterNet(1))
    with pytest.raises(HandPoseError, match="absent"):
        HandPosePipeline(centernet=tmp_path / "absent.pth")


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="max_hands"):
        make(max_hands=0)
    with pytest.raises(UsageError, match="steam"):
        make(engine="steam")


def test_import_is_light_and_lets_openmp_sleep() -> None:
    code = (
        "import json, os, sys, pipeline\n"
        "heavy = [m for m in ('torch', 'cv2', 'numpy', 'av') if m in sys.modules]\n"
        "print(json.dumps([heavy, os.environ['OMP_WAIT_POLICY'], sorted(pipeline.__all__)]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    root = Path(pipeline.__file__).parent.parent
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    names = ["DepthCamera", "Frame", "HandPosePipeline", "open_camera"]
    assert json.loads(ran.stdout) == [[], "PASSIVE", names]
    assert pipeline.Frame is Frame
    assert pipeline.HandPosePipeline is HandPosePipeline
    with pytest.raises(AttributeError, match="nothing"):
        _ = pipeline.nothing


# --- Detection -------------------------------------------------------------------------------------------


def test_boxes_are_scaled_clipped_and_sorted(frame: Frame) -> None:
    made = make()
    made._detector = FakeDetector(
        (10, 20, 14, 26, 0.5, 0), (-6, -8, 12, 10, 0.9, 1), (50, 50, 70, 80, 0.7, 1)
    )
    found = made.detect(frame)
    assert [one.score for one in found] == pytest.approx([0.9, 0.7, 0.5])
    assert [one.handedness for one in found] == ["right", "right", "left"]
    expected = [[0, 0, 120, 90], [500, 450, 640, 576], [100, 180, 140, 234]]
    np.testing.assert_allclose([one.box for one in found], expected, atol=0.1)


def test_most_certain_hands_are_kept(frame: Frame) -> None:
    made = make(max_hands=1)
    made._detector = FakeDetector((20, 16, 28, 26, 0.5, 0), (40, 33, 46, 40, 0.9, 1))
    hands = made(frame)
    assert [hand.score for hand in hands] == pytest.approx([0.9])
    assert made.timings.total_ms >= made.timings.detect_ms + made.timings.pose_ms > 0


def test_without_infrared_the_detector_sees_depth_only(frame: Frame) -> None:
    made = make()
    made._detector = detector = FakeDetector()
    assert made(replace(frame, ir=None)) == []
    made(frame)
    without, with_ir = (batch[0] for batch in detector.batches)
    np.testing.assert_array_equal(without[0], with_ir[0])
    assert not without[1].any()
    assert with_ir[1].any()


def test_empty_frames_have_no_hands() -> None:
    made = make()
    made._detector = FakeDetector((10, 20, 14, 26, 0.5, 0))
    blank = np.zeros((576, 640), np.uint16)
    assert made(Frame(blank, None, CAMERA)) == []
    assert made.estimate(Frame(blank, None, CAMERA), BOXES) == []


# --- Joints ----------------------------------------------------------------------------------------------


def nearest_pixels(hands: list[Hand]) -> NDArray[np.float64]:
    """Joint 0 without what NearestPoint adds to its row, in px of the image, and its depth."""
    uvd = np.array([hand.joints_uvd[0] for hand in hands], float)
    uvd[:, 1] -= 10 * 260 / SIZE * CAMERA.fy / (np.array([700, 1400]) + FLESH_MM)[: len(hands)]
    return uvd


def test_joints_come_back_where_they_are_seen(pose: HandPosePipeline, frame: Frame) -> None:
    hands = pose.estimate(frame, BOXES, ["right", "left"])
    assert len(pose._joints.batches) == 1  # type: ignore[attr-defined]
    assert [hand.handedness for hand in hands] == ["right", "left"]
    found = nearest_pixels(hands)
    np.testing.assert_allclose(found[:, :2], TIPS, atol=2.5)  # half a pixel of the crop
    np.testing.assert_allclose(found[:, 2], [650, 1350], atol=1e-3)
    for hand in hands:
        np.testing.assert_allclose(
            hand.joints_xyz, CAMERA.unproject(hand.joints_uvd.astype(float)), rtol=1e-5, atol=1e-3
        )


def test_left_hands_are_seen_mirrored(pose: HandPosePipeline, frame: Frame) -> None:
    pose.estimate(frame, BOXES[[0, 0]], ["right", "left"])
    (batch,) = pose._joints.batches  # type: ignore[attr-defined]
    np.testing.assert_array_equal(batch[0, 0], batch[1, 0, :, ::-1])


def test_unknown_side_is_the_one_on_which_the_anchors_agree(pose: HandPosePipeline, frame: Frame) -> None:
    hands = pose.estimate(frame, BOXES)
    assert [batch.shape[0] for batch in pose._joints.batches] == [4]  # type: ignore[attr-defined]
    assert [hand.handedness for hand in hands] == ["right", "left"]
    np.testing.assert_allclose(nearest_pixels(hands)[:, :2], TIPS, atol=2.5)


def test_detections_without_a_side_try_both(pose: HandPosePipeline, frame: Frame) -> None:
    hands = pose._hands(frame, [Detection(box, 0.8, None) for box in BOXES])
    assert [hand.handedness for hand in hands] == ["right", "left"]
    assert [hand.score for hand in hands] == [0.8, 0.8]


@pytest.fixture
def telling(pose: HandPosePipeline) -> HandPosePipeline:
    """A pipeline whose A2J has a side head."""
    pose._joints, pose._tells_side = KnowsRightHands(), True
    return pose


def looks(pose: HandPosePipeline) -> list[int]:
    """The sizes of A2J's batches."""
    return [len(batch) for batch in pose._joints.batches]  # type: ignore[attr-defined]


def test_side_head_tells_without_trying_both_sides(telling: HandPosePipeline, frame: Frame) -> None:
    hands = telling.estimate(frame, BOXES)
    assert [hand.handedness for hand in hands] == ["right", "left"]
    assert looks(telling) == [2, 1]  # the left one was not seen mirrored at first


def test_side_head_outvotes_a_detector_that_is_wrong(telling: HandPosePipeline, frame: Frame) -> None:
    hands = telling._hands(frame, [Detection(BOXES[0], 0.9, "left"), Detection(BOXES[1], 0.9, "left")])
    assert [hand.handedness for hand in hands] == ["right", "left"]
    assert looks(telling) == [2, 1]


def test_a_given_side_stands_against_the_side_head(telling: HandPosePipeline, frame: Frame) -> None:
    hands = telling.estimate(frame, BOXES, ["left", "right"])
    assert [hand.handedness for hand in hands] == ["left", "right"]
    assert looks(telling) == [2]


def test_second_look_can_change_the_side_back(telling: HandPosePipeline, frame: Frame) -> None:
    telling._joints = KnowsRightHands(wrong_looks=1)
    (hand,) = telling._hands(frame, [Detection(BOXES[0], 0.9, "right")])
    assert looks(telling) == [1, 1, 1]
    assert hand.handedness == "right"


def test_side_head_in_a_mirrored_camera(
    telling: HandPosePipeline, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_pose, "CAMERA_MIRRORED", True)
    assert [hand.handedness for hand in telling.estimate(frame, BOXES)] == ["left", "right"]


def test_networks_with_a_side_head_run(frame: Frame) -> None:
    joints = A2J(width=0.125, head_width=8, contract=HANDS, side_head=True).eval()
    detector = CenterNet(2, width=0.125, plain_head=True, contract=DETECTOR)
    made = HandPosePipeline("torch", centernet=detector, a2j=joints, device="cpu")
    assert made.tells_side
    assert len(made.estimate(frame, BOXES)) == 2
    (pose,) = made.read(frame, [Look(np.array([250.0, 180.0, 700.0]), "left")])
    assert pose is not None
    crop = torch.from_numpy(pose.crop.take(frame.depth))[None, None]
    with torch.no_grad():
        expected = -float(joints.read(crop)[3])
    assert pose.side_log_odds == pytest.approx(expected, abs=1e-3)


def test_mirrored_camera_swaps_the_sides(
    pose: HandPosePipeline, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_pose, "CAMERA_MIRRORED", True)
    assert [hand.handedness for hand in pose.estimate(frame, BOXES)] == ["left", "right"]
    hands = pose.estimate(frame, BOXES, ["left", "right"])
    np.testing.assert_allclose(nearest_pixels(hands)[:, :2], TIPS, atol=2.5)
    assert hands[0].confidence.min() > 0.99
    made = make()
    made._detector = FakeDetector((20, 16, 28, 26, 0.5, 0))
    assert [one.handedness for one in made.detect(frame)] == ["right"]


def test_weights_that_know_both_hands_see_no_mirror(monkeypatch: pytest.MonkeyPatch, frame: Frame) -> None:
    monkeypatch.setattr(hand_pose, "RECROP_MM", np.inf)
    made = make()
    made._joints = joints = NearestPoint()
    made._hand_contract = replace(HANDS, handedness=None)
    hands = made.estimate(frame, BOXES)
    assert joints.batches[0].shape[0] == 2
    assert [hand.handedness for hand in hands] == [None, None]


def test_crops_are_centred_on_what_the_weights_were_trained_about(
    pose: HandPosePipeline, frame: Frame
) -> None:
    pose.estimate(frame, BOXES[:1], ["right"])
    pose._hand_contract = HandInput(size=SIZE, window_px=220.0, window_fx=588.0)
    pose.estimate(frame, BOXES[:1])
    middle = SIZE // 2
    ours, published = (batch[0, 0, middle, middle] for batch in pose._joints.batches)  # type: ignore[attr-defined]
    assert ours == pytest.approx(-FLESH_MM / 150, abs=1e-5)  # about joints, behind the surface
    assert published == 0  # about the surface


def test_confidence_is_the_agreement_of_the_anchors(pose: HandPosePipeline, frame: Frame) -> None:
    sure, unsure = pose.estimate(frame, BOXES, ["right", "right"])
    np.testing.assert_allclose(sure.confidence, 1, atol=1e-4)
    spread_mm = np.sqrt(2) * 9 * 260 / SIZE
    expected = 1 / (1 + (spread_mm / CONFIDENCE_HALF_MM) ** 2)
    np.testing.assert_allclose(unsure.confidence, expected, rtol=1e-3)
    assert unsure.score == pytest.approx(expected, rel=1e-3)


class HandAtNearestPoint(FakeEngine):
    """All joints about the nearest pixel of each crop, with full agreement."""

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        anchors = anchor_grid(SIZE).numpy()
        around = np.stack([np.linspace(-5, 5, 21)] * 2, 1)
        offsets = [
            np.array(np.unravel_index(np.argmin(image), image.shape)) + around - anchors[:, None]
            for image in batch[:, 0]
        ]
        flat = np.zeros((len(batch), len(anchors), 21), np.float32)
        noise = 1.0 / len(self.batches)  # the second look is the surer one
        wiggle = np.where(np.arange(len(anchors)) % 2, noise, -noise)[:, None, None]
        return flat, (np.stack(offsets) + wiggle).astype(np.float32), flat


def test_crops_that_were_off_are_taken_anew(frame: Frame) -> None:
    made = make()
    made._joints = joints = HandAtNearestPoint()
    depth = np.full_like(frame.depth, 2500)
    cv2.circle(depth, (250, 180), 40, 700, -1)
    cv2.circle(depth, (450, 380), 40, 700, -1)
    depth[178:183, 248:253] = depth[398:403, 423:428] = 690
    boxes = np.array([[210, 140, 290, 220], [410, 340, 490, 420]], np.float32)
    centred, off = made.estimate(replace(frame, depth=depth), boxes, ["right", "right"])
    assert [len(batch) for batch in joints.batches] == [2, 1]
    again = joints.batches[1][0, 0]
    middle = np.unravel_index(np.argmin(again), again.shape)
    np.testing.assert_allclose(middle, (SIZE - 1) / 2, atol=1)
    np.testing.assert_allclose(off.joints_uvd.mean(axis=0)[:2], [425, 400], atol=3)
    np.testing.assert_allclose(centred.joints_uvd.mean(axis=0)[:2], [250, 180], atol=3)


class Broken(NearestPoint):
    """Not a number for the first crop, a hand behind the camera for the second."""

    def answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        votes, offsets, depths = super().answer(batch)
        offsets[0, :, 5] = np.nan
        depths[1] = -1e4
        return votes, offsets, depths


def test_what_is_not_a_hand_does_not_leave(pose: HandPosePipeline, frame: Frame) -> None:
    pose._joints = Broken()
    hands = pose.estimate(frame, BOXES[[0, 1, 0]], ["right"] * 3)
    assert len(hands) == 1
    assert np.isfinite(hands[0].joints_xyz).all()


def test_boxes_that_hold_nothing_are_left_out(pose: HandPosePipeline, frame: Frame) -> None:
    nothing = [[np.nan, 0, 50, 50], [-90, -90, -10, -10], [9, 9, 9, 60], [0, 0, np.inf, 50]]
    hands = pose.estimate(frame, [nothing[0], *BOXES.tolist(), *nothing[1:]])
    assert [hand.box.tolist() for hand in hands] == BOXES.tolist()
    assert pose.estimate(frame, []) == []
    assert pose.estimate(frame, np.zeros((0, 4))) == []


def test_boxes_of_another_shape_are_refused(pose: HandPosePipeline, frame: Frame) -> None:
    for boxes in (BOXES[0], BOXES[:, :3], BOXES[None]):
        with pytest.raises(ValueError, match=r"boxes must have the shape \(N, 4\)"):
            pose.estimate(frame, boxes)
    for sides in (["right"], ["right", "up"]):
        with pytest.raises(ValueError, match="for each of 2 boxes"):
            pose.estimate(frame, BOXES, sides)  # type: ignore[arg-type]


def test_any_box_gives_finite_numbers(frame: Frame) -> None:
    made = make()
    random = np.random.default_rng(0)
    boxes = random.uniform(-200, 900, (12, 4)).astype(np.float32)
    for hand in made.estimate(frame, boxes):
        assert np.isfinite(hand.joints_uvd).all()
        assert np.isfinite(hand.joints_xyz).all()
        assert np.isfinite(hand.confidence).all()
        assert 0 <= hand.score <= 1

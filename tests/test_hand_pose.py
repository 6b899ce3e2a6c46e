import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pipeline
from pipeline import reading
from pipeline.constants import CONFIDENCE_HALF_MM
from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import Frame
from pipeline.hand_pose import HandPosePipeline
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j, save_centernet
from pipeline.sight import Look
from tests.fakes.hand_networks import (
    BOXES,
    CAMERA,
    DETECTOR,
    HANDS,
    SIZE,
    FakeDetector,
    NearestPoint,
    two_squares,
)


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
    monkeypatch.setattr(reading, "RECROP_MM", np.inf)
    made = make()
    made._reader.engine = NearestPoint()
    return made


@pytest.fixture
def frame() -> Frame:
    return two_squares()


# --- The whole -------------------------------------------------------------------------------------------


def test_random_weights_run_from_checkpoints(tmp_path: Path, frame: Frame) -> None:
    torch.manual_seed(0)
    save_centernet(tmp_path / "c.pth", CenterNet(2, 0.125, True, DETECTOR), {})
    save_a2j(tmp_path / "a.pth", A2J(width=0.125, head_width=8, contract=HANDS), {})
    made = HandPosePipeline("torch", centernet=tmp_path / "c.pth", a2j=str(tmp_path / "a.pth"), track=True)
    assert made.engine_name == "torch float32 (cpu)"
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


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(HandPoseError, match="absent"):
        HandPosePipeline(centernet=tmp_path / "absent.pth")


def test_wrong_settings_are_refused() -> None:
    for name, number in (("max_hands", 0), ("max_hands", 1.5), ("max_hands", True), ("threads", "2")):
        with pytest.raises(UsageError, match=name):
            make(**{name: number})
    assert make(max_hands=np.int64(2)).max_hands == 2
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


# --- With known answers ----------------------------------------------------------------------------------


def test_most_certain_hands_are_kept(frame: Frame) -> None:
    made = make(max_hands=1)
    made._detector.engine = FakeDetector((20, 16, 28, 26, 0.5, 0), (40, 33, 46, 40, 0.9, 1))
    hands = made(frame)
    assert [hand.score for hand in hands] == pytest.approx([0.9])
    assert made.timings.total_ms >= made.timings.detect_ms + made.timings.pose_ms > 0


def test_no_more_is_looked_at_than_hands_are_wanted(
    monkeypatch: pytest.MonkeyPatch, pose: HandPosePipeline, frame: Frame
) -> None:
    sure, fainter, surer = (20, 16, 28, 26, 0.5, 1), (40, 33, 46, 40, 0.4, 1), (40, 33, 46, 40, 0.52, 1)

    def found(
        most: int | None, *boxes: tuple[float, float, float, float, float, int]
    ) -> tuple[list[float], int]:
        """Left edges of the hands' boxes, and the number of crops that were looked at."""
        engine = NearestPoint()
        monkeypatch.setattr(pose, "max_hands", most)
        pose._reader.engine, pose._detector.engine = engine, FakeDetector(*boxes)
        hands = pose(frame)
        assert pose.detect(frame)[0].box[0] == hands[0].box[0]
        return [float(hand.box[0]) for hand in hands], sum(len(batch) for batch in engine.batches) // 2

    pose._reader.contract = replace(HANDS, least_score=0.02)
    (first, second), both = found(None, sure, fainter)
    assert (found(1, sure, fainter), both) == (([first], 1), 2)
    assert found(2, sure, fainter) == ([first, second], 2)
    monkeypatch.setattr(pose, "max_hands", 1)
    assert len(pose.see(frame)) == 2  # tracking wants to know all of them
    # Where the surest proposal is no hand, the others are looked at.
    assert found(1, sure, surer)[0] == [second]
    pose._reader.contract = replace(HANDS, least_score=0.3)
    assert found(1, sure, surer) == ([first], 2)


@pytest.mark.parametrize(("presence", "proposed"), [(False, 1), (True, 2)])
def test_boxes_may_overlap_more_where_the_joints_tell_hands_apart(
    frame: Frame, presence: bool, proposed: int
) -> None:
    torch.manual_seed(0)
    contract = replace(HANDS, least_score=0.3 if presence else 0.0)
    joints = A2J(width=0.125, head_width=8, contract=contract, side_head=True, presence=presence)
    detector = CenterNet(2, width=0.125, plain_head=True, contract=DETECTOR)
    made = HandPosePipeline("torch", device="cpu", centernet=detector, a2j=joints)
    made._detector.engine = FakeDetector((10, 20, 40, 40, 0.9, 0), (22, 20, 52, 40, 0.5, 0))  # IoU 0.43
    assert len(made._detect(frame)) == proposed


def test_empty_frames_have_no_hands() -> None:
    made = make()
    made._detector.engine = FakeDetector((10, 20, 14, 26, 0.5, 0))
    blank = np.zeros((576, 640), np.uint16)
    assert made(Frame(blank, None, CAMERA)) == []
    assert made.estimate(Frame(blank, None, CAMERA), BOXES) == []


def test_hands_have_millimetres_and_a_side(pose: HandPosePipeline, frame: Frame) -> None:
    hands = pose.estimate(frame, BOXES)
    assert [hand.handedness for hand in hands] == ["right", "left"]
    assert [hand.box.tolist() for hand in hands] == BOXES.tolist()
    for hand in hands:
        np.testing.assert_allclose(
            hand.joints_xyz, CAMERA.unproject(hand.joints_uvd.astype(float)), rtol=1e-5, atol=1e-3
        )
    assert pose.estimate(frame, []) == []


def test_detected_hands_keep_their_score(pose: HandPosePipeline, frame: Frame) -> None:
    pose._detector.engine = FakeDetector((20, 16, 28, 26, 0.8, 1), (40, 33, 46, 40, 0.7, 0))
    hands = pose(frame)
    assert [hand.score for hand in hands] == pytest.approx([0.8, 0.7])
    assert [hand.handedness for hand in hands] == ["right", "left"]


def test_confidence_is_the_agreement_of_the_anchors(pose: HandPosePipeline, frame: Frame) -> None:
    sure, unsure = pose.estimate(frame, BOXES, ["right", "right"])
    np.testing.assert_allclose(sure.confidence, 1, atol=1e-4)
    spread_mm = np.sqrt(2) * 9 * 260 / SIZE
    expected = 1 / (1 + (spread_mm / CONFIDENCE_HALF_MM) ** 2)
    np.testing.assert_allclose(unsure.confidence, expected, rtol=1e-3)
    assert unsure.score == pytest.approx(expected, rel=1e-3)


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


def test_any_box_gives_finite_numbers(frame: Frame) -> None:
    made = make()
    random = np.random.default_rng(0)
    boxes = random.uniform(-200, 900, (12, 4)).astype(np.float32)
    for hand in made.estimate(frame, boxes):
        assert np.isfinite(hand.joints_uvd).all()
        assert np.isfinite(hand.joints_xyz).all()
        assert np.isfinite(hand.confidence).all()
        assert 0 <= hand.score <= 1

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.penetration import penetration_mm, remove_penetration, segment_distance
from pipeline.synthetic.poses import PoseBank, angle_limits, gesture_angles, recorded_angles, sample_angles
from pipeline.synthetic.sampling import Sampler
from pipeline.synthetic.shapes import HandShape


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel()


def test_random_poses_keep_the_limits_and_use_their_range() -> None:
    angles = sample_angles(3000, Sampler("cpu", 1))
    lower, upper = angle_limits()
    assert ((angles >= lower - 1e-6) & (angles <= upper + 1e-6)).all()
    assert (angles[:, [0, 4, 8, 12]].amax(0) > np.deg2rad(85)).all()
    assert (angles[:, [2, 6, 10, 14]].amin(0) < np.deg2rad(5)).all()
    assert angles.std(0)[:21].min() > np.deg2rad(3)


def test_last_joint_does_not_bend_alone() -> None:
    angles = sample_angles(1000, Sampler("cpu", 2))
    pip, dip = angles[:, 2:16:4], angles[:, 3:16:4]
    assert (dip <= 0.9 * pip.clamp(min=0) + 0.2 + 1e-5).all()


def test_written_and_recorded_poses_are_within_reach() -> None:
    lower, upper = angle_limits()
    for poses, slack in ((gesture_angles(), 0.01), (recorded_angles(), np.deg2rad(1))):
        assert len(poses) > 30
        assert ((poses >= lower - slack) & (poses <= upper + slack)).all()


def test_segment_distance_agrees_with_a_numerical_minimum() -> None:
    rng = np.random.default_rng(0)
    for points in rng.normal(size=(10, 4, 3)):
        a, b, c, d = points

        def gap(
            s: np.ndarray, a: np.ndarray = a, b: np.ndarray = b, c: np.ndarray = c, d: np.ndarray = d
        ) -> float:
            return float(np.sum((a + s[0] * (b - a) - c - s[1] * (d - c)) ** 2))

        best = minimize(gap, [0.5, 0.5], bounds=[(0, 1), (0, 1)], tol=1e-12).fun ** 0.5
        assert float(segment_distance(*torch.tensor(points).unbind(0))) == pytest.approx(best, abs=1e-4)


def test_flat_hand_and_fist_do_not_penetrate(model: HandModel) -> None:
    gestures = gesture_angles()[[0, 1, 2]]
    assert penetration_mm(model.bones(gestures, HandShape.median(3))).max() < 2


def test_crossed_fingers_are_parted(model: HandModel) -> None:
    angles = torch.zeros(2, 27)
    angles[0, [1, 5]] = torch.tensor([-1.2, 1.2])  # index and middle through each other
    angles[1, 16:21] = torch.tensor([0.6, -0.2, 0.3, 1.0, 0.5])  # thumb into the palm
    lower, upper = angle_limits()
    before = penetration_mm(model.bones(angles, HandShape.median(2))).amax(1)
    parted, left = remove_penetration(model, angles, lower, upper)
    assert before.max() > 5
    assert left.max() < 2
    assert ((parted >= lower - 1e-6) & (parted <= upper + 1e-6)).all()


def test_bank_holds_few_penetrating_poses_and_repeats_itself(model: HandModel) -> None:
    bank = PoseBank(model, seed=3, size=1000)
    left = penetration_mm(model.bones(bank.angles, HandShape.median(len(bank.angles)))).amax(1)
    assert len(bank.angles) > 980
    assert (left > 2).float().mean() < 0.01
    assert torch.equal(bank.angles, PoseBank(model, seed=3, size=1000).angles)
    drawn = bank.draw(500, Sampler("cpu", 1))
    varied = penetration_mm(model.bones(drawn, HandShape.median(500))).amax(1)
    assert (varied > 5).float().mean() < 0.01

import itertools

import numpy as np
import pytest

from pipeline.cameras import open_camera
from pipeline.cameras.base import Camera
from pipeline.cameras.demo import DemoCamera
from pipeline.hand import HAND_21


@pytest.fixture(scope="module")
def demo() -> DemoCamera:
    return DemoCamera(seed=1)


def test_frames_come_in_order_and_fit_the_camera() -> None:
    with open_camera("demo") as source:
        assert isinstance(source, Camera)
        assert not source.live
        assert source.dropped == 0
        frames = list(itertools.islice(source, 3))
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all(a.timestamp_us < b.timestamp_us for a, b in itertools.pairwise(frames))
    assert frames[0].depth.shape == (576, 640)
    assert frames[0].ir is not None
    assert list(source) == []  # closed
    source.close()


def test_a_frame_is_the_same_whenever_it_is_asked_for(demo: DemoCamera) -> None:
    late = demo.frame(7)
    again = list(itertools.islice(DemoCamera(seed=1), 8))[7]
    np.testing.assert_array_equal(late.depth, again.depth)
    np.testing.assert_array_equal(late.ir, again.ir)
    assert (late.depth != DemoCamera(seed=2).frame(7).depth).mean() > 0.05


def test_joints_lie_in_the_measured_hands(demo: DemoCamera) -> None:
    inside, total = 0, 0
    for index in (0, 45, 100):
        depth = demo.frame(index).depth
        for hand in demo.truth(index):
            np.testing.assert_allclose(
                demo.camera.unproject(hand.joints_uvd), hand.joints_xyz, rtol=1e-3, atol=0.5
            )
            for u, v, d in hand.joints_uvd:
                measured = int(depth[round(float(v)), round(float(u))])
                inside += 0 < measured < d + 30  # on the hand, or on what hides it
                total += 1
    assert inside > 0.8 * total


def test_truth_names_sides_as_the_thumbs_do(demo: DemoCamera) -> None:
    for index in range(0, 300, 37):
        left, right = demo.truth(index)
        assert (left.handedness, right.handedness) == ("left", "right")
        assert left.joint_names == HAND_21.joint_names
        for hand, sign in ((left, -1), (right, 1)):
            points = hand.joints_xyz - hand.joints_xyz[0]
            assert sign * np.linalg.det(points[[5, 17, 1]]) > 0
            low, high = hand.joints_uvd[:, :2].min(0), hand.joints_uvd[:, :2].max(0)
            assert (low > hand.box[:2] - 3).all()
            assert (high < hand.box[2:] + 3).all()


def test_hands_move_smoothly_and_stay_in_view(demo: DemoCamera) -> None:
    for start in (20, 400):
        path = np.stack([[hand.joints_xyz for hand in demo.truth(k)] for k in range(start, start + 40)])
        assert np.linalg.norm(np.diff(path, axis=0), axis=-1).max() < 60  # mm a frame
        assert np.linalg.norm(path[-1] - path[0], axis=-1).max() > 20
    for index in range(0, 900, 60):
        for hand in demo.truth(index):
            assert (hand.joints_uvd[:, 0] > 10).all()
            assert (hand.joints_uvd[:, 0] < 630).all()
            assert (hand.joints_uvd[:, 1] > 60).all()
            assert (hand.joints_uvd[:, 1] < 570).all()
            assert (hand.joints_uvd[:, 2] > 350).all()


def test_the_sensor_is_noisy_but_steady(demo: DemoCamera) -> None:
    wall = np.stack([demo.frame(k).depth[100:130, 250:300] for k in range(4)]).astype(float)
    assert 0.2 < wall.std(axis=0).mean() < 8
    assert demo.frame(0).depth[0, 0] == 0  # outside the hexagon
    ir = demo.frame(0).ir
    assert ir is not None
    assert ir[0, 0] == 0
    assert ir.max() < 65535

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.frame import DepthCamera
from pipeline.synthetic.people import PosedPeople
from pipeline.synthetic.performance import Performance, stage
from pipeline.synthetic.primitives import box_depth
from pipeline.synthetic.rooms import Boxes, room_surface, sample_room
from pipeline.synthetic.sampling import Sampler, axis_angle_matrix
from pipeline.synthetic.scene_view import Scene, SceneRenderer, View, measure
from pipeline.synthetic.scenes import SIZE, SceneBatch, SceneGenerator, pose_bank, scene_renderer
from pipeline.synthetic.staging import sample_scene

POSES = 256
CPU = torch.device("cpu")


def generator(seed: int) -> SceneGenerator:
    return SceneGenerator("cpu", seed, poses=POSES)


@pytest.fixture(scope="module")
def batch() -> SceneBatch:
    return generator(3).batch(40)


@pytest.fixture(scope="module")
def renderer() -> SceneRenderer:
    return scene_renderer(CPU)


def test_images_are_finite_and_in_range(batch: SceneBatch) -> None:
    assert batch.depth.shape == batch.ir.shape == (40, SIZE, SIZE)
    assert batch.depth.dtype == batch.ir.dtype == torch.float32
    assert torch.isfinite(batch.depth).all()
    assert torch.isfinite(batch.ir).all()
    assert batch.depth.min() == 0
    assert batch.depth.max() < 9000
    assert batch.ir.min() >= 0
    assert batch.ir.max() <= 65535
    assert 0.5 < (batch.ir.amax((1, 2)) > 0).float().mean() < 1  # some cameras have no infrared


def test_labels_of_a_scene_belong_together(batch: SceneBatch) -> None:
    for boxes, classes, visible, joints in zip(
        batch.boxes, batch.classes, batch.visible, batch.joints, strict=True
    ):
        count = len(boxes)
        assert boxes.shape == (count, 4)
        assert boxes.dtype == torch.float32
        assert joints.shape == (count, 21, 3)
        assert ((classes == 0) | (classes == 1)).all()
        assert ((visible > 0) & (visible <= 1)).all()
        assert torch.isfinite(joints).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((boxes >= 0) & (boxes <= SIZE)).all()
        assert count <= 6


def test_scenes_hold_people_and_some_hold_nobody(batch: SceneBatch) -> None:
    counts = np.array([len(boxes) for boxes in batch.boxes])
    assert 0.6 < (counts > 0).mean() < 1
    assert (counts > 2).any()
    sides = torch.cat(batch.classes)
    assert 0.3 < sides.float().mean() < 0.7


def test_scenes_without_anybody_have_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.synthetic.staging._PEOPLE_SHARES", (1.0, 0.0, 0.0, 0.0))
    empty = generator(0).batch(2)
    assert [len(boxes) for boxes in empty.boxes] == [0, 0]
    assert torch.isfinite(empty.depth).all()


def test_boxes_hold_the_joints_of_hands_in_full_view(batch: SceneBatch) -> None:
    checked = 0
    for boxes, visible, joints in zip(batch.boxes, batch.visible, batch.joints, strict=True):
        for box, share, uvd in zip(boxes, visible, joints, strict=True):
            if share < 0.97:
                continue
            slack = 0.06 * (box[2:] - box[:2]).max() + 1.0
            inside = (uvd[:, :2] > box[:2] - slack) & (uvd[:, :2] < box[2:] + slack)
            assert inside.all(1).sum() >= 19  # a finger tip is less than 3 % of a hand
            checked += 1
    assert checked > 10


def test_depth_under_a_visible_hand_is_the_hands(batch: SceneBatch) -> None:
    near, total = 0, 0
    for depth, boxes, visible, joints in zip(
        batch.depth, batch.boxes, batch.visible, batch.joints, strict=True
    ):
        for box, share, uvd in zip(boxes, visible, joints, strict=True):
            if share < 0.97:
                continue
            x0, y0, x1, y1 = box.int().tolist()
            patch = depth[y0:y1, x0:x1]
            low, high = uvd[:, 2].min() - 45, uvd[:, 2].max() + 25
            near += int(((patch > low) & (patch < high)).any())
            total += 1
    assert near >= 0.9 * total > 0


def test_classes_are_the_sides_that_the_thumbs_tell(batch: SceneBatch) -> None:
    sides, joints = torch.cat(batch.classes), torch.cat(batch.joints).double()
    focal = 250.0  # near enough: stretching an axis does not make a left hand of a right one
    z = joints[..., 2:]
    points = torch.cat([(joints[..., :2] - SIZE / 2) * z / focal, z], 2)
    index, pinky, thumb = (points[:, k] - points[:, 0] for k in (5, 17, 1))
    towards_palm = (torch.linalg.cross(index, pinky) * thumb).sum(1)
    assert ((towards_palm > 0) == (sides == 1)).all()


def test_same_seed_same_scenes() -> None:
    one, same, other = generator(11).batch(3), generator(11).batch(3), generator(12).batch(3)
    assert torch.equal(one.depth, same.depth)
    assert torch.equal(one.ir, same.ir)
    assert all(torch.equal(a, b) for a, b in zip(one.joints, same.joints, strict=True))
    assert not torch.equal(one.depth, other.depth)


def test_walls_are_where_the_room_says(renderer: SceneRenderer) -> None:
    camera = DepthCamera(64, 58, 50.0, 50.0, 31.5, 28.5)
    room = sample_room(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([1.0]), Sampler("cpu", 0))
    room = replace(room, turn=torch.zeros(1), low=torch.tensor([[-9.0, -1.0, -1.0]]))
    room = replace(room, high=torch.tensor([[9.0, 1.2, 2.5]]))
    z, _ = room_surface(room, View.azure_kinect(camera).rays, torch.eye(3)[None], None)
    rows = torch.arange(58)
    expected = torch.full((58,), 2.5)
    slope = (rows - camera.cy) / camera.fy
    expected = torch.where(slope > 0, torch.minimum(expected, 1.2 / slope), expected)
    expected = torch.where(slope < 0, torch.minimum(expected, 1.0 / -slope), expected)
    np.testing.assert_allclose(z[0], expected[:, None].expand(58, 64), rtol=1e-4)


def test_furniture_agrees_with_box_depth_along_rays() -> None:
    scene, _ = sample_scene(4, scene_renderer(CPU).people, pose_bank(CPU, POSES), Sampler("cpu", 6))
    rays = View.azure_kinect(DepthCamera(80, 72, 63.0, 63.0, 40.0, 41.0), 4).rays
    z, albedo = room_surface(scene.room, rays, scene.camera, None)
    boxes = scene.room.furniture
    empty = replace(scene.room, furniture=replace(boxes, present=torch.zeros_like(boxes.present)))
    expected, tone = room_surface(empty, rays, scene.camera, None)
    for k in range(boxes.present.shape[1]):
        turn = scene.camera @ axis_angle_matrix((0.0, 1.0, 0.0), boxes.turn[:, k])
        centre = (scene.camera @ boxes.centre[:, k, :, None])[..., 0]
        box = box_depth(rays, centre, turn, boxes.radii[:, k])
        nearer = (box < expected) & boxes.present[:, k, None, None]
        expected = torch.where(nearer, box, expected)
        tone = torch.where(nearer, boxes.albedo[:, k, None, None], tone)
    np.testing.assert_allclose(z, expected, rtol=1e-4)
    assert (albedo != tone).float().mean() < 1e-3


@pytest.fixture(scope="module")
def posed(renderer: SceneRenderer) -> tuple[Scene, PosedPeople]:
    scene = stage(renderer.people, Performance(0).posture(1.0))
    return scene, renderer.people.pose(scene.appearance, scene.posture)


def test_nothing_before_a_hand_shows_all_of_it(
    renderer: SceneRenderer, posed: tuple[Scene, PosedPeople]
) -> None:
    scene, people = posed
    view = View.azure_kinect(DepthCamera(640, 576, 504.6, 504.7, 320.0, 330.0))
    _, hand = renderer.surface(scene, people, view)
    labels = renderer.labels(scene, people, hand, view)
    assert labels.side.tolist() == [0, 1]
    assert (labels.visible > 0.9).all()
    assert labels.box[0, 0] > labels.box[1, 0]  # the person's left hand is on the right of the image


def test_a_board_before_the_hands_hides_them(
    renderer: SceneRenderer, posed: tuple[Scene, PosedPeople]
) -> None:
    scene, people = posed
    board = Boxes(
        centre=torch.tensor([[[0.0, 0.0, 0.3]]]),
        radii=torch.tensor([[[1.0, 1.0, 0.01]]]),
        turn=torch.zeros(1, 1),
        albedo=torch.ones(1, 1),
        present=torch.ones(1, 1, dtype=torch.bool),
    )
    scene = replace(scene, room=replace(scene.room, furniture=board))
    view = View.azure_kinect(DepthCamera(160, 144, 126.0, 126.0, 80.0, 82.0))
    surface, hand = renderer.surface(scene, people, view)
    assert (hand == -1).all()
    assert len(renderer.labels(scene, people, hand, view).side) == 0
    np.testing.assert_allclose(surface.z[0, 70, 80], 0.29, atol=1e-4)


def test_a_hand_half_outside_the_image_is_half_visible(
    renderer: SceneRenderer, posed: tuple[Scene, PosedPeople]
) -> None:
    scene, people = posed
    camera = DepthCamera(320, 288, 252.0, 252.0, 160.0, 165.0)
    whole = View.azure_kinect(camera)
    _, hand = renderer.surface(scene, people, whole)
    box = renderer.labels(scene, people, hand, whole).box[1]  # right hand
    middle = float(box[0] + box[2]) / 2
    shifted = replace(whole, cx=whole.cx - middle)
    _, hand = renderer.surface(scene, people, shifted)
    labels = renderer.labels(scene, people, hand, shifted)
    cut = labels.visible[labels.side == 1]
    assert 0.25 < float(cut) < 0.75
    assert float(labels.box[labels.side == 1][0, 0]) == 0


def test_structured_light_has_no_infrared_and_the_hexagon_is_empty_outside(
    renderer: SceneRenderer, posed: tuple[Scene, PosedPeople]
) -> None:
    scene, people = posed
    view = View.azure_kinect(DepthCamera(160, 144, 126.0, 126.0, 80.0, 82.0))
    surface, _ = renderer.surface(scene, people, view)
    depth, ir = measure(surface, view, Sampler("cpu", 0))
    outside = ~view.seen()
    assert depth[outside].max() == ir[outside].max() == 0
    assert ir.max() > 0
    _, ir = measure(surface, replace(view, structured=~view.structured), Sampler("cpu", 0))
    assert ir.max() == 0


def test_models_are_made_once() -> None:
    assert scene_renderer(CPU) is scene_renderer(CPU)
    assert pose_bank(CPU, POSES) is pose_bank(CPU, POSES)

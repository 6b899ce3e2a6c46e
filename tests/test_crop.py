from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.constants import HOPELESS_PRESENCE
from pipeline.crop import CropPose, HandCrop, find_hand, network_values
from pipeline.frame import DepthCamera
from pipeline.hand import HAND_21
from pipeline.networks.contracts import HandInput
from pipeline.synthetic.crops import FOCAL_PX, CropGenerator
from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.hand_views import place_hands, random_hands
from pipeline.synthetic.poses import PoseBank
from pipeline.synthetic.raster import rasterize
from pipeline.synthetic.sampling import Sampler
from tests.strategies import cameras

OURS = HandInput(
    size=128,
    crop_mm=260.0,
    depth_range_mm=150.0,
    outside="far",
    std=150.0,
    depth_unit_mm=260 / 128,
    handedness="right",
)
NYU = HandInput(
    size=176, window_px=220.0, window_fx=588.0, depth_range_mm=180.0, mean=-0.66877532, std=28.32958208
)
KINECT = DepthCamera(640, 576, 504.6, 504.7, 332.8, 348.8)
contracts = st.sampled_from([OURS, NYU, replace(OURS, size=176, crop_mm=180.0)])


def literal_crop(crop: HandCrop, depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Pixel by pixel, through the map of joints."""
    size = crop.contract.size
    out = np.zeros((size, size), np.uint16)
    for row in range(size):
        for column in range(size):
            u, v, _ = crop.to_image(np.array([[column, row, 0.0]]))[0]
            x, y = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
            if 0 <= y < depth.shape[0] and 0 <= x < depth.shape[1]:
                out[row, column] = depth[y, x]
    return out


@given(
    camera=cameras,
    contract=contracts,
    mirrored=st.booleans(),
    roll=st.floats(-7, 7),
    place=st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)),
    depth=st.floats(150, 4000),
    joints=st.lists(st.tuples(*[st.floats(-40, 200)] * 3), min_size=1, max_size=5),
)
@settings(max_examples=80)
def test_to_the_image_and_back_is_the_identity(
    camera: DepthCamera,
    contract: HandInput,
    mirrored: bool,
    roll: float,
    place: tuple[float, float],
    depth: float,
    joints: list[tuple[float, float, float]],
) -> None:
    centre = np.array([place[0] * camera.width, place[1] * camera.height, depth])
    crop = HandCrop.around(centre, camera, contract, mirrored, roll)
    np.testing.assert_allclose(crop.from_image(crop.to_image(np.array(joints))), joints, atol=1e-6)
    uvd = centre + np.array([[0, 0, 0], [30, -20, 60.0]])
    np.testing.assert_allclose(crop.to_image(crop.from_image(uvd)), uvd, atol=1e-6)


@given(
    camera=cameras,
    mirrored=st.booleans(),
    roll=st.floats(-4, 4),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    depth=st.floats(200, 3000),
)
@settings(max_examples=60)
def test_millimetres_come_back_through_crop_and_lens(
    camera: DepthCamera, mirrored: bool, roll: float, place: tuple[float, float], depth: float
) -> None:
    u, v = place[0] * (camera.width - 1), place[1] * (camera.height - 1)
    pixels = np.array([[u, v, depth], [u * 0.9, v * 0.9, depth + 30]])
    xyz = camera.unproject(pixels)
    # In the corners of an image wider than its lens model reaches, no ray belongs to a pixel.
    assume(np.abs(camera.project(xyz) - pixels).max() < 0.01)
    crop = HandCrop.around(np.array([u, v, depth]), camera, OURS, mirrored, roll)
    seen = crop.from_image(camera.project(xyz)).astype(np.float32)
    uvd = crop.to_image(seen)
    assert np.abs(uvd - camera.project(xyz)).max() < 0.05
    assert np.abs(camera.unproject(uvd) - xyz).max() < 0.1


@given(camera=cameras, depth=st.floats(200, 3000), mirrored=st.booleans())
@settings(max_examples=30)
def test_crop_is_a_square_of_its_millimetres(camera: DepthCamera, depth: float, mirrored: bool) -> None:
    camera = replace(camera, distortion=None)
    crop = HandCrop.around(np.array([100.0, 80.0, depth]), camera, OURS, mirrored)
    edges = np.array([[-0.5, -0.5, 0], [127.5, 127.5, 0]])
    side = np.ptp(camera.unproject(crop.to_image(edges)), axis=0)
    np.testing.assert_allclose(side, [260, 260, 0], atol=1e-6)
    assert crop.scale_mm == pytest.approx(260 / 128)
    np.testing.assert_allclose(crop.to_image(np.array([[63.5, 63.5, 0]])), [[100, 80, depth]])


def test_fixed_window_has_its_share_of_the_field_of_view() -> None:
    crop = HandCrop.around(np.array([300.0, 200.0, 700.0]), replace(KINECT, fx=588.0, fy=294.0), NYU)
    assert crop.step_x * 176 == pytest.approx(220)
    assert crop.step_y * 176 == pytest.approx(110)
    assert crop.scale_mm == pytest.approx(220 / 588 * 700 / 176)


@pytest.mark.parametrize("roll", [0.0, 0.7, -2.9])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("centre", [(320, 300, 600), (3, 570, 900), (700, -30, 500), (200, 200, 3000)])
def test_pixels_are_the_nearest_ones(centre: tuple[float, float, float], mirrored: bool, roll: float) -> None:
    depth = np.random.default_rng(0).integers(0, 2**16, (576, 640)).astype(np.uint16)
    crop = HandCrop.around(np.array(centre), KINECT, replace(OURS, size=48), mirrored, roll)
    expected = network_values(literal_crop(crop, depth), centre[2], crop.contract)
    assert (crop.take(depth) != expected).mean() < 0.01  # OpenCV rounds positions to 1/1024 px


def test_a_turned_crop_shows_upright_what_is_turned_in_the_image() -> None:
    up = np.array([[63.5, 63.5, 0.0], [63.5, 43.5, 0.0]])
    crop = HandCrop.around(np.array([300.0, 200.0, 600.0]), KINECT, OURS, roll=np.pi / 2)
    right, down, _ = np.diff(crop.to_image(up), axis=0)[0]
    assert right > 10
    assert down == pytest.approx(0, abs=1e-9)


@given(roll=st.floats(-3.1, 3.1), turned=st.floats(-3.1, 3.1), mirrored=st.booleans())
@settings(max_examples=30)
def test_a_crop_turned_by_the_roll_of_its_pose_shows_the_palm_upright(
    roll: float, turned: float, mirrored: bool
) -> None:
    hand = np.zeros((21, 3))
    hand[list(HAND_21.knuckles), 1] = -20.0  # above the wrist
    hand[:, :2] += 63.5
    cos, sin = np.cos(turned), np.sin(turned)
    hand[:, :2] = (hand[:, :2] - 63.5) @ np.array([[cos, sin], [-sin, cos]]) + 63.5
    first = HandCrop.around(np.array([300.0, 200.0, 600.0]), KINECT, OURS, mirrored, roll)
    uvd = first.to_image(hand)
    pose = CropPose(first, uvd, np.ones(21))
    second = HandCrop.around(pose.centre, KINECT, OURS, mirrored, pose.roll)
    wrist, middle = second.from_image(uvd)[[0, 9], :2]
    np.testing.assert_allclose(middle - wrist, [0, -20], atol=1e-6)


def test_mirrored_scene_gives_the_same_crop() -> None:
    depth = np.random.default_rng(1).integers(400, 800, (576, 640)).astype(np.uint16)
    centre = np.array([201.25, 300.0, 600.0])
    crop = HandCrop.around(centre, KINECT, OURS)
    mirror = HandCrop.around(np.array([639 - 201.25, 300.0, 600.0]), KINECT, OURS, mirrored=True)
    mirrored = mirror.take(np.ascontiguousarray(depth[:, ::-1]))
    assert (crop.take(depth) != mirrored).mean() < 0.01  # OpenCV rounds positions to 1/1024 px


def test_far_and_missing_depths_are_far() -> None:
    depths = np.array([[0, 1, 449, 450, 600, 750, 751, 65535]], np.uint16)
    np.testing.assert_allclose(network_values(depths, 600.0, OURS), [[1, -1, -1, -1, 0, 1, 1, 1]])


def test_published_weights_see_the_centre_outside_their_range() -> None:
    depths = np.array([[0, 419, 420, 600, 780, 781]], np.uint16)
    expected = (np.array([[0, 0, -180, 0, 180, 0]]) + 0.66877532) / 28.32958208
    np.testing.assert_allclose(network_values(depths, 600.0, NYU), expected, rtol=1e-6)
    near = network_values(np.array([[0, 150]], np.uint16), 150.0, NYU)  # nothing is not 150 mm nearer
    np.testing.assert_allclose(near, 0.66877532 / 28.32958208, rtol=1e-6)


def test_crops_need_a_place_and_a_size() -> None:
    for centre in ([1, 2, 0], [1, 2, -5], [np.nan, 2, 500], [1, np.inf, 500]):
        with pytest.raises(ValueError, match="positive depth"):
            HandCrop.around(np.array(centre, float), KINECT, OURS)
    with pytest.raises(ValueError, match="crop_mm"):
        HandCrop.around(np.array([1.0, 2, 500]), KINECT, HandInput())


# --- What the network says of a crop ---------------------------------------------------------------------


def pose_at(crop: HandCrop, *away: float, spread_mm: float = 5.0, presence: float | None = None) -> CropPose:
    """A hand whose joints all lie `away` (px, px, mm) from the crop's middle."""
    uvd = np.tile(np.add((crop.u, crop.v, crop.depth_mm), away), (21, 1))
    return CropPose(crop, uvd, np.full(21, spread_mm), presence_log_odds=presence)


@pytest.mark.parametrize(
    ("away", "moved"), [((30, 0, 0), 30), ((0, 15, 0), 30), ((0, 0, -40), 40), ((30, 20, 0), 50)]
)
def test_the_way_from_the_crop_to_its_hand_is_in_millimetres(
    away: tuple[float, float, float], moved: float
) -> None:
    camera = replace(KINECT, fx=500.0, fy=250.0)
    crop = HandCrop.around(np.array([300.0, 200.0, 500.0]), camera, OURS)  # 1 mm and 2 mm for a px
    assert pose_at(crop, *away).moved_mm == pytest.approx(moved)


@pytest.mark.parametrize(
    ("crop_roll", "palm_roll", "turned"),
    [(0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (3.0, -3.0, 2 * np.pi - 6), (7.0, 7.0 - 2 * np.pi, 0.0)],
)
def test_a_palm_is_turned_by_half_a_turn_at_most(crop_roll: float, palm_roll: float, turned: float) -> None:
    camera = replace(KINECT, fy=KINECT.fx)
    crop = HandCrop.around(np.array([300.0, 200.0, 600.0]), camera, OURS, roll=crop_roll)
    pose = pose_at(crop, 0, 0, 0)
    pose.uvd[list(HAND_21.knuckles), :2] += 40 * np.array([np.sin(palm_roll), -np.cos(palm_roll)])
    assert pose.turned == pytest.approx(turned)


def test_confidence_is_a_half_at_two_centimetres() -> None:
    crop = HandCrop.around(np.array([300.0, 200.0, 600.0]), KINECT, OURS)
    found = [pose_at(crop, 0, 0, 0, spread_mm=spread).confidence[0] for spread in (0, 20, 40, 60)]
    np.testing.assert_allclose(found, [1, 0.5, 0.2, 0.1], rtol=1e-6)


def test_joints_that_cannot_be_are_infinitely_doubtful() -> None:
    crop = HandCrop.around(np.array([300.0, 200.0, 600.0]), KINECT, OURS)
    assert pose_at(crop, 0, 0, 0, spread_mm=7.0).doubt_mm == 7
    for away, spread_mm in (((np.nan, 0, 0), 7.0), ((0, 0, -600), 7.0), ((0, 0, 0), np.nan)):
        pose = pose_at(crop, *away, spread_mm=spread_mm)
        assert pose.doubt_mm == np.inf
        assert not pose.worth_another_look


def test_what_is_hardly_a_hand_gets_no_other_look() -> None:
    crop = HandCrop.around(np.array([300.0, 200.0, 600.0]), KINECT, OURS)
    for presence, worth in ((None, True), (HOPELESS_PRESENCE - 0.1, False), (HOPELESS_PRESENCE + 0.1, True)):
        assert pose_at(crop, 0, 0, 0, presence=presence).worth_another_look == worth


# --- The training data's crops ---------------------------------------------------------------------------


def test_training_joints_map_as_ours_do() -> None:
    batch = CropGenerator(seed=5, poses=32).batch(4)
    camera = DepthCamera(640, 576, batch.fx, batch.fx, 0.0, 0.0)
    for n in range(4):
        x0, y0, side = batch.window[n].tolist()
        step = side / 128
        middle = side / 2 - 0.5  # from the window's edge
        crop = HandCrop(x0 + middle, y0 + middle, step, step, float(batch.centre_mm[n]), OURS)
        joints_mm = camera.unproject(crop.to_image(batch.joints[n].numpy()))
        np.testing.assert_allclose(joints_mm, batch.joints_mm[n], atol=0.05)


def test_crop_of_a_rendered_frame_is_the_rendered_crop() -> None:
    """A hand drawn in the whole frame and cropped, against one drawn on the grid of the training crops."""
    model, sampler = HandModel("cpu"), Sampler("cpu", 3)
    hands = place_hands(random_hands(model, PoseBank(model, 3, 32), 4, sampler), FOCAL_PX, sampler)
    camera = DepthCamera(640, 576, FOCAL_PX, FOCAL_PX, 320.0, 288.0)
    for vertices, joints in zip(hands.vertices, hands.joints.numpy(), strict=True):
        uv = FOCAL_PX * vertices[:, :2] / vertices[:, 2:] + torch.tensor([320.0, 288.0])
        depth = _draw(uv, vertices, model, 576, 640)
        uvd = camera.project(1000 * joints)
        crop = HandCrop.around(np.array([*uvd[:, :2].mean(axis=0), np.median(uvd[:, 2])]), camera, OURS)
        taken = crop.take(depth)

        side = crop.step_x * 128
        edge = torch.tensor([crop.u, crop.v]) + 0.5 - side / 2  # of the window, as CropBatch says
        grid = (uv + 0.5 - edge) * (128 / side) - 0.5
        drawn = network_values(_draw(grid.float(), vertices, model, 128, 128), crop.depth_mm, OURS)
        columns = crop.u + (np.arange(128) - 63.5) * crop.step_x
        rows = crop.v + (np.arange(128) - 63.5) * crop.step_y
        inside = ((columns >= 0) & (columns <= 639)) & ((rows >= 0) & (rows <= 575))[:, None]
        hand = inside & ((taken < 1) | (drawn < 1))
        differs = np.abs(taken - drawn) > 0.06  # 9 mm
        outline = hand & (cv2.morphologyEx(drawn, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0.1)
        assert hand.sum() > 200
        assert (differs & hand & ~outline).sum() < 0.03 * hand.sum()
        # No shift: what the two say about the outline has the same middle.
        taken_middle, drawn_middle = (
            np.argwhere((image < 1) & inside).mean(axis=0) for image in (taken, drawn)
        )
        np.testing.assert_allclose(taken_middle, drawn_middle, atol=0.25)


def _draw(uv: torch.Tensor, vertices: torch.Tensor, model: HandModel, height: int, width: int) -> NDArray:
    z, _ = rasterize(torch.cat([uv, vertices[:, 2:]], 1)[None], model.faces, height, width)
    return torch.where(z[0].isfinite(), 1000 * z[0], 0.0).round().numpy().astype(np.uint16)


# --- The hand inside a box -------------------------------------------------------------------------------


def found(depth: NDArray[np.uint16], *box: float) -> NDArray[np.float64]:
    centre = find_hand(depth, np.array(box))
    assert centre is not None
    return centre


def scene(behind: int) -> NDArray[np.uint16]:
    """A hand-like blob at 700 mm, a quarter of its box, before something `behind` it; a rim not measured."""
    depth = np.full((576, 640), 700 + behind, np.uint16)
    cv2.circle(depth, (300, 250), 34, 0, -1)
    cv2.circle(depth, (300, 250), 30, 700, -1)
    return depth


@pytest.mark.parametrize("behind", [60, 200, 3000])
def test_hand_is_found_before_what_is_behind_it(behind: int) -> None:
    np.testing.assert_allclose(found(scene(behind), 250, 200, 350, 300), [300, 250, 700])


def test_stray_near_pixels_do_not_count() -> None:
    depth = scene(300)
    depth[::9, ::11] = 350
    assert found(depth, 260, 210, 340, 290)[2] == 700


def test_missing_depth_does_not_count() -> None:
    depth = scene(300)
    depth[:, 290:310] = 0
    np.testing.assert_allclose(found(depth, 260, 210, 340, 290), [300, 250, 700])


def test_a_slanted_hand_is_one_surface() -> None:
    depth = np.full((576, 640), 2000, np.uint16)
    depth[200:300, 250:350] = np.linspace(600, 760, 100).astype(np.uint16)
    assert abs(found(depth, 245, 195, 355, 305)[2] - 680) < 10


def test_far_and_coarsely_sampled_surfaces_may_be_rougher() -> None:
    depth = np.full((576, 640), 4000, np.uint16)
    depth[100:160, 100:160] = np.repeat([2000, 2020, 2040, 2060, 2080, 2100], 10)
    assert found(depth, 100, 100, 160, 160)[2] == 2050
    depth[:512, :512] = np.tile(np.repeat([300, 320], 8), 32)  # every eighth pixel is looked at
    assert found(depth, 0, 0, 512, 512)[2] == 310


def test_what_a_hand_leads_to_is_not_the_hand() -> None:
    """An arm that leads gently away from it."""
    depth = np.full((576, 640), 3000, np.uint16)
    depth[200:260, 200:300] = np.concatenate([np.full(40, 600), 600 + 8 * np.arange(60)])
    assert found(depth, 200, 200, 300, 260)[2] == 600


def test_something_near_at_the_boxs_edge_is_not_the_hand() -> None:
    depth = scene(300)
    depth[200:300, 250:270] = 450
    assert found(depth, 250, 200, 350, 300)[2] == 700


def test_box_over_the_border_counts_with_its_visible_part() -> None:
    depth = np.full((100, 120), 800, np.uint16)
    np.testing.assert_allclose(found(depth, -50, 60, 40, 1e9), [20, 80, 800])


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 30),
        (30, 10, 10, 30),
        (np.nan, 0, 10, 10),
        (0, 0, np.inf, 10),
        (-50, -50, -10, -10),
        (200, 0, 300, 50),
        (60, 60, 90, 90),
    ],
)
def test_no_hand_in_boxes_without_area_or_depth(box: tuple[float, ...]) -> None:
    depth = np.zeros((100, 120), np.uint16)
    depth[:50, :50] = 900
    assert find_hand(depth, np.array(box, float)) is None


def test_one_pixel_is_enough() -> None:
    depth = np.zeros((100, 120), np.uint16)
    depth[20, 33] = 900
    np.testing.assert_allclose(found(depth, 33, 20, 34, 21), [33.5, 20.5, 900])


def test_a_transposed_image_has_its_hand_where_it_is() -> None:
    depth = np.zeros((80, 120), np.uint16)
    depth[20:50, 30:70] = 600
    box = np.array([25.0, 15.0, 75.0, 55.0])
    expected = find_hand(depth, box)
    assert expected is not None
    np.testing.assert_array_equal(find_hand(np.asfortranarray(depth), box), expected)
    turned = find_hand(depth.T, box[[1, 0, 3, 2]])
    np.testing.assert_array_equal(turned, expected[[1, 0, 2]])

"""The detector's task on simple scenes: same step, same samples; a short run lowers the loss."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.constants import CENTERNET_CHECKPOINT, CENTERNET_LIGHT_CHECKPOINT
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import load_centernet, save_centernet
from pipeline.networks.preprocess import detector_input
from pipeline.synthetic.scenes import SceneBatch
from pipeline.training import train_centernet
from pipeline.training.evaluate_synthetic import scene_boxes, scene_figures
from pipeline.training.scene_task import SceneData, SceneTask, packed, scene_contract
from pipeline.training.siblings import Siblings
from tests.training.stand_ins import cut_short


def boxes_before_a_wall(number: int, count: int) -> SceneBatch:
    """A near box in each scene, a left hand if it is in the left half."""
    generator = torch.Generator().manual_seed(number)
    depth, ir = torch.full((count, 320, 320), 2500.0), torch.full((count, 320, 320), 200.0)
    boxes = []
    for n in range(count):
        x, y = (torch.rand(2, generator=generator) * 260).long().tolist()
        depth[n, y : y + 40, x : x + 40], ir[n, y : y + 40, x : x + 40] = 800.0, 1500.0
        boxes.append(torch.tensor([[x, y, x + 40.0, y + 40.0]]))
    sides = [(box[:, 0] > 140).long() for box in boxes]
    whole = [torch.ones(1) for _ in boxes]
    return SceneBatch(depth, ir, boxes, sides, whole, [torch.zeros(1, 21, 3)] * count)


def task(reuse: int = 4, networks: int = 1) -> SceneTask:
    torch.manual_seed(0)
    model = Siblings(
        [CenterNet(2, 0.125, plain_head=True, contract=scene_contract()) for _ in range(networks)]
    )
    data = SceneData(boxes_before_a_wall, 0, 0, batch=4, reuse=reuse, block=8, capacity=2)
    return SceneTask(model, data, [boxes_before_a_wall(99, 4)], stages=((0.5, 64), (0.9, 96)))


def test_samples_depend_on_the_step_alone() -> None:
    one, two = task(), task()
    one.samples(0, 64)
    for size in (64, 320):
        images, labels = one.samples(5, size)
        again, same = two.samples(5, size)
        assert torch.equal(images, again)
        assert torch.equal(labels.boxes, same.boxes)
        assert images.shape == (4, 3, size, size)
    assert [one.size_at(progress) for progress in (0.0, 0.6, 0.95, 1.0)] == [64, 96, 320, 320]


def test_a_short_run_lowers_the_loss() -> None:
    scenes = task()
    optimizer = torch.optim.AdamW(scenes.model.parameters(), 3e-3)
    totals = []
    for step in range(30):
        losses = scenes.losses(scenes.model.train(), step, 0.1)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        totals.append(float(losses["total"].detach()))
    assert sum(totals[-5:]) < 0.7 * sum(totals[:5])


def test_a_light_network_learns_beside_the_standard_one(tmp_path: Path) -> None:
    scenes = task(networks=2)
    losses = scenes.losses(scenes.model.train(), 0, 0.1)
    losses["total"].backward()
    assert all(p.grad is not None for p in scenes.model.parameters())
    parts = ("heat", "l1", "giou", "light_heat", "light_l1", "light_giou")
    assert float(losses["total"]) == pytest.approx(sum(float(losses[name]) for name in parts))
    figures = scenes.evaluate(scenes.model.eval(), 1.0)
    assert {"ap50", "light_ap50"} <= figures.keys()
    assert scenes.score({"ap50": 0.5, "light_ap50": 0.25, "handedness": float("nan")}) == -0.75
    scenes.export(tmp_path / "best.pth", scenes.model, {})
    first, light = (load_centernet(tmp_path / name) for name in ("best.pth", "best_light.pth"))
    assert not torch.equal(*(next(network.up_sample1.parameters()) for network in (first, light)))


def test_a_run_is_resumed_only_with_the_network_and_windows_it_began_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--batch", "2", "--replay", "1", "--block", "2", "--held-out", "2", "--device", "cpu"]
    call = [*run, "--out", str(tmp_path / "run"), "--width", "0.125", "--stages", "1:64"]
    assert train_centernet.main([*call, "--steps", "1"]) == 0
    for other, told in (
        (["--width", "0.25"], "is of another network"),
        (["--stages", "0.5:96,1:64"], "has --stages 1.0:64:"),
        (["--channels", "depth"], "has --channels fused:"),
    ):
        assert train_centernet.main([*call, *other, "--steps", "2", "--resume"]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ("0.5:100", "a window of 100 px does not fit"),
        ("0.5:128,0.9:352", "a window of 352 px does not fit"),
        ("0.5:0", "a window of 0 px does not fit"),
        ("0.5:-32", "a window of -32 px does not fit"),
        ("1.5:128", "shares of --stages are 1.5:"),
        ("-0.5:128", "shares of --stages are -0.5:"),
        ("nan:128", "shares of --stages are nan:"),
        ("0.9:128,0.5:192", "shares of --stages are 0.9, 0.5:"),
        ("0.5:128,0.5:192", "shares of --stages are 0.5, 0.5:"),
    ],
)
def test_windows_fit_the_network_and_follow_each_other(
    stages: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run"), f"--stages={stages}"]
    assert train_centernet.main(call) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_network_may_do_without_infrared(tmp_path: Path) -> None:
    run = ["--batch", "2", "--replay", "1", "--block", "2", "--held-out", "2", "--device", "cpu"]
    call = [*run, "--out", str(tmp_path), "--width", "0.125", "--stages", "1:64", "--channels", "depth"]
    assert train_centernet.main([*call, "--steps", "1"]) == 0
    contract = load_centernet(tmp_path / "last.pth").contract
    depth, ir = np.random.default_rng(0).integers(0, 3000, (2, 64, 64)).astype(np.uint16)
    assert np.array_equal(detector_input(depth, ir, contract), detector_input(depth, None, contract))
    call = [*run, "--out", str(tmp_path / "more"), "--init", str(tmp_path / "last.pth"), "--stages", "1:64"]
    assert train_centernet.main([*call, "--steps", "1", "--channels", "fused"]) == 2  # the weights tell
    assert train_centernet.main([*call, "--steps", "1"]) == 0
    cut_short(tmp_path / "more", 2)
    resumed = [*run, "--out", str(tmp_path / "more"), "--stages", "1:64", "--steps", "2", "--resume"]
    assert train_centernet.main(resumed) == 2  # it is not fused
    assert train_centernet.main([*resumed, "--channels", "depth", "--width", "0.125"]) == 0


def test_scenes_without_any_hand_are_packed_too() -> None:
    scenes = boxes_before_a_wall(0, 2)
    nothing = [torch.zeros(0, 4)] * 2
    none = [torch.zeros(0)] * 2
    empty = SceneBatch(scenes.depth, scenes.ir, nothing, [part.long() for part in none], none, scenes.joints)
    assert not packed(empty).labels.state.any()


def test_hardly_visible_hands_are_ignored_and_values_fit() -> None:
    scenes = boxes_before_a_wall(0, 2)
    scenes.visible[1][:] = 0.05
    scenes.ir[0] = 65535.0
    block = packed(scenes)
    assert block.labels.state[:, 0].tolist() == [1, -1]
    assert not block.labels.state[:, 1:].any()
    assert int(block.images[0, 1].max()) == 32767
    assert int(block.images[0, 0].max()) == 2500


def test_figures_are_in_the_pixels_of_the_frame(tmp_path: Path) -> None:
    scenes = task()
    (image, *_) = scene_boxes(scenes.model.eval().first, boxes_before_a_wall(1, 2))
    width, height = image.truth[0, 2:] - image.truth[0, :2]
    assert (width, height) == pytest.approx((80.0, 72.0))
    figures = scene_figures(scenes.model.first, [boxes_before_a_wall(1, 4)])
    assert figures["hands"] == 4
    scenes.export(tmp_path / "weights.pth", scenes.model, {"note": "a test"})
    assert load_centernet(tmp_path / "weights.pth").contract == scene_contract()
    assert scenes.picture(scenes.model, 1.0).ndim == 3


@pytest.mark.parametrize("option", ["--out", "--init"])
def test_empty_names_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_centernet.main(["--steps", "1", option, ""])
    assert f"{option}: the name is empty" in capsys.readouterr().err


@pytest.mark.parametrize("stages", ["", "0.5", "0.5:128:3", "a:b"])
def test_stages_in_another_form_are_shown_the_right_one(
    stages: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_centernet.main(["--steps", "1", "--out", str(tmp_path / "run"), f"--stages={stages}"])
    assert "is not SHARE:PX,..., such as 0.5:128,0.92:192" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--width", "nan"], "a width of nan makes no network: give 0.05 to 8"),
        (["--width", "1e9"], "a width of 1e+09 makes no network"),
        (["--light", "inf"], "a width of inf makes no network"),
        (["--seed", "99999999999999999999"], "must be from 0 on"),
        (["--seed", "-1"], "must be from 0 on"),
    ],
)
def test_numbers_that_make_no_network_are_refused(
    given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        train_centernet.main(["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run"), *given]) == 2
    )
    assert told in capsys.readouterr().err


def test_a_second_network_must_be_lighter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, width in (("wide", 0.25), ("copy", 0.25), ("narrow", 0.125)):
        network = CenterNet(2, width, plain_head=True, contract=scene_contract())
        save_centernet(tmp_path / f"{name}.pth", network, {})
    for first, second in (("wide", "copy"), ("narrow", "wide")):
        files = [str(tmp_path / f"{name}.pth") for name in (first, second)]
        call = ["--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run"), "--init", *files]
        assert train_centernet.main(call) == 2
        assert "the second file of --init must be narrower" in capsys.readouterr().err


@pytest.mark.parametrize("checkpoint", [CENTERNET_CHECKPOINT, CENTERNET_LIGHT_CHECKPOINT])
def test_shipped_detectors_are_read_as_new_ones_are(checkpoint: Path) -> None:
    if not checkpoint.is_file():
        pytest.skip("there are no weights")
    assert load_centernet(checkpoint).contract == scene_contract()

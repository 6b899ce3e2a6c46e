import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.a2j import A2J, BACKBONES, aggregate, anchor_grid, tally
from pipeline.networks.contracts import HandInput
from tests.networks import literal


@pytest.mark.parametrize(("backbone", "size"), [("resnet18", 96), ("resnet50", 80), ("mobilenet", 96)])
def test_output_equals_the_published_networks(backbone: str, size: int) -> None:
    torch.manual_seed(0)
    network = literal.shaken(A2J(backbone, num_joints=3))
    x = torch.randn(2, 1, size, size)
    with torch.no_grad():
        found = network(x)
        wanted = literal.a2j(network.state_dict(), x, backbone, joints=3)
    for one, other in zip(found, wanted, strict=True):
        assert one.std() > 1e-3
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_relu_variant_equals_the_authors_network() -> None:
    torch.manual_seed(0)
    network = literal.shaken(A2J("resnet18", 3, width=0.25, head_width=16, negative_slope=0.0))
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for one, other in zip(
            network(x), literal.a2j(network.state_dict(), x, "resnet18", 3, slope=0.0), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_answer_an_anchor_for_every_backbone_and_size(backbone: str) -> None:
    with torch.device("meta"):
        network = A2J(backbone, num_joints=16)
    for size in (32, 128, 176):
        classification, offsets, depths = network(torch.empty(2, 1, size, size, device="meta"))
        anchors = len(anchor_grid(size))
        assert classification.shape == depths.shape == (2, anchors, 16)
        assert offsets.shape == (2, anchors, 16, 2)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="backbone must be one of resnet18"):
        A2J("vgg")
    with pytest.raises(ValueError, match="16 joints"):
        A2J(num_joints=16, contract=HandInput())


def test_side_head_leaves_the_joints_as_they_are() -> None:
    contract = HandInput(size=64, handedness="right")
    torch.manual_seed(0)
    plain = A2J(width=0.125, head_width=8, contract=contract).eval()
    torch.manual_seed(0)
    telling = A2J(width=0.125, head_width=8, contract=contract, side_head=True).eval()
    x = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        *joints, side = telling.read(x)
        for wanted, found, read in zip(plain(x), telling(x), joints, strict=True):
            assert torch.equal(found, wanted)
            assert torch.equal(read, wanted)
    assert side.shape == (3,)
    with pytest.raises(ValueError, match="no side head"):
        plain.read(x)


def test_side_head_needs_a_hand_that_the_network_knows() -> None:
    with pytest.raises(ValueError, match="handedness"):
        A2J(width=0.125, head_width=8, contract=HandInput(size=64), side_head=True)


def test_fresh_network_starts_at_the_centre() -> None:
    """Heads begin near zero, so that the first joints are the mean of the anchors."""
    torch.manual_seed(0)
    classification, offsets, depths = A2J(width=0.25, head_width=32)(torch.randn(4, 1, 64, 64))
    joints = aggregate(classification, offsets, depths, anchor_grid(64))
    assert (joints.positions[..., :2] - 32).abs().max() < 8
    assert joints.positions[..., 2].abs().max() < 2


@pytest.mark.parametrize("size", [16, 128, 176])
def test_anchors_are_those_of_the_paper_in_the_originals_order(size: int) -> None:
    wanted = [
        (16 * row + (2, 6, 10, 14)[k // 4], 16 * column + (2, 6, 10, 14)[k % 4])
        for column in range(size // 16)
        for row in range(size // 16)
        for k in range(16)
    ]
    assert anchor_grid(size).tolist() == [list(pair) for pair in wanted]


@pytest.mark.parametrize("size", [0, -16, 100])
def test_anchors_need_whole_cells(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        anchor_grid(size)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), joints=st.integers(1, 4), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_aggregate_is_the_papers_sum(seed: int, joints: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    anchors = anchor_grid(32).double().numpy()
    classification = rng.normal(size=(2, len(anchors), joints)) * scale
    offsets = rng.normal(size=(2, len(anchors), joints, 2)) * 10
    depths = rng.normal(size=(2, len(anchors), joints)) * 50
    tensors = [torch.from_numpy(array).float() for array in (classification, offsets, depths)]
    found = aggregate(tensors[0], tensors[1], tensors[2], anchor_grid(32))
    for n in range(2):
        for j in range(joints):
            trust = np.exp(classification[n, :, j] - classification[n, :, j].max())
            trust /= trust.sum()
            place = sum(p * (a + o) for p, a, o in zip(trust, anchors, offsets[n, :, j], strict=True))
            variance = sum(
                p * np.sum((a + o - place) ** 2)
                for p, a, o in zip(trust, anchors, offsets[n, :, j], strict=True)
            )
            wanted = [*place, np.sum(trust * depths[n, :, j])]
            np.testing.assert_allclose(found.positions[n, j].numpy(), wanted, atol=2e-4)
            np.testing.assert_allclose(found.anchors_only[n, j].numpy(), trust @ anchors, atol=2e-4)
            np.testing.assert_allclose(found.spread[n, j].item(), np.sqrt(variance), atol=2e-3)


def test_aggregate_in_half_precision_keeps_float32_and_gradients() -> None:
    classification = torch.full((1, 64, 2), 0.0, dtype=torch.bfloat16, requires_grad=True)
    offsets = torch.zeros(1, 64, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        joints = aggregate(classification, offsets, classification * 3, anchor_grid(32))
    assert joints.positions.dtype == torch.float32
    torch.testing.assert_close(joints.positions[0, :, :2], torch.full((2, 2), 16.0))
    (joints.positions.sum() + joints.spread.sum()).backward()
    assert classification.grad is not None
    assert offsets.grad is not None
    assert classification.grad.isfinite().all()
    assert offsets.grad.isfinite().all()


@given(seed=st.integers(0, 2**32 - 1), joints=st.integers(1, 21), scale=st.floats(0.1, 30))
@settings(max_examples=25)
def test_the_tally_of_the_votes_is_their_aggregate(seed: int, joints: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    anchors = anchor_grid(64)
    classification, depths = (scale * torch.randn(2, len(anchors), joints, generator=random) for _ in "cd")
    offsets = scale * torch.randn(2, len(anchors), joints, 2, generator=random)
    wanted = aggregate(classification, offsets, depths, anchors)
    arrays = (part.numpy() for part in (classification, offsets, depths, anchors))
    positions, spread = tally(*arrays)
    np.testing.assert_allclose(positions, wanted.positions.numpy(), atol=1e-3)
    np.testing.assert_allclose(spread, wanted.spread.numpy(), atol=1e-3)


def test_agreeing_anchors_have_no_spread() -> None:
    anchors = anchor_grid(32)
    target = torch.tensor([7.0, 21.0])
    offsets = (target - anchors)[None, :, None].requires_grad_()
    joints = aggregate(torch.zeros(1, 64, 1), offsets, torch.zeros(1, 64, 1), anchors)
    assert joints.spread.item() < 1e-3
    joints.spread.sum().backward()
    assert offsets.grad is not None
    assert offsets.grad.isfinite().all()

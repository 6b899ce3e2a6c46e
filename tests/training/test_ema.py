"""The average follows the recurrence of its docstring, and its buffers are the network's own."""

import torch
from torch import Tensor, nn

from pipeline.training.ema import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def change(model: nn.Module, seed: int) -> None:
    """As a step of training does: other weights, other statistics."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    model.train()(torch.randn(8, 3))


def test_weights_follow_slower_and_slower_until_the_decay_is_reached() -> None:
    model = network()
    average = WeightAverage(model, decay=0.1)
    expected: dict[str, Tensor] = {name: value.double().clone() for name, value in model.named_parameters()}
    for seed, decay in enumerate([1 / 50, 2 / 51, 3 / 52, 4 / 53, 5 / 54, 0.1, 0.1, 0.1]):
        change(model, seed)
        average.update(model)
        for name, value in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach().double()
        for name, value in average.model.named_parameters():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert average.updates == 8


def test_the_past_weighs_998_thousandths_in_the_long_run() -> None:
    model = network()
    average = WeightAverage(model)
    average.updates = 1_000_000
    before = {name: value.clone() for name, value in average.model.named_parameters()}
    change(model, 1)
    average.update(model)
    for (name, found), value in zip(average.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, 0.998 * before[name] + 0.002 * value, rtol=1e-4, atol=1e-6)


def test_buffers_of_every_type_are_the_networks_own() -> None:
    model = network()
    average = WeightAverage(model)
    for seed in range(3):
        change(model, seed)
    average.update(model)
    theirs = dict(model.named_buffers())
    assert {value.dtype for value in theirs.values()} == {torch.float32, torch.int64}
    for name, value in average.model.named_buffers():
        assert torch.equal(value, theirs[name]), name
    assert int(theirs["1.num_batches_tracked"]) == 3


def test_the_average_is_apart_from_the_network_and_learns_nothing_itself() -> None:
    model = network()
    average = WeightAverage(model)
    before = [value.clone() for value in average.model.state_dict().values()]
    change(model, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, average.model.state_dict().values(), strict=True))
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())

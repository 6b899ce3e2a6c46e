"""Several networks that learn from the same samples: the standard one, and a light one for small machines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.networks.a2j import A2J
from pipeline.networks.metadata import LEAST_WIDTH, MOST_WIDTH

Network = TypeVar("Network", bound=nn.Module)

NAMES = ("", "light")  # of the networks, in files and figures


class Siblings(nn.Module, Generic[Network]):
    """Networks with the same input and the same contract; the first one is the standard.

    Args:
        networks: one, or the standard and a light one.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        if not 0 < len(networks) <= len(NAMES):
            raise ValueError(f"one to {len(NAMES)} networks learn together, found {len(networks)}")
        self.networks = nn.ModuleList(networks)

    @property
    def members(self) -> list[Network]:
        return [cast(Network, network) for network in self.networks]

    @property
    def first(self) -> Network:
        return self.members[0]

    def forward(self, x: Tensor) -> list[Any]:
        """What each network says about the same batch; an A2J with a side head tells the side too."""
        return [_all_it_knows(network, x) for network in self.networks]


def check_start(init: Sequence[Path] | None, shape: Mapping[str, object]) -> None:
    """Raises UsageError for weights to start from that leave open what the networks are, or are the same.

    Args:
        init: files of the standard network and of the light one.
        shape: options, by name, that say what a new network should be; None where they were not given.
    """
    if not init:
        return
    given = [f"--{name.replace('_', '-')}" for name, value in shape.items() if value is not None]
    if given:
        raise UsageError(
            f"--init brings networks of their own shape (a light one as its second file): "
            f"leave {' and '.join(given)} out"
        )
    if len(init) > len(NAMES):
        raise UsageError(f"--init takes one file or two, found {len(init)}")
    if len({os.path.realpath(path) for path in init}) < len(init):
        raise UsageError(
            f"--init names {init[0]} twice: give the light network as its second file, or one file"
        )


def check_single(init: Sequence[Path] | None, light: object) -> None:
    """Raises UsageError for a light network where one network learns alone."""
    if light or len(init or []) > 1:
        raise UsageError("with --data one network learns: leave --light and a second file of --init out")


def check_widths(widths: Sequence[tuple[float, ...]], option: str = "--light") -> None:
    """Raises UsageError for widths of which no network is made, and a second network that is no lighter.

    Args:
        widths: of each network: its factor on the channels, then others if it has them.
        option: that gave the second one its.
    """
    for factor, *_ in widths:
        if not LEAST_WIDTH <= factor <= MOST_WIDTH:
            raise UsageError(f"a width of {factor:g} makes no network: give {LEAST_WIDTH} to {MOST_WIDTH}")
    first = widths[0]
    for width in widths[1:]:
        if width == first or any(ours > theirs for ours, theirs in zip(width, first, strict=True)):
            raise UsageError(
                f"the network of {option} must be narrower than the one beside it, which is "
                f"{':'.join(f'{size:g}' for size in first)}"
            )


def check_alike(contracts: Sequence[object]) -> None:
    """Raises UsageError for networks that cannot learn from the same samples."""
    if any(contract != contracts[0] for contract in contracts):
        raise UsageError(
            "the networks of --init have different inputs: they cannot learn from the same samples"
        )


def _all_it_knows(network: nn.Module, x: Tensor) -> Any:
    if isinstance(network, A2J) and network.side_head is not None:
        return network.read(x)
    return network(x)


def named(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Figures of the network of that name: those of the standard one keep theirs."""
    return {f"{name}_{key}" if name else key: value for key, value in values.items()}


def weights_path(path: Path, name: str) -> Path:
    """Where the network of that name is written: `best.pth`, `best_light.pth`."""
    return path.with_stem(f"{path.stem}_{name}") if name else path

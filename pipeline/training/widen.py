"""Networks that are wider than a trained one, and answer as it does ("Net2Net", Chen et al., 2016)."""

from __future__ import annotations

import torch

from pipeline.networks.a2j import A2J


def widened(network: A2J, width: float, head_width: int) -> A2J:
    """A wider A2J with the answers of a trained one, from which it can learn on.

    The channels it has more see all others with fresh weights; the old ones see the new ones with weights 0
    (where Net2Net splits channels in two), which training changes at its first step.

    Args:
        network: stays as it is.
        width, head_width: as of `A2J`, neither below the trained one's.

    Raises:
        ValueError: it would be narrower.
    """
    if width < network.width or head_width < network.head_width:
        raise ValueError(
            f"a network of {network.width:g}:{network.head_width} cannot be widened to {width:g}:{head_width}"
        )
    wider = A2J(
        network.backbone,
        network.num_joints,
        width,
        head_width,
        network.contract,
        negative_slope=network.negative_slope,
        side_head=network.side_head is not None,
        presence=network.presence,
    ).train(network.training)
    fresh = wider.state_dict()  # the same memory as the network's
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                fresh[name][: len(value), value.shape[1] :] = 0
            fresh[name][tuple(slice(size) for size in value.shape)] = value
    return wider

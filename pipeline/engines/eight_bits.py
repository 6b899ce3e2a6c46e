"""Networks in 8-bit integers: PyTorch modules that round values where an engine may compute in integers.

OpenVINO reads the roundings and runs what lies between them in integers (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 2); PyTorch itself
shows what will come out, no faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from pipeline.networks.centernet import CenterNet
from pipeline.networks.inference import for_processors

Range = tuple[float, float]
FloatArray = NDArray[np.float32]

_BATCH = 8
_FIRST = 1  # convolutions that stay as they are: in 8 bits an A2J would see depth in steps of 1.2 mm
_LAST = 3  # and of CenterNet: with the very last one alone left out, AP75 falls by 0.02


class RoundedValues(nn.Module):
    """Rounds to 256 steps within a range that is widened to hold 0, which is one of them."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        low, high = min(low, 0.0), max(high, 0.0)
        self.scale = max((high - low) / 255, 1e-12)
        self.zero_point = round(-low / self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, 255)


class RoundedConv(nn.Module):
    """A convolution with 255 steps for the weights, of another size for each output."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        largest = conv.weight.detach().abs().amax((1, 2, 3))
        self.register_buffer("scale", largest.clamp(min=1e-12) / 127)
        self.register_buffer("zero_point", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_channel_affine(
            self.conv.weight, self.scale, self.zero_point, 0, -127, 127
        )
        return self.conv._conv_forward(x, weight, self.conv.bias)


def in_eight_bits(module: nn.Module, ranges: Sequence[Range]) -> nn.Module:
    """A copy of a network whose convolutions see and weigh 8-bit numbers.

    The first one stays as it is, and so do CenterNet's last three.

    Args:
        module: CenterNet, or an A2J as engines run it, in eval mode; it stays as it is.
        ranges: of `measure_ranges` for the same network.

    Raises:
        ValueError: ranges of another network.
    """
    graph, convolutions = _flattened(module)
    values = _seen_by(convolutions)
    if len(values) != len(ranges):
        raise ValueError(f"8 bits need {len(values)} ranges, found {len(ranges)}: quantize once more")
    for number, (value, bounds) in enumerate(zip(values, ranges, strict=True)):
        name = f"rounded{number}"
        graph.add_submodule(name, RoundedValues(*bounds))
        readers = list(value.users)
        with graph.graph.inserting_after(value):
            rounded = graph.graph.call_module(name, (value,))
        for reader in readers:
            reader.replace_input_with(value, rounded)
    for node, conv in convolutions.items():
        graph.add_submodule(str(node.target), RoundedConv(conv))
    graph.recompile()
    return graph


def measure_ranges(module: nn.Module, inputs: FloatArray) -> list[Range]:
    """The ranges of all values that are to be rounded: means of the extremes in each input.

    Args:
        module: as of `in_eight_bits`.
        inputs: (N, C, S, S) such as it will see.
    """
    graph, convolutions = _flattened(module)
    extremes = _Extremes(graph, _seen_by(convolutions))
    with torch.inference_mode():
        for part in torch.from_numpy(inputs).split(_BATCH):
            extremes.run(part)
    return [
        (float(torch.cat(lows).mean()), float(torch.cat(highs).mean()))
        for lows, highs in extremes.found.values()
    ]


class _Extremes(fx.Interpreter):
    """Runs a network and notes the least and the largest of chosen values, for each input."""

    def __init__(self, graph: fx.GraphModule, values: Sequence[fx.Node]) -> None:
        super().__init__(graph)
        self.found: dict[fx.Node, tuple[list[Tensor], list[Tensor]]] = {value: ([], []) for value in values}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.found:
            lows, highs = self.found[n]
            lows.append(result.flatten(1).amin(1))
            highs.append(result.flatten(1).amax(1))
        return result


def _flattened(module: nn.Module) -> tuple[fx.GraphModule, dict[fx.Node, nn.Conv2d]]:
    """A copy, with BatchNorm in the convolutions before it, and what of these is to compute in 8 bits."""
    is_detector = isinstance(module, CenterNet)
    graph = fuse(for_processors(module))
    assert isinstance(graph, fx.GraphModule)
    steps = [node for node in graph.graph.nodes if node.op == "call_module"]
    called = ((node, graph.get_submodule(str(node.target))) for node in steps)
    convolutions = [(node, layer) for node, layer in called if isinstance(layer, nn.Conv2d)]
    return graph, dict(convolutions[_FIRST : -_LAST if is_detector else None])


def _seen_by(convolutions: Iterable[fx.Node]) -> list[fx.Node]:
    """What they see, in order, each once."""
    return list(dict.fromkeys(node.all_input_nodes[0] for node in convolutions))

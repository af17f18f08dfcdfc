"""Float execution of a graph, node by node.

What an import must reproduce, and how a changed graph is calibrated: a node may be replaced just
before it is executed, when what reaches it is known (:mod:`golden.recalibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from golden import graph as ir
from golden.fixed_point import signed_range

__all__ = ["Replace", "execute", "quantized", "run_nodes"]

Replace = Callable[[ir.Node, Tensor], ir.Node]
"""Called with a node and its first input; returns the node that is executed in its place."""


def execute(graph: ir.Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """All tensors (float64, [N, ...]) for images uint8 [N, height, width, channels]."""
    nodes = run_nodes(graph, images, dtype=torch.float64)
    return {node.name: tensor.numpy() for node, tensor in nodes}


def run_nodes(
    graph: ir.Graph,
    images: np.ndarray,
    *,
    dtype: torch.dtype = torch.float32,
    replace: Replace | None = None,
) -> Iterator[tuple[ir.Node, Tensor]]:
    """Each node and its output [N, ...], in order; tensors that no later node reads are freed.

    Args:
        graph: The network.
        images: uint8 [N, height, width, channels].
        dtype: Of all tensors.
        replace: Replaces nodes; all but the image.
    """
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(dtype)
    tensors: dict[str, Tensor] = {graph.image.name: (pixels - 128) / 128}
    yield graph.image, tensors[graph.image.name]
    last_reader = {name: readers[-1].name for name, readers in graph.consumers().items() if readers}
    for original in graph.nodes[1:]:
        inputs = [tensors[name] for name in original.inputs]
        node = original if replace is None else replace(original, inputs[0])
        output = _output(node, *inputs)
        if tuple(output.shape[1:]) != node.shape:
            raise ValueError(
                f"node {node.name!r}: output must be {node.shape}, not {tuple(output.shape[1:])}"
            )
        tensors[node.name] = output
        yield node, output
        for name in dict.fromkeys(original.inputs):
            if last_reader[name] == original.name:
                del tensors[name]


def quantized(node: ir.LearnedActivation, x: Tensor) -> Tensor:
    """The level of each element."""
    levels = torch.from_numpy(node.sorted_levels()[0]).to(x.dtype)
    thresholds = torch.from_numpy(node.thresholds()).to(x.dtype)
    if node.inclusive:
        # x >= t is x > the number below t.
        below = torch.nextafter(thresholds, torch.full_like(thresholds, -torch.inf))
        thresholds = torch.where(torch.tensor(node.inclusive), below, thresholds)
    return levels[torch.bucketize(x.contiguous(), thresholds, right=False)]


def _output(node: ir.Node, x: Tensor, *others: Tensor) -> Tensor:
    match node:
        case ir.Convolution():
            weight = torch.from_numpy(node.weights.values).to(x.dtype)
            bias = torch.from_numpy(node.bias).to(x.dtype)
            return functional.conv2d(_padded(x, node.padding, 0), weight, bias, node.stride)
        case ir.Linear():
            weight = torch.from_numpy(node.weights.values).to(x.dtype)
            return x @ weight.T + torch.from_numpy(node.bias).to(x.dtype)
        case ir.LearnedActivation():
            return quantized(node, x)
        case ir.BatchNorm():
            shape = (-1, *(1,) * (x.ndim - 2))
            scale, offset = (
                torch.from_numpy(values).to(x.dtype).reshape(shape)
                for values in (node.scale, node.offset)
            )
            return x * scale + offset
        case ir.Relu():
            return x.relu()
        case ir.MaxPool():
            padded = _padded(x, node.padding, -torch.inf)
            return functional.max_pool2d(padded, node.window, node.stride)
        case ir.AveragePool():
            return functional.avg_pool2d(x, node.window, node.stride)
        case ir.GlobalAveragePool():
            return x.mean(dim=(2, 3), keepdim=True)
        case ir.Add():
            return x + others[0]
        case ir.Flatten():
            return x.flatten(1)
        case ir.Concat():
            return torch.cat([x, *others], dim=1)
        case ir.ChannelPad():
            return functional.pad(x, (0, 0, 0, 0, node.before, node.after))
        case ir.FixedPoint():
            low, high = signed_range(node.bits)
            scale = 2.0**node.fraction
            return (x * scale + 0.5).floor().clamp(low, high) / scale
    raise TypeError(f"node must be of a known kind, not {type(node).__name__}")


def _padded(x: Tensor, padding: ir.Padding, value: float) -> Tensor:
    top, left, bottom, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value)

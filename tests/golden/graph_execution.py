"""Float execution of a graph, node by node: what an import must reproduce."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from golden import graph as ir

__all__ = ["execute", "quantized"]


def execute(graph: ir.Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """All tensors (float64, [N, ...]) for images uint8 [N, height, width, channels]."""
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float64))
    tensors: dict[str, Tensor] = {graph.image.name: (pixels - 128) / 128}
    for node in graph.nodes[1:]:
        tensors[node.name] = _output(node, *(tensors[name] for name in node.inputs))
        assert tuple(tensors[node.name].shape[1:]) == node.shape
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _output(node: ir.Node, x: Tensor, *others: Tensor) -> Tensor:
    match node:
        case ir.Convolution():
            weight, bias = torch.from_numpy(node.weights.values), torch.from_numpy(node.bias)
            return functional.conv2d(_padded(x, node.padding, 0), weight, bias, node.stride)
        case ir.Linear():
            return x @ torch.from_numpy(node.weights.values).T + torch.from_numpy(node.bias)
        case ir.LearnedActivation():
            return torch.from_numpy(quantized(node, x.numpy()))
        case ir.BatchNorm():
            shape = (-1, *(1,) * (x.ndim - 2))
            scale, offset = torch.from_numpy(node.scale), torch.from_numpy(node.offset)
            return x * scale.reshape(shape) + offset.reshape(shape)
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
    raise TypeError(f"node must be of a known kind, not {type(node).__name__}")


def _padded(x: Tensor, padding: ir.Padding, value: float) -> Tensor:
    top, left, bottom, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value)


def quantized(node: ir.LearnedActivation, x: np.ndarray) -> np.ndarray:
    """The level of each element (float64)."""
    levels = node.sorted_levels()[0].astype(np.float64)
    index = np.zeros(x.shape, dtype=np.int64)
    inclusive = node.inclusive or (False,) * (len(levels) - 1)
    for threshold, tie in zip(node.thresholds().tolist(), inclusive, strict=True):
        index += (x >= threshold) if tie else (x > threshold)
    return levels[index]

"""Weights in fewer planes: the most significant planes of each channel, with a fitted basis.

A quantized layer's planes are independent terms of a sum, so a network with N weight planes holds
one network for each prefix of them. The planes of a channel are ordered by the magnitude of their
basis entries; the first p keep their bits, and their p basis entries are those that come closest
to the channel's weights in all N planes (least squares: the basis step of QEM, with the codes
fixed). The codes of p planes are therefore a prefix of those of all planes, and need no memory of
their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from golden.basis_fit import fit_weight_bases
from golden.graph import (
    Convolution,
    Encoding,
    Graph,
    Linear,
    ModelError,
    Node,
    QuantizedWeights,
    code_table,
)

__all__ = ["prefix_graph", "prefix_weights", "sorted_weights", "weight_planes"]


def weight_planes(graph: Graph) -> int:
    """Most planes of the quantized weights of ``graph``; 0 if no weights are quantized."""
    return max((len(weights.planes) for weights in _quantized(graph)), default=0)


def prefix_graph(graph: Graph, planes: int) -> Graph:
    """``graph`` with the first ``planes`` planes of its quantized weights; float weights stay.

    Layers that have no more planes only get them sorted.

    Raises:
        ModelError: If no weights are quantized, or they do not have so many planes.
    """
    most = weight_planes(graph)
    if most == 0:
        raise ModelError("model must have quantized weights, not only float ones")
    if not 1 <= planes <= most:
        raise ModelError(f"weight planes must be 1 to {most}, not {planes}")

    def shortened(node: Node) -> Node:
        if isinstance(node, Convolution | Linear) and isinstance(node.weights, QuantizedWeights):
            return replace(node, weights=prefix_weights(node.weights, planes))
        return node

    nodes = tuple(shortened(node) for node in graph.nodes)
    return replace(graph, nodes=nodes, weight_bits=planes)


def sorted_weights(weights: QuantizedWeights) -> QuantizedWeights:
    """The same weights; in each channel the plane with the largest |basis| comes first."""
    order = np.argsort(-np.abs(weights.basis), axis=0, kind="stable")
    bits_of = order.reshape(order.shape + (1,) * (weights.planes.ndim - 2))
    return QuantizedWeights(
        np.take_along_axis(weights.planes, bits_of, axis=0),
        np.take_along_axis(weights.basis, order, axis=0),
    )


def prefix_weights(weights: QuantizedWeights, planes: int) -> QuantizedWeights:
    """The first ``planes`` sorted planes, with the basis closest to all of them."""
    ordered = sorted_weights(weights)
    if planes >= len(ordered.planes):
        return ordered
    kept = ordered.planes[:planes]
    codes = np.tensordot(1 << np.arange(planes), kept.reshape(*kept.shape[:2], -1), axes=1)
    targets = weights.values.reshape(len(codes), -1)
    levels = 2**planes
    place = np.arange(len(codes))[:, None] * levels + codes
    counts, sums = (
        np.bincount(place.ravel(), values, len(codes) * levels).reshape(-1, levels)
        for values in (None, targets.ravel())
    )
    table = torch.from_numpy(code_table(planes, Encoding.SIGNED)).expand(len(codes), -1, -1)
    bases, _ = fit_weight_bases(
        table,
        torch.from_numpy(counts.astype(np.float64)),
        torch.from_numpy(sums),
        torch.from_numpy(ordered.basis[:planes].T.copy()),
    )
    return QuantizedWeights(kept, bases.numpy().T.copy())


def _quantized(graph: Graph) -> list[QuantizedWeights]:
    return [
        node.weights
        for node in graph.nodes
        if isinstance(node, Convolution | Linear) and isinstance(node.weights, QuantizedWeights)
    ]

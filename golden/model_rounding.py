"""Fewer planes for the full-precision weights of a network that was exported before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from golden.float_weights import rounded_weights
from golden.graph import Convolution, FloatWeights, Graph, Linear, Node
from golden.recalibration import measure_moments, recalibrated

__all__ = ["with_rounded_weights"]


def with_rounded_weights(
    graph: Graph, images: np.ndarray, *, bits: int = 8, first_layer_bits: int | None = None
) -> Graph:
    """``graph`` with full-precision weights of so many planes, and its batch normalisations
    corrected for them (:mod:`golden.recalibration`).

    Args:
        graph: The network.
        images: uint8 [N, height, width, channels], to correct by.
        bits: Planes of the weights that are not quantized.
        first_layer_bits: Those of layers that read the image; ``bits`` if None.
    """

    def rounded(node: Node) -> Node:
        if not isinstance(node, Convolution | Linear):
            return node
        if not isinstance(node.weights, FloatWeights):
            return node
        reads_image = graph.image.name in node.inputs
        planes = first_layer_bits if reads_image and first_layer_bits is not None else bits
        return replace(node, weights=FloatWeights(rounded_weights(node.weights.values, planes)))

    changed = replace(graph, nodes=tuple(rounded(node) for node in graph.nodes))
    return recalibrated(changed, images, measure_moments(graph, images))

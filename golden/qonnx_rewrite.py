"""Brings a graph with uniform quantizers into the shape that lowering takes.

Lowering stores an activation as planes, which only convolutions, matrix products and adds can
read; before other operators it puts an identity convolution. QONNX files put a quantizer also
before a max-pool, which needs none, and before another quantizer.
"""

from __future__ import annotations

import dataclasses

from golden import graph as ir
from golden.graph import Graph, Node

__all__ = ["rewrite"]


def rewrite(graph: Graph) -> Graph:
    """The same function, with max-pools before the quantizers and not after them."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        source = nodes.get(node.inputs[0]) if node.inputs else None
        if isinstance(source, ir.LearnedActivation) and isinstance(node, ir.MaxPool):
            # The maximum of rounded values is the rounded maximum.
            pool = dataclasses.replace(node, name=f"{node.name}.before", inputs=source.inputs)
            quantizer = dataclasses.replace(
                source, name=node.name, inputs=(pool.name,), shape=node.shape
            )
            nodes |= {pool.name: pool, quantizer.name: quantizer}
        else:
            nodes[node.name] = node
    return _without_unread(dataclasses.replace(graph, nodes=tuple(nodes.values())))


def _without_unread(graph: Graph) -> Graph:
    """The graph without activations that nobody reads any more."""
    readers = graph.consumers()
    kept = tuple(
        node
        for node in graph.nodes
        if readers[node.name]
        or node.name == graph.output
        or not isinstance(node, ir.LearnedActivation)
    )
    return dataclasses.replace(graph, nodes=kept)

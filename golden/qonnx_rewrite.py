"""Brings a graph with uniform quantizers into the shape that lowering takes.

Lowering stores an activation as planes, which only convolutions, matrix products and adds can
read. QONNX files put a quantizer also before a pool, a batch-norm or another quantizer.
"""

from __future__ import annotations

import dataclasses

from golden import graph as ir
from golden.graph import Graph, Node
from golden.lowering_chains import identity_convolution

__all__ = ["rewrite"]

PlaneReaders = ir.Convolution | ir.Linear | ir.Concat | ir.Flatten | ir.Add


def rewrite(graph: Graph) -> Graph:
    """The same function, with every activation read by what can read planes."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        source = nodes.get(node.inputs[0]) if node.inputs else None
        if not isinstance(source, ir.LearnedActivation) or isinstance(node, PlaneReaders):
            nodes[node.name] = node
        elif isinstance(node, ir.MaxPool):
            # The maximum of rounded values is the rounded maximum.
            pool = dataclasses.replace(node, name=f"{node.name}.before", inputs=source.inputs)
            quantizer = dataclasses.replace(
                source, name=node.name, inputs=(pool.name,), shape=node.shape
            )
            nodes |= {pool.name: pool, quantizer.name: quantizer}
        else:
            identity = identity_convolution(node.name, source)
            nodes[identity.name] = identity
            nodes[node.name] = dataclasses.replace(node, inputs=(identity.name,))
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

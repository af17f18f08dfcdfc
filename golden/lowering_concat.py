"""Moves per-channel operators from behind a concatenation in front of it.

Layers write plane tensors, and only those can be concatenated. Batch-norm, ReLU, pooling and
learned activations treat channels alike, so each applies to the parts as well as to the whole.
"""

from __future__ import annotations

import dataclasses

from golden import graph as ir
from golden.graph import Graph, Node

__all__ = ["split_concats"]

Movable = (
    ir.BatchNorm
    | ir.Relu
    | ir.MaxPool
    | ir.AveragePool
    | ir.GlobalAveragePool
    | ir.LearnedActivation
)


def split_concats(graph: Graph) -> Graph:
    """The same network with movable operators before concatenations."""
    while True:
        nodes = {node.name: node for node in graph.nodes}
        for node in graph.nodes:
            if isinstance(node, Movable) and isinstance(nodes[node.inputs[0]], ir.Concat):
                graph = _moved(graph, node, nodes[node.inputs[0]])
                break
        else:
            return graph


def _moved(graph: Graph, operator: Node, concat: Node) -> Graph:
    """``operator(concat(parts))`` as ``concat(operator(part), ...)``, under the operator's name."""
    parts: list[Node] = []
    first = 0
    for name in concat.inputs:
        last = first + graph.node(name).shape[0]
        parts.append(_part(operator, name, len(parts), first, last))
        first = last
    joined = ir.Concat(
        name=operator.name, inputs=tuple(part.name for part in parts), shape=operator.shape
    )
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend([*parts, joined] if node is operator else [node])
    ranges = dict(graph.ranges)
    if operator.name in ranges:
        ranges.update({part.name: ranges[operator.name] for part in parts})
    graph = dataclasses.replace(graph, nodes=tuple(nodes), ranges=ranges)
    if graph.consumers()[concat.name] or concat.name == graph.output:
        return graph
    remaining = tuple(node for node in graph.nodes if node.name != concat.name)
    return dataclasses.replace(graph, nodes=remaining)


def _part(operator: Node, source: str, index: int, first: int, last: int) -> Node:
    """The operator on one part of its input, the channels [first, last)."""
    part = dataclasses.replace(
        operator,
        name=f"{operator.name}.part{index}",
        inputs=(source,),
        shape=(last - first, *operator.shape[1:]),
    )
    if isinstance(part, ir.BatchNorm):
        return dataclasses.replace(
            part, scale=part.scale[first:last], offset=part.offset[first:last]
        )
    return part

"""Identity convolutions where the graph has an operator that no layer can do otherwise."""

from __future__ import annotations

import dataclasses

import numpy as np

from golden import graph as ir
from golden.graph import Graph, ModelError, Node
from golden.lowering_chains import Chains

__all__ = ["halves", "insert_identities"]

Pool = ir.MaxPool | ir.AveragePool | ir.GlobalAveragePool
Mean = ir.AveragePool | ir.GlobalAveragePool


def insert_identities(graph: Graph) -> tuple[Graph, set[str]]:
    """Give every add one operand from a convolution and one that a stream can hold.

    Where the graph does not, a 1 x 1 identity convolution is put before the operand: it turns
    any value into a stream. The same is done for operators that no layer can reach: on codes, and
    after a pool that already ends a layer. Returns the new graph and the tensors that these
    convolutions alone read.
    """
    wide: set[str] = set()
    graph = _lift(graph, wide)
    for add in [node for node in graph.nodes if isinstance(node, ir.Add)]:
        chains = Chains(graph)
        if add.name not in chains.mains:
            graph = _with_identity(graph, add.name, add.inputs[0], wide)
            chains = Chains(graph)
        add = graph.node(add.name)
        main = chains.mains[add.name]
        other = add.inputs[1] if main == add.inputs[0] else add.inputs[0]
        reader, base = add.name, other
        while not chains.is_end(base) and isinstance(
            graph.node(base), ir.ChannelPad | ir.AveragePool
        ):
            node = graph.node(base)
            if isinstance(node, ir.AveragePool) and not halves(node):
                break
            reader, base = base, node.inputs[0]
        if not chains.is_end(base):
            graph = _with_identity(graph, reader, base, wide)
    return graph, wide


def _lift(graph: Graph, wide: set[str]) -> Graph:
    """Put identities where a branch must start anew, until no such place is left."""
    while True:
        for node in graph.nodes:
            place = _break(graph, node)
            if place is not None:
                graph = _with_identity(graph, *place, wide)
                break
        else:
            return graph


def _break(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Reader and tensor between which an identity is needed because of ``node``, if any."""
    if not isinstance(node, Pool | ir.BatchNorm | ir.Relu | ir.LearnedActivation):
        return None
    source = graph.node(node.inputs[0])
    if isinstance(source, ir.LearnedActivation):
        return node.name, source.name
    if isinstance(node, ir.BatchNorm | ir.LearnedActivation):
        return None
    reader: Node = node
    passed: tuple[type[Node], ...] = (ir.BatchNorm,)
    if isinstance(node, Pool):
        passed = (ir.BatchNorm, ir.Relu)
    while isinstance(source, passed):
        reader, source = source, graph.node(source.inputs[0])
    if isinstance(node, Pool):
        return (reader.name, source.name) if isinstance(source, Pool) else None
    # ReLU between a mean and codes is a matter of the codes' thresholds.
    readers = graph.consumers()[node.name]
    coded = readers and all(isinstance(reader, ir.LearnedActivation) for reader in readers)
    return (reader.name, source.name) if isinstance(source, Mean) and not coded else None


def halves(node: ir.AveragePool) -> bool:
    """Whether the pool is the 2 x 2 mean that a shortcut can do."""
    return node.window == (2, 2) and node.stride == (2, 2)


def _identity_convolution(reader: str, source: Node) -> ir.Convolution:
    """A 1 x 1 convolution that gives ``reader`` the values of ``source``.

    Weights 1 on the diagonal and 0 elsewhere are two planes with basis 1/2: +1 and +1, or +1
    and -1.
    """
    if len(source.shape) != 3:
        raise ModelError(
            f"node {reader!r}: operands must be images or outputs of layers, "
            f"not {list(source.shape)}"
        )
    channels = source.shape[0]
    planes = np.ones((2, channels, channels, 1, 1), dtype=bool)
    planes[1] = np.eye(channels, dtype=bool)[:, :, None, None]
    return ir.Convolution(
        name=f"{reader}.identity",
        inputs=(source.name,),
        shape=source.shape,
        weights=ir.QuantizedWeights(planes, np.full((2, channels), 0.5)),
        bias=np.zeros(channels),
        kernel=(1, 1),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
    )


def _with_identity(graph: Graph, reader: str, tensor: str, wide: set[str]) -> Graph:
    """Insert an identity convolution where the node ``reader`` first reads ``tensor``."""
    identity = _identity_convolution(reader, graph.node(tensor))
    if any(node.name == identity.name for node in graph.nodes):  # the add's other operand
        identity = dataclasses.replace(identity, name=f"{identity.name}2")
    alone = len(graph.consumers()[tensor]) == 1 or isinstance(graph.node(reader), ir.Add)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name == reader:
            nodes.append(identity)
            inputs = list(node.inputs)
            inputs[inputs.index(tensor)] = identity.name
            node = dataclasses.replace(node, inputs=tuple(inputs))
        nodes.append(node)
    ranges = dict(graph.ranges)
    if tensor in ranges:
        ranges[identity.name] = ranges[tensor]
    if isinstance(graph.node(tensor), ir.Image | ir.LearnedActivation | ir.Concat):
        # Already stored as planes.
        return dataclasses.replace(graph, nodes=tuple(nodes), ranges=ranges)
    if alone:
        wide.add(tensor)
    return dataclasses.replace(graph, nodes=tuple(nodes), ranges=ranges)

"""How far the layer of each convolution reaches, and adds made fit for it.

See :mod:`golden.lowering_match` for what a layer is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from golden import graph as ir
from golden.graph import Graph, ModelError, Node
from golden.lowering_plan import Spatial

__all__ = ["Chains", "Matrix", "halves", "identity_convolution", "insert_identities"]

Matrix = ir.Convolution | ir.Linear


class Chains:
    """Lookups in one graph, all by tensor name.

    Attributes:
        nodes: The writer of each tensor.
        readers: The readers of each tensor.
        spatial: Stored shapes; a flattened image keeps its height and width.
        mains: Per add the operand that comes straight from a convolution.
        chains: Per convolution the tensors from its output to the layer's end.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.readers = graph.consumers()
        self.positions = {node.name: index for index, node in enumerate(graph.nodes)}
        self.spatial = {name: self._spatial(node) for name, node in self.nodes.items()}
        self.mains = self._mains()
        self.chains = {
            node.name: self._chain(node) for node in graph.nodes if isinstance(node, Matrix)
        }
        self.ends = {chain[-1]: name for name, chain in self.chains.items()}

    def is_end(self, tensor: str) -> bool:
        """Whether ``tensor`` is where the chain of a convolution ends."""
        return tensor in self.ends

    def _spatial(self, node: Node) -> Spatial:
        """Stored shape of a tensor; a flattened image keeps its height and width."""
        if isinstance(node, ir.Flatten | ir.LearnedActivation | ir.Relu) and len(node.shape) == 1:
            return self._spatial(self.nodes[node.inputs[0]])
        if len(node.shape) == 1:
            return 1, 1, node.shape[0]
        channels, height, width = node.shape
        return height, width, channels

    def sole_reader(self, tensor: str) -> Node | None:
        """The only reader of ``tensor``, unless it is also the network's output."""
        readers = self.readers[tensor]
        return readers[0] if len(readers) == 1 and tensor != self.graph.output else None

    def _mains(self) -> dict[str, str]:
        """Per add the operand that comes straight from a convolution, the latest if both do."""
        mains: dict[str, str] = {}
        for add in self.graph.nodes:
            if not isinstance(add, ir.Add) or add.inputs[0] == add.inputs[1]:
                continue
            found: list[tuple[int, str]] = []
            for operand in add.inputs:
                tensor = operand
                while self.sole_reader(tensor) is not None and isinstance(
                    self.nodes[tensor], ir.BatchNorm
                ):
                    tensor = self.nodes[tensor].inputs[0]
                if self.sole_reader(tensor) is not None and isinstance(self.nodes[tensor], Matrix):
                    found.append((self.positions[tensor], operand))
            if found:
                mains[add.name] = max(found)[1]
        return mains

    def _chain(self, start: Node) -> list[str]:
        """Tensors from the convolution's output to the layer's end."""
        chain = [start.name]
        added = False
        while (reader := self.sole_reader(chain[-1])) is not None:
            if isinstance(reader, ir.BatchNorm) and not added:
                chain.append(reader.name)
            elif (
                isinstance(reader, ir.Add)
                and not added
                and self.mains.get(reader.name) == chain[-1]
            ):
                added = True
                chain.append(reader.name)
            elif isinstance(reader, ir.Relu):
                return [*chain, reader.name]
            else:
                break
        return chain


def insert_identities(graph: Graph) -> tuple[Graph, set[str]]:
    """Give every add one operand from a convolution and one that a stream can hold.

    Where the graph does not, a 1 x 1 identity convolution is put before the operand: it turns
    any value into a stream. Returns the new graph and the tensors that these convolutions read.
    """
    wide: set[str] = set()
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


def halves(node: ir.AveragePool) -> bool:
    """Whether the pool is the 2 x 2 mean that a shortcut can do."""
    return node.window == (2, 2) and node.stride == (2, 2)


def identity_convolution(reader: str, source: Node) -> ir.Convolution:
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
    identity = identity_convolution(reader, graph.node(tensor))
    if any(node.name == identity.name for node in graph.nodes):  # the add's other operand
        identity = dataclasses.replace(identity, name=f"{identity.name}2")
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
    wide.add(tensor)
    return dataclasses.replace(graph, nodes=tuple(nodes), ranges=ranges)

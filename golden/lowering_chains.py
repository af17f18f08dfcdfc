"""How far the layer of each convolution reaches.

See :mod:`golden.lowering_match` for what a layer is.
"""

from __future__ import annotations

from golden import graph as ir
from golden.graph import Graph, Node
from golden.lowering_plan import Spatial

__all__ = ["Chains", "Matrix"]

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

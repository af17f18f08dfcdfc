"""Fixed points of a graph: formats that a file demands of the tensors that the hardware stores.

A node :class:`golden.graph.FixedPoint` computes nothing that a layer does not do when it stores a
stream or a fixed-point tensor. So the matcher sees a graph without them, and lowering takes their
fractions instead of choosing some by measured ranges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from golden.graph import FixedPoint, Graph, ModelError

__all__ = ["MOST_FRACTION", "Demand", "Stored", "check_demands", "without_fixed_points"]

MOST_FRACTION = 31
"""Fraction bits of a fixed point, positive or negative."""


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a file says of one stored tensor."""

    node: FixedPoint
    unrounded: frozenset[str]
    """Nodes that read the tensor before it is rounded."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """How the hardware stores a tensor."""

    fraction: int
    bits: int
    unrounded: frozenset[str] = frozenset()
    """Nodes to which the layer that writes it hands it on before it is rounded."""


def without_fixed_points(graph: Graph) -> tuple[Graph, dict[str, Demand]]:
    """The graph whose nodes read what fixed points round, and these by the tensor they round."""
    fixed = {node.name: node for node in graph.nodes if isinstance(node, FixedPoint)}
    if not fixed:
        return graph, {}
    readers = graph.consumers()
    demands: dict[str, Demand] = {}
    for node in fixed.values():
        source = node.inputs[0]
        if source in fixed or source in demands:
            raise ModelError(f"node {node.name!r}: a tensor must be rounded once, not again")
        if node.name == graph.output:
            raise ModelError(f"node {node.name!r}: output must not be that of the network")
        others = frozenset(reader.name for reader in readers[source] if reader is not node)
        demands[source] = Demand(node, others)
    nodes = tuple(
        dataclasses.replace(
            node,
            inputs=tuple(fixed[name].inputs[0] if name in fixed else name for name in node.inputs),
        )
        for node in graph.nodes
        if node.name not in fixed
    )
    return dataclasses.replace(graph, nodes=nodes), demands


def check_demands(demands: Mapping[str, Demand], stored: Mapping[str, Stored]) -> None:
    """Refuse demands that the hardware does not meet.

    Args:
        demands: By tensor.
        stored: What is stored of each tensor that is rounded.
    """
    for tensor, demand in demands.items():
        node = demand.node
        if tensor not in stored:
            raise ModelError(
                f"node {node.name!r}: fixed points must be where the hardware stores a number, "
                f"which it does not behind {tensor!r}"
            )
        found = stored[tensor]
        if found.bits != node.bits:
            raise ModelError(
                f"node {node.name!r}: attribute 'bits' must be {found.bits}, not {node.bits}"
            )
        if found.fraction != node.fraction:
            raise ModelError(
                f"node {node.name!r}: attribute 'fraction' must be at most {found.fraction} "
                f"for the layers around it, not {node.fraction}"
            )
        if found.unrounded != demand.unrounded:
            wrong = min(found.unrounded ^ demand.unrounded)
            read = tensor if wrong in found.unrounded else node.name
            raise ModelError(f"node {wrong!r}: input must be {read!r}, as in the hardware")

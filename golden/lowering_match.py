"""Finds the fused layers in a float graph.

Every convolution (or linear layer) starts one layer. From its output the chain goes on while it
has one reader: batch-norms are folded into the weights, then one residual add, then one ReLU. The
tensor at this end is the layer's *end*. From there branches lead through batch-norm, ReLU and
pooling to a learned activation, to a layer that reads float values, or to the network's output.
One branch is fused into the layer. If there are more, or if the end is a shortcut of a later add,
the end is stored as a stream and the other branches become layers of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from golden import graph as ir
from golden.graph import Graph, ModelError, Node
from golden.lowering_branch import fold_branch
from golden.lowering_chains import Chains, Matrix
from golden.lowering_concat import split_concats
from golden.lowering_formats import Demand, without_fixed_points
from golden.lowering_identities import halves, insert_identities
from golden.lowering_plan import (
    AffinePlan,
    BranchPlan,
    CodeTarget,
    ConvolutionPlan,
    FixedTarget,
    LayerPlan,
    Plan,
    RawTarget,
    ResidualPlan,
    StreamPlan,
    Target,
)

__all__ = ["match_layers"]


def match_layers(graph: Graph) -> Plan:
    """Fused layers of ``graph`` in execution order."""
    graph, demands = without_fixed_points(graph)
    graph, wide = insert_identities(split_concats(graph))
    return _Matcher(graph).plan(frozenset(wide), demands)


class _Matcher(Chains):
    """Makes the plan of one graph."""

    def plan(self, wide: frozenset[str], demands: dict[str, Demand]) -> Plan:
        """All layers."""
        self._check()
        layers = [layer for name in self.chains for layer in self._layers(name)]
        concats: dict[str, tuple[str, ...]] = {}
        for layer in layers:
            if isinstance(layer, ConvolutionPlan):
                node = self.nodes[layer.source]
                if isinstance(node, ir.Concat):
                    concats[node.name] = tuple(self._parts(node))
        return Plan(self.graph, tuple(_ordered(layers, concats)), concats, wide, demands)

    def _check(self) -> None:
        for node in self.graph.nodes:
            if not self.readers[node.name] and node.name != self.graph.output:
                raise ModelError(f"node {node.name!r}: output must be read or be the network's")
            if isinstance(node, ir.LearnedActivation | ir.Image | ir.Concat):
                self._check_plane_readers(node)
            if isinstance(node, ir.ChannelPad) and not all(
                isinstance(reader, ir.Add) for reader in self.readers[node.name]
            ):
                raise ModelError(
                    f"node {node.name!r}: channels must be padded on the way to an add only"
                )
        if not isinstance(self.graph.nodes[0], ir.Image):
            raise ModelError("the first node must be the image")

    def _check_plane_readers(self, node: Node) -> None:
        """Plane tensors can be read by convolutions only."""
        kinds = (ir.Convolution, ir.Linear, ir.Concat, ir.Flatten)
        for reader in self.readers[node.name]:
            if not isinstance(reader, kinds):
                raise ModelError(
                    f"node {reader.name!r}: operator on {type(node).__name__} must be one of "
                    f"Convolution, Linear, Concat, not {type(reader).__name__}"
                )
        if node.name == self.graph.output:
            raise ModelError(
                f"node {node.name!r}: the network's output must be a float value, "
                f"not of {type(node).__name__}"
            )

    def _layers(self, name: str) -> Iterator[LayerPlan]:
        """The convolution's layer, then the layers of the branches that it cannot fuse."""
        node = self.nodes[name]
        assert isinstance(node, Matrix)
        chain = self.chains[name]
        end = chain[-1]
        affine = AffinePlan(np.ones_like(node.bias), node.bias)
        residual: ResidualPlan | None = None
        relu_stream = False
        for tensor in chain[1:]:
            step = self.nodes[tensor]
            if isinstance(step, ir.BatchNorm):
                affine = affine.then(step.scale, step.offset)
            elif isinstance(step, ir.Add):
                residual = self._residual(step)
            else:
                relu_stream = True
        branches = list(self._branches(end))
        shared = len(branches) != 1 or self._is_shortcut(end)
        # The vectors of a pool come in the order of its windows: neither the stream memory nor a
        # shortcut that is itself pooled knows that order.
        poolable = not shared and (residual is None or residual.window == 1)
        fusible = [b for b in branches if b.pool is None or b.pool.fusible and poolable]
        store = shared or not fusible
        fused = fusible[0] if fusible else None
        rest = [branch for branch in branches if branch is not fused]
        if fused is not None and fused.relu_first:
            if rest or self._is_shortcut(end):
                rest, fused = branches, None
            else:
                relu_stream, fused = True, dataclasses.replace(fused, relu_first=False)
        passes = not store and not relu_stream and residual is None
        if passes and fused is not None and fused.affine is not None:
            affine = affine.then(fused.affine.gain, fused.affine.offset)
            fused = dataclasses.replace(fused, affine=None)
        if fused is not None and relu_stream and not store and fused.affine is None:
            relu_stream, fused = False, dataclasses.replace(fused, relu=True)
        yield ConvolutionPlan(
            name=name,
            source=self._unflattened(node.inputs[0]),
            input_shape=self.spatial[node.inputs[0]],
            convolution_shape=self.spatial[name],
            weights=self._kernel(node),
            stride=node.stride if isinstance(node, ir.Convolution) else (1, 1),
            padding=node.padding if isinstance(node, ir.Convolution) else (0, 0, 0, 0),
            scale=affine.gain,
            offset=affine.offset,
            residual=residual,
            relu_stream=relu_stream,
            end=end,
            store=store,
            branch=fused,
        )
        for branch in rest:
            yield StreamPlan(
                name=f"{branch.target.tensor}.layer",
                source=end,
                input_shape=self.spatial[end],
                branch=branch,
            )

    def _kernel(self, node: Matrix) -> ir.Weights:
        """Weights [Cout, Cin, kh, kw]; a linear layer covers the whole image."""
        if isinstance(node, ir.Convolution):
            return node.weights
        height, width, channels = self.spatial[node.inputs[0]]
        shape = (channels, height, width)
        if isinstance(node.weights, ir.FloatWeights):
            return ir.FloatWeights(node.weights.values.reshape(-1, *shape))
        planes = node.weights.planes
        return ir.QuantizedWeights(planes.reshape(*planes.shape[:2], *shape), node.weights.basis)

    def _unflattened(self, tensor: str) -> str:
        """The tensor before flattening: what is stored."""
        while isinstance(self.nodes[tensor], ir.Flatten):
            tensor = self.nodes[tensor].inputs[0]
        return tensor

    def _parts(self, concat: Node) -> Iterator[str]:
        for tensor in concat.inputs:
            if isinstance(self.nodes[tensor], ir.Concat):
                yield from self._parts(self.nodes[tensor])
            else:
                yield tensor

    def _residual(self, add: Node) -> ResidualPlan:
        tensor = add.inputs[1] if self.mains[add.name] == add.inputs[0] else add.inputs[0]
        channel_map = np.arange(self.spatial[tensor][2])
        window = 1
        while not self.is_end(tensor):
            node = self.nodes[tensor]
            if isinstance(node, ir.ChannelPad):
                shifted = channel_map - node.before
                inside = (shifted >= 0) & (shifted < self.spatial[node.inputs[0]][2])
                channel_map = np.where((channel_map >= 0) & inside, shifted, -1)
            elif isinstance(node, ir.AveragePool) and window == 1 and halves(node):
                window = 2
            else:
                raise ModelError(
                    f"node {tensor!r}: shortcut must be a stored tensor, halved at most once and "
                    f"padded with channels, not through {type(node).__name__}"
                )
            tensor = node.inputs[0]
        return ResidualPlan(tensor, window, channel_map.astype(np.int64))

    def _is_shortcut(self, end: str) -> bool:
        """Whether an add reads ``end``, itself or halved or padded."""
        for reader in self.readers[end]:
            if isinstance(reader, ir.Add):
                return True
            if isinstance(reader, ir.ChannelPad | ir.AveragePool) and self._is_shortcut(
                reader.name
            ):
                return True
        return False

    def _branches(self, end: str) -> Iterator[BranchPlan]:
        done: set[str] = set()
        for steps, target in self._paths(end, []):
            if target.tensor not in done:
                done.add(target.tensor)
                yield fold_branch(steps, target, self.spatial[end], self.spatial)

    def _paths(self, tensor: str, steps: list[Node]) -> Iterator[tuple[list[Node], Target]]:
        """All ways from a tensor to something that stores it, one per stored tensor."""
        if tensor == self.graph.output:
            yield steps, RawTarget(tensor)
        for reader in self.readers[tensor]:
            if isinstance(reader, ir.LearnedActivation):
                yield steps, CodeTarget(reader.name, reader)
            elif isinstance(reader, Matrix | ir.Concat):
                value = self._unflattened(tensor)
                yield steps, FixedTarget(f"{value}.fixed", value)
            elif isinstance(reader, ir.Flatten):
                yield from self._paths(reader.name, steps)
            elif isinstance(reader, ir.Add | ir.ChannelPad):
                continue
            else:
                yield from self._paths(reader.name, [*steps, reader])


def _ordered(layers: list[LayerPlan], concats: dict[str, tuple[str, ...]]) -> Iterator[LayerPlan]:
    """Layers so that each comes after the layers it reads; otherwise in the given order."""
    written: set[str] = set()
    producible = {
        layer.end for layer in layers if isinstance(layer, ConvolutionPlan) and layer.store
    }
    for layer in layers:
        if layer_target(layer) is not None:
            producible.add(layer_target(layer) or "")
    waiting = list(layers)
    while waiting:
        for layer in waiting:
            if all(name in written or name not in producible for name in _reads(layer, concats)):
                break
        else:
            raise ModelError(f"node {waiting[0].name!r}: layers must not depend on each other")
        waiting.remove(layer)
        if isinstance(layer, ConvolutionPlan) and layer.store:
            written.add(layer.end)
        target = layer_target(layer)
        if target is not None:
            written.add(target)
        yield layer


def layer_target(layer: LayerPlan) -> str | None:
    """Graph tensor (or its fixed-point name) that a layer's branch writes."""
    return None if layer.branch is None else layer.branch.target.tensor


def _reads(layer: LayerPlan, concats: dict[str, tuple[str, ...]]) -> Iterator[str]:
    if isinstance(layer, StreamPlan):
        yield layer.source
        return
    for tensor in concats.get(layer.source, (layer.source,)):
        yield tensor
        yield f"{tensor}.fixed"
    if layer.residual is not None:
        yield layer.residual.tensor

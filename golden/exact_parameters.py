"""A network whose numbers the hardware holds as they are, so that it computes them exactly.

Lowering rounds coefficients (weight basis x activation basis x scale) to 18 bits, stored streams
to 18 bits and inputs of full-precision layers to 8. Each rounding moves few activations over a
threshold, but each of these moves others, and behind twenty layers a tenth of all codes differs
from those of the float network. Here the *float* network is rounded instead, once:

* a basis of activations to multiples of ``2**-b``, and the folded weights (basis times scale) to
  multiples of ``2**-(F - b)``: all their products are integers of ``2**-F``;
* offsets to multiples of ``2**-F``; scales and offsets of a normalisation on a stream likewise;
* steps of full-precision weights, whose weights are then rounded again;
* a :class:`golden.graph.FixedPoint` stands where the hardware stores a rounded number.

F is as large as the accumulator allows and as float32 allows, whose 24 bits then hold every sum in
any order (the worst case, or eight times the largest sum seen where that is less). So onnxruntime,
any other engine that adds up products in float32, and the hardware compute the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Set

import numpy as np

from golden import graph as ir
from golden.exact_norms import FoldedNorms, NormGroups, folded_summands
from golden.exact_rounding import (
    divided,
    fraction_of,
    integer_bits,
    nearest,
    nearest_nonzero,
    rounded_basis,
    stepped_weights,
)
from golden.exactness import FLOAT_BITS, check_near, largest_sum
from golden.fixed_point import signed_range
from golden.float_weights import fewest_planes
from golden.graph import FloatWeights, Graph, Node, QuantizedWeights
from golden.integer_network import Arithmetic
from golden.lowering import (
    LoweringOptions,
    Prepared,
    prepare,
    unrounded_by,
    unrounded_readers,
)
from golden.lowering_chains import Matrix
from golden.lowering_formats import MOST_FRACTION, without_fixed_points
from golden.lowering_plan import (
    BranchPlan,
    CodeTarget,
    ConvolutionPlan,
    FixedTarget,
    LayerPlan,
    StreamPlan,
)

__all__ = ["exact_graph"]

MARGIN = 1.2
"""By how much rounding may raise the worst case of a sum, or the largest that is seen."""

GAIN_BITS = 7
"""Fraction bits of gains that a private stream leaves at least."""

LEAST_STEPS = 4
"""Multiples of a grid that the largest step of full-precision weights must be worth."""


def exact_graph(
    graph: Graph,
    originals: Graph | None = None,
    arithmetic: Arithmetic | None = None,
    options: LoweringOptions | None = None,
) -> Graph:
    """The network nearest to ``graph`` that the integer network computes without rounding.

    What cannot be held so stays as it is (:func:`golden.exactness.inexact_layers` names it):
    operators that lowering replaces, normalisations that different branches share or that stand
    behind a concatenation, means over windows that are no power of two.

    Args:
        graph: A network with measured ranges; fixed points are chosen anew.
        originals: The same network before its full-precision weights were rounded to planes, so
            that they are rounded once.
        arithmetic: Widths.
        options: Of lowering.

    Raises:
        ModelError: The network cannot be lowered, or has no ranges.
    """
    if not graph.ranges:
        raise ir.ModelError("model must have measured ranges, which choose its formats")
    graph, _ = without_fixed_points(graph)
    arithmetic = arithmetic or Arithmetic()
    prepared = prepare(graph, arithmetic, options)
    exact = _Exact(graph, originals or graph, prepared, arithmetic, options).graph()
    check_near(prepared.plan, prepare(exact, arithmetic, options).plan)
    return exact


class _Exact:
    """Collects the nodes that replace those of one graph."""

    def __init__(
        self,
        graph: Graph,
        originals: Graph,
        prepared: Prepared,
        arithmetic: Arithmetic,
        options: LoweringOptions | None,
    ) -> None:
        self._graph = graph
        self._originals = originals
        self._names = {node.name for node in graph.nodes}
        self._prepared = prepared
        self._plan = prepared.plan
        self._sources = prepared.sources
        self._rounder = prepared.rounder
        self._formats = prepared.formats
        self._arithmetic = arithmetic
        self._most_planes = (options or LoweringOptions()).weight_bits
        self._norms = FoldedNorms(prepared.plan, self._names)
        self._replaced: dict[str, Node] = {}
        self._fixed: dict[str, ir.FixedPoint] = {}
        self._unrounded: dict[str, Set[str]] = {}

    def graph(self) -> Graph:
        """The rounded network, still with the ranges of the given one."""
        for node in self._graph.nodes:
            if isinstance(node, ir.LearnedActivation):
                basis = rounded_basis(node.basis)
                self._replaced[node.name] = dataclasses.replace(node, basis=basis)
        for layer in self._plan.layers:
            if isinstance(layer, ConvolutionPlan):
                self._convolution(layer)
            self._stores(layer)
        return self._inserted()

    def _convolution(self, layer: ConvolutionPlan) -> None:
        """Round weights, scale and offset of a layer, up to where it stores or adds."""
        norms = self._norms.of_convolution(layer)
        if layer.name not in self._names or norms is None:
            return
        node = self._graph.node(layer.name)
        assert isinstance(node, Matrix)
        mean = folded_summands(layer)
        source, largest = self._source_basis(layer)
        most = signed_range(self._arithmetic.coefficient)[1] // largest
        fraction = self._rounder.fraction(layer, self._formats) - integer_bits(mean)
        fraction = min(fraction, self._held(layer))
        gain = np.abs(layer.scale) * mean
        rounding = self._rounded_weights(node, gain, fraction - source, most)
        if rounding is None:
            return
        weights, lowered = rounding
        fraction -= lowered
        if layer.rounds:
            self._formats.limit_stream(layer.end, fraction)
        powers = 2.0 ** np.rint(np.log2(np.where(gain == 0, 1, gain)))
        offset = nearest(layer.offset * mean, fraction)
        self._replaced[node.name] = dataclasses.replace(
            node,
            weights=divided(weights, powers),
            bias=np.zeros_like(offset) if norms else offset,
        )
        self._replaced |= norms.with_map(np.sign(layer.scale) * powers, offset)

    def _rounded_weights(
        self, node: Matrix, gain: np.ndarray, fraction: int, most: int
    ) -> tuple[ir.Weights, int] | None:
        """Weights times ``gain`` in multiples of 2**-(fraction - n), at most ``most`` of them, and
        the number n of bits that this took; None if too few would be left.
        """
        weights = node.weights
        if isinstance(weights, QuantizedWeights):
            folded = weights.basis * gain
            lowered = 0
            while np.abs(np.rint(np.ldexp(folded, fraction - lowered))).max() > most:
                lowered += 1
            basis = nearest_nonzero(folded, fraction - lowered)
            return QuantizedWeights(weights.planes, basis), lowered
        planes = fewest_planes(weights.values, self._most_planes)
        original = self._originals.node(node.name)
        assert isinstance(original, Matrix)
        values = original.weights.values * gain.reshape(-1, *(1,) * (weights.values.ndim - 1))
        steps = most >> (planes - 1)
        if steps < LEAST_STEPS:
            return None
        ideal = float(np.abs(values).max()) / (2**planes - 1)
        lowered = 0
        while math.ldexp(ideal, fraction - lowered) > steps:
            lowered += 1
        return FloatWeights(stepped_weights(values, planes, fraction - lowered, steps)), lowered

    def _source_basis(self, layer: ConvolutionPlan) -> tuple[int, int]:
        """Fraction bits of the basis of what a layer reads, and its largest entry in these."""
        bases = []
        for part in self._sources[layer.source].parts:
            if part.codes is not None:
                codes = dataclasses.replace(part.codes, basis=rounded_basis(part.codes.basis))
                part = dataclasses.replace(part, codes=codes)
            bases.append(part.basis(self._formats.fixed))
        fraction = max((fraction_of(basis) for basis in bases if basis.any()), default=0)
        largest = max(np.abs(np.ldexp(basis, fraction)).max() for basis in bases)
        return fraction, max(1, int(largest))

    def _held(self, layer: ConvolutionPlan) -> int:
        """Fraction bits with which float32 holds every sum of a layer, in any order."""
        bound = largest_sum(self._prepared, layer, self._arithmetic)
        return FLOAT_BITS - integer_bits(MARGIN * bound)

    def _stores(self, layer: LayerPlan) -> None:
        """Round what a layer stores, and the normalisation between its stream and its output."""
        branch = layer.branch
        start = layer.source if isinstance(layer, StreamPlan) else layer.end
        norms = None
        if branch is not None and branch.affine is not None:
            norms = self._norms.of_branch(branch)
        if isinstance(layer, ConvolutionPlan) and layer.rounds:
            if not layer.store and norms is not None and branch is not None:
                self._formats.limit_stream(layer.end, self._affine_bits(branch) - GAIN_BITS)
            unrounded = unrounded_by(self._plan, layer)
            if unrounded is not None:
                fraction = self._formats.streams[layer.end]
                self._fix(layer.end, fraction, self._arithmetic.stream, unrounded)
        if branch is None:
            return
        if norms is not None:
            self._affine(start, branch, norms)
        if isinstance(branch.target, FixedTarget):
            value, fraction = branch.target.value, self._formats.fixed[branch.target.tensor]
            bits = self._sources[value].planes
            self._fix(value, fraction, bits, unrounded_readers(self._plan, value))

    def _affine(self, start: str, branch: BranchPlan, norms: NormGroups) -> None:
        """Round the normalisation of a stream."""
        assert branch.affine is not None
        mean = branch.summands
        fraction = min(self._affine_fraction(other) for other in self._norms.alike(branch))
        gain = nearest_nonzero(branch.affine.gain * mean, fraction - self._formats.streams[start])
        self._replaced |= norms.with_map(gain, nearest(branch.affine.offset * mean, fraction))

    def _affine_fraction(self, layer: LayerPlan) -> int:
        """Fraction bits of the normalised stream of a layer's branch."""
        branch = layer.branch
        assert branch is not None
        assert branch.affine is not None
        most = self._rounder.affine_fraction(layer, branch, branch.affine, self._formats)
        return min(most - integer_bits(branch.summands), self._affine_bits(branch))

    def _affine_bits(self, branch: BranchPlan) -> int:
        """Fraction bits with which float32 holds a normalised stream where it matters.

        In front of codes that is up to the last threshold: larger values pass it, however they
        are rounded. Elsewhere it is twice what was seen; a mean must hold the sum.
        """
        assert branch.affine is not None
        mean = branch.summands
        offset = float(np.abs(branch.affine.offset * mean).max())
        if isinstance(branch.target, CodeTarget):
            seen = float(np.abs(branch.target.node.thresholds()).max())
        else:
            seen = max(self._graph.ranges.get(name, math.inf) for name in branch.steps)
        if math.isinf(seen):
            return 0
        return FLOAT_BITS - integer_bits((2 * seen + offset) * mean)

    def _fix(self, tensor: str, fraction: int, bits: int, unrounded: Set[str]) -> None:
        """Round what is stored of a tensor, for all readers but those of the value before.

        Not where the graph has no such nodes, or the format none of such numbers.
        """
        known = tensor in self._names and unrounded <= self._names
        if not known or tensor in self._fixed or abs(fraction) > MOST_FRACTION:
            return
        self._unrounded[tensor] = unrounded
        self._fixed[tensor] = ir.FixedPoint(
            name=f"{tensor}.stored",
            inputs=(tensor,),
            shape=self._graph.node(tensor).shape,
            fraction=fraction,
            bits=bits,
        )

    def _inserted(self) -> Graph:
        """The graph with other nodes of the same names, and fixed points behind their inputs."""

        def input_of(reader: Node, tensor: str) -> str:
            if tensor not in self._fixed or reader.name in self._unrounded[tensor]:
                return tensor
            return self._fixed[tensor].name

        nodes: list[Node] = []
        for original in self._graph.nodes:
            node = self._replaced.get(original.name, original)
            inputs = tuple(input_of(node, name) for name in node.inputs)
            nodes.append(dataclasses.replace(node, inputs=inputs))
            if node.name in self._fixed:
                nodes.append(self._fixed[node.name])
        return dataclasses.replace(self._graph, nodes=tuple(nodes))

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
any order. So onnxruntime, any other float engine and the hardware compute the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence, Set

import numpy as np

from golden import graph as ir
from golden.exact_rounding import (
    fraction_of,
    integer_bits,
    rounded,
    rounded_basis,
    rounded_up,
    stepped_weights,
)
from golden.fixed_point import signed_range
from golden.float_weights import fewest_planes, float_weight_planes
from golden.graph import FloatWeights, Graph, Node, QuantizedWeights
from golden.integer_network import Arithmetic
from golden.lowering import LoweringOptions, Prepared, prepare, unrounded_readers, worst_sum
from golden.lowering_chains import Chains, Matrix
from golden.lowering_plan import (
    BranchPlan,
    CodeTarget,
    ConvolutionPlan,
    FixedTarget,
    LayerPlan,
)

__all__ = ["exact_graph"]

FLOAT_BITS = 24
"""Bits of a float32's significand, hidden one included."""

GAIN_BITS = 7
"""Fraction bits of gains that a private stream leaves at least."""


def exact_graph(
    graph: Graph,
    originals: Graph | None = None,
    arithmetic: Arithmetic | None = None,
    options: LoweringOptions | None = None,
) -> Graph:
    """The network nearest to ``graph`` that the integer network computes without rounding.

    What no layer of the hardware can hold so stays as it is: operators that lowering replaces, a
    mean over windows that are no power of two (:func:`golden.exactness.inexact_layers`).

    Args:
        graph: A network with measured ranges.
        originals: The same network before its full-precision weights were rounded to planes, so
            that they are rounded once.
        arithmetic: Widths.
        options: Of lowering.

    Raises:
        ModelError: The network cannot be lowered, or has no ranges.
    """
    if not graph.ranges:
        raise ir.ModelError("model must have measured ranges, which choose its formats")
    if any(isinstance(node, ir.FixedPoint) for node in graph.nodes):
        return graph
    arithmetic = arithmetic or Arithmetic()
    prepared = prepare(graph, arithmetic, options)
    return _Exact(graph, originals or graph, prepared, arithmetic, options).graph()


@dataclasses.dataclass(frozen=True)
class _Folded:
    """Weights times the scale that follows them."""

    weights: ir.Weights
    basis: np.ndarray
    """float64 [K, Cout]."""

    def divided(self, powers: np.ndarray) -> ir.Weights:
        """The weights before a scale of ``powers`` (float64 [Cout])."""
        if isinstance(self.weights, QuantizedWeights):
            return QuantizedWeights(self.weights.planes, self.weights.basis / powers)
        values = self.weights.values
        return FloatWeights(values / powers.reshape(-1, *(1,) * (values.ndim - 1)))


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
        self._formats = prepared.formats
        self._arithmetic = arithmetic
        self._most_planes = (options or LoweringOptions()).weight_bits
        self._chains = Chains(prepared.plan.graph)
        self._replaced: dict[str, Node] = {}
        self._fixed: dict[str, ir.FixedPoint] = {}
        self._unrounded: dict[str, Set[str]] = {}

    def graph(self) -> Graph:
        """The rounded network, still with the ranges of the given one."""
        for node in self._graph.nodes:
            if isinstance(node, ir.LearnedActivation):
                self._replaced[node.name] = dataclasses.replace(
                    node, basis=rounded_basis(node.basis)
                )
        for layer in self._prepared.plan.layers:
            if isinstance(layer, ConvolutionPlan):
                self._convolution(layer)
            self._stores(layer)
        return self._inserted()

    def _convolution(self, layer: ConvolutionPlan) -> None:
        """Round weights, scale and offset of a layer, up to where it stores or adds."""
        if layer.name not in self._names:
            return
        node = self._graph.node(layer.name)
        assert isinstance(node, Matrix)
        source, largest = self._source_basis(layer)
        fraction = min(self._prepared.rounder.fraction(layer, self._formats), self._held(layer))
        most = signed_range(self._arithmetic.coefficient)[1] // largest
        folded = self._folded(node, layer, fraction - source, most)
        while np.abs(np.ldexp(folded.basis, fraction - source)).max() > most:
            # Rounding made a product too large for a coefficient.
            fraction -= 1
            folded = self._folded(node, layer, fraction - source, most)
        powers = 2.0 ** np.rint(np.log2(np.where(layer.scale == 0, 1, np.abs(layer.scale))))
        weights = folded.divided(powers)
        offset = rounded(layer.offset, fraction)
        norms = self._folded_norms(layer)
        self._replaced[node.name] = dataclasses.replace(
            node, weights=weights, bias=np.zeros_like(offset) if norms else offset
        )
        self._set_norms(norms, np.sign(layer.scale) * powers, offset)

    def _folded(self, node: Matrix, layer: ConvolutionPlan, fraction: int, most: int) -> _Folded:
        """Weights times scale, their basis in multiples of 2**-fraction, for float ones
        ``most`` of these at most.
        """
        gain = np.abs(layer.scale)
        weights = node.weights
        if isinstance(weights, QuantizedWeights):
            basis = rounded_up(weights.basis * gain, fraction)
            return _Folded(QuantizedWeights(weights.planes, basis), basis)
        planes = fewest_planes(weights.values, self._most_planes)
        original = self._originals.node(node.name)
        assert isinstance(original, Matrix)
        values = original.weights.values * gain.reshape(-1, *(1,) * (weights.values.ndim - 1))
        stepped = stepped_weights(values, planes, fraction, most >> (planes - 1))
        return _Folded(FloatWeights(stepped), float_weight_planes(stepped, planes)[1])

    def _source_basis(self, layer: ConvolutionPlan) -> tuple[int, int]:
        """Fraction bits of the basis of what a layer reads, and its largest entry in these."""
        bases = []
        for part in self._prepared.sources[layer.source].parts:
            if part.codes is not None:
                codes = dataclasses.replace(part.codes, basis=rounded_basis(part.codes.basis))
                part = dataclasses.replace(part, codes=codes)
            bases.append(part.basis(self._formats.fixed))
        fraction = max(fraction_of(basis) for basis in bases)
        return fraction, max(int(np.abs(np.ldexp(basis, fraction)).max()) for basis in bases)

    def _held(self, layer: ConvolutionPlan) -> int:
        """Fraction bits with which float32 holds every sum of a layer, in any order of its terms:
        the bound is the largest that the inputs allow, a shortcut's the largest that is stored.
        """
        sources, formats = self._prepared.sources, self._formats
        inputs = {
            part.fixed: math.ldexp(1.0, part.planes - 1 - formats.fixed[part.fixed])
            for part in sources[layer.source].parts
            if part.fixed is not None
        }
        largest = float(worst_sum(layer, sources[layer.source], inputs).max())
        if layer.residual is not None:
            stream = formats.streams[layer.residual.tensor]
            largest += math.ldexp(1.0, self._arithmetic.stream - 1 - stream)
        return FLOAT_BITS - integer_bits(largest)

    def _folded_norms(self, layer: ConvolutionPlan) -> list[ir.BatchNorm]:
        """Normalisations that are part of a layer's scale, in order."""
        chain = [self._prepared.plan.graph.node(name) for name in self._chains.chains[layer.name]]
        norms = [node for node in chain if isinstance(node, ir.BatchNorm)]
        if layer.branch is not None and layer.branch.affine is None:
            norms += self._branch_norms(layer.branch)
        return norms

    def _branch_norms(self, branch: BranchPlan) -> list[ir.BatchNorm]:
        """A branch's normalisations, in order; none if they are not all nodes of the graph."""
        nodes = [self._prepared.plan.graph.node(name) for name in branch.steps]
        norms = [node for node in nodes if isinstance(node, ir.BatchNorm)]
        return norms if all(norm.name in self._names for norm in norms) else []

    def _stores(self, layer: LayerPlan) -> None:
        """Round what a layer stores, and the normalisation between its stream and its output."""
        branch = layer.branch
        if isinstance(layer, ConvolutionPlan) and layer.rounds:
            fraction = self._formats.streams[layer.end]
            if not layer.store and branch is not None and branch.affine is not None:
                fraction = min(fraction, self._affine_bits(branch) - GAIN_BITS)
                self._formats.streams[layer.end] = fraction
            early = branch is not None and branch.affine is None
            unrounded = {branch.first} if branch is not None and early else set()
            self._fix(layer.end, fraction, self._arithmetic.stream, unrounded)
        if branch is None:
            return
        start = layer.end if isinstance(layer, ConvolutionPlan) else layer.source
        if branch.affine is not None:
            self._affine(layer, start, branch)
        if isinstance(branch.target, FixedTarget):
            value, fraction = branch.target.value, self._formats.fixed[branch.target.tensor]
            bits = self._prepared.sources[value].planes
            self._fix(value, fraction, bits, unrounded_readers(self._prepared.plan, value))

    def _affine(self, layer: LayerPlan, start: str, branch: BranchPlan) -> None:
        """Round the normalisation of a stream."""
        assert branch.affine is not None
        norms = self._branch_norms(branch)
        stream = self._formats.streams[start]
        fraction = min(
            self._prepared.rounder.affine_fraction(layer, branch, branch.affine, self._formats),
            self._affine_bits(branch),
        )
        mean = branch.summands
        gain = rounded_up(branch.affine.gain * mean, fraction - stream)
        self._set_norms(norms, gain, rounded(branch.affine.offset * mean, fraction))

    def _affine_bits(self, branch: BranchPlan) -> int:
        """Fraction bits with which float32 holds a normalised stream where it matters.

        In front of codes that is up to the last threshold: larger values pass it, however they
        are rounded. A mean must hold the sum.
        """
        assert branch.affine is not None
        offset = float(np.abs(branch.affine.offset * branch.summands).max())
        if isinstance(branch.target, CodeTarget):
            last = float(np.abs(branch.target.node.thresholds()).max())
            return FLOAT_BITS - integer_bits(2 * last + offset)
        seen = max((self._graph.ranges.get(name, 0.0) for name in branch.steps), default=1.0)
        return FLOAT_BITS - integer_bits((2 * seen + offset) * branch.summands)

    def _fix(self, tensor: str, fraction: int, bits: int, unrounded: Set[str]) -> None:
        """Round what is stored of a tensor, for all readers but those of the value before."""
        if tensor in self._names and tensor not in self._fixed:
            self._unrounded[tensor] = unrounded
            self._fixed[tensor] = ir.FixedPoint(
                name=f"{tensor}.stored",
                inputs=(tensor,),
                shape=self._graph.node(tensor).shape,
                fraction=fraction,
                bits=bits,
            )

    def _set_norms(
        self, norms: Sequence[ir.BatchNorm], scale: np.ndarray, offset: np.ndarray
    ) -> None:
        """Give the last of ``norms`` the map of all, and the others none."""
        for norm in norms[:-1]:
            self._replaced[norm.name] = dataclasses.replace(
                norm, scale=np.ones_like(scale), offset=np.zeros_like(offset)
            )
        for norm in norms[-1:]:
            self._replaced[norm.name] = dataclasses.replace(norm, scale=scale, offset=offset)

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

"""Whether the hardware computes a float network exactly, and where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from golden.exact_norms import FoldedNorms, folded_summands
from golden.exact_rounding import fraction_of
from golden.graph import FloatWeights, Graph, ModelError
from golden.integer_network import Arithmetic
from golden.lowering import Prepared, prepare, worst_sum
from golden.lowering_plan import (
    ConvolutionPlan,
    FixedTarget,
    LayerPlan,
    Plan,
    StreamPlan,
)

__all__ = ["FLOAT_BITS", "check_near", "inexact_layers", "largest_sum"]

FLOAT_BITS = 24
"""Bits of a float32's significand, hidden one included."""

PARTIAL_SUMS = 8
"""How many times larger than the largest sum seen sums on its way are taken to be at most."""

NEAR, NEAR_PLANES = 0.1, 0.4
"""How far weights times scale may move, as a share of their root mean square: quantized ones, and
full-precision ones, which are rounded to planes."""


def inexact_layers(graph: Graph) -> dict[str, str]:
    """Layers that the hardware does not compute as ``graph`` says, and which numbers it rounds.

    Saturation is left out: streams hold twice what was seen (:class:`LoweringOptions`).
    """
    arithmetic = Arithmetic()
    prepared = prepare(graph, arithmetic)
    found = {
        layer.name: list(_roundings(prepared, layer, arithmetic)) for layer in prepared.plan.layers
    }
    return {name: ", ".join(roundings) for name, roundings in found.items() if roundings}


def largest_sum(prepared: Prepared, layer: ConvolutionPlan, arithmetic: Arithmetic) -> float:
    """Bound of every sum of a layer, whatever the order of its terms: the largest that its inputs
    allow or, if that is less, a multiple of the largest that was seen, and the largest shortcut
    that is stored. Of a mean that follows, the sum.
    """
    source, formats = prepared.sources[layer.source], prepared.formats
    inputs = {
        part.fixed: math.ldexp(1.0, part.planes - 1 - formats.fixed[part.fixed])
        for part in source.parts
        if part.fixed is not None
    }
    largest = float(worst_sum(layer, source, inputs).max())
    largest = min(largest, PARTIAL_SUMS * _seen(prepared, layer))
    if layer.residual is not None:
        stream = formats.streams[layer.residual.tensor]
        largest += math.ldexp(1.0, arithmetic.stream - 1 - stream)
    # Scale and offset are divided by the number of summands already.
    return largest * folded_summands(layer) ** 2


def _seen(prepared: Prepared, layer: ConvolutionPlan) -> float:
    """Largest |weights x inputs x scale| of a layer over the calibration images, or more."""
    ranges = prepared.plan.graph.ranges
    mean = folded_summands(layer)
    seen = ranges.get(layer.name, math.inf) * float(np.abs(layer.scale).max())
    for norm in FoldedNorms(prepared.plan, ranges.keys()).in_front(layer):
        total = ranges.get(norm.name, math.inf) + float(np.abs(norm.offset).max())
        seen = min(seen, total / mean)
    return seen


def _roundings(prepared: Prepared, layer: LayerPlan, arithmetic: Arithmetic) -> Iterator[str]:
    """What a layer rounds that the graph does not."""
    formats, rounder, demands = prepared.formats, prepared.rounder, prepared.plan.demands
    branch = layer.branch
    inputs = formats.streams[layer.source] if isinstance(layer, StreamPlan) else 0
    if isinstance(layer, ConvolutionPlan):
        fraction = rounder.fraction(layer, formats)
        coefficients = rounder.coefficients(layer, formats)
        inputs = max(fraction_of(coefficients), fraction_of(layer.offset))
        if inputs > fraction:
            yield "coefficients"
        if layer.residual is not None:
            halvings = 2 * (layer.residual.window - 1)
            inputs = max(inputs, formats.streams[layer.residual.tensor] + halvings)
        bound = largest_sum(prepared, layer, arithmetic)
        # The graph divides by a mean's number later than the coefficients do.
        bound = math.ldexp(bound, inputs) / folded_summands(layer)
        if inputs <= fraction and bound > 2**FLOAT_BITS:
            yield "sums that float32 rounds"
        if layer.rounds:
            stored = formats.streams[layer.end]
            if layer.end not in demands and inputs > stored:
                yield "stream"
            inputs = stored if branch is not None and branch.affine is not None else inputs
    if branch is not None and branch.affine is not None:
        fraction = rounder.affine_fraction(layer, branch, branch.affine, formats)
        gain = inputs + fraction_of(branch.affine.gain)
        inputs = max(gain, fraction_of(branch.affine.offset))
        if inputs > fraction:
            yield "normalisation"
    if branch is not None and isinstance(branch.target, FixedTarget):
        target = branch.target
        kept, bits = formats.fixed[target.tensor], prepared.sources[target.value].planes
        demand = demands.get(target.value)
        if demand is None:
            exact = inputs <= kept
        else:
            exact = (demand.node.fraction, demand.node.bits) == (kept, bits)
        if not exact:
            yield "output"


def check_near(before: Plan, after: Plan) -> None:
    """Refuse an exact network that is not near the one that it was made from.

    Raises:
        ModelError: The network's structure is one that the export gets wrong.
    """
    for old, new in zip(before.layers, after.layers, strict=True):
        limit = NEAR
        numbers: list[tuple[np.ndarray, np.ndarray]] = []
        if isinstance(old, ConvolutionPlan) and isinstance(new, ConvolutionPlan):
            shape = (-1, 1, 1, 1)
            weights = [layer.weights.values * layer.scale.reshape(shape) for layer in (old, new)]
            numbers = [(weights[0], weights[1]), (old.offset, new.offset)]
            limit = NEAR_PLANES if isinstance(old.weights, FloatWeights) else NEAR
        if old.branch is not None and old.branch.affine is not None:
            affine = None if new.branch is None else new.branch.affine
            if affine is None:
                raise ModelError(f"node {old.name!r}: normalisation must stay, not be left out")
            numbers.append((old.branch.affine.gain, affine.gain))
            numbers.append((old.branch.affine.offset, affine.offset))
        for first, second in numbers:
            size = float(np.sqrt((first**2).mean()))
            moved = float(np.sqrt(((second - first) ** 2).mean()))
            if moved > limit * size + 1e-3:
                raise ModelError(
                    f"node {old.name!r}: exact numbers must be near those of the network, but move "
                    f"by {moved / max(size, 1e-9):.0%}: export it without --exact"
                )

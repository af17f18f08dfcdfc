"""Whether the hardware computes a float network exactly, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator

from golden.exact_rounding import fraction_of
from golden.graph import Graph
from golden.lowering import Prepared, prepare
from golden.lowering_plan import ConvolutionPlan, FixedTarget, LayerPlan, StreamPlan

__all__ = ["inexact_layers"]


def inexact_layers(graph: Graph) -> dict[str, str]:
    """Layers that the hardware does not compute as ``graph`` says, and which numbers it rounds."""
    prepared = prepare(graph)
    found = {layer.name: list(_roundings(prepared, layer)) for layer in prepared.plan.layers}
    return {name: ", ".join(roundings) for name, roundings in found.items() if roundings}


def _roundings(prepared: Prepared, layer: LayerPlan) -> Iterator[str]:
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
    target = None if branch is None else branch.target
    if (
        isinstance(target, FixedTarget)
        and target.value not in demands
        and inputs > formats.fixed[target.tensor]
    ):
        yield "output"

"""Lowering: from the float graph of an exported file to the integer network.

Three steps: :mod:`golden.lowering_match` finds the fused layers, :mod:`golden.lowering_scale`
holds the rules for fixed-point formats, and this module applies them and rounds. What the integer
network cannot express is refused with a :class:`golden.graph.ModelError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from golden import graph as ir
from golden.graph import Graph, ModelError
from golden.integer_network import (
    Arithmetic,
    Concatenation,
    ImageInput,
    IntegerNetwork,
    Layer,
)
from golden.lowering_formats import Stored, check_demands
from golden.lowering_match import match_layers
from golden.lowering_plan import ConvolutionPlan, FixedTarget, Plan, StreamPlan
from golden.lowering_pools import pool_on_codes
from golden.lowering_rounding import Rounder
from golden.lowering_scale import Formats, range_fraction
from golden.lowering_source import PlaneSource, SourceTable

__all__ = [
    "LoweringOptions",
    "Prepared",
    "lower",
    "prepare",
    "unrounded_by",
    "unrounded_readers",
    "worst_sum",
]

MAX_ROUNDS = 200
KERNELS = range(1, 12)
STRIDES = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class LoweringOptions:
    """Choices that are not part of the model."""

    ranges: Mapping[str, float] | None = None
    """Largest |x| per float tensor (see ``golden.calibration.measure_ranges``); None takes
    those stored in the file."""

    headroom: float = 2.0
    """Factor on the range of streams; beyond it they saturate."""

    fixed_point_bits: int = 8
    """Planes of float tensors that a convolution or linear layer reads."""

    weight_bits: int = 8
    """Most planes of float weights: as few are taken as hold the values."""

    def __post_init__(self) -> None:
        if not self.headroom >= 1:
            raise ValueError(f"headroom must be at least 1, not {self.headroom}")
        if not 2 <= self.fixed_point_bits <= 16:
            raise ValueError(f"fixed_point_bits must be in 2..16, not {self.fixed_point_bits}")
        if not 1 <= self.weight_bits <= 8:
            raise ValueError(f"weight_bits must be in 1..8, not {self.weight_bits}")


def lower(
    graph: Graph,
    arithmetic: Arithmetic | None = None,
    options: LoweringOptions | None = None,
) -> IntegerNetwork:
    """Integer network of ``graph``.

    Raises:
        ModelError: If the network has something that no layer can compute.
    """
    arithmetic = arithmetic or Arithmetic()
    prepared = prepare(graph, arithmetic, options)
    layers: list[Layer] = [
        prepared.rounder.layer(layer, prepared.formats) for layer in prepared.plan.layers
    ]
    layers = pool_on_codes(layers)
    sources = prepared.sources
    height, width, channels = sources.image_shape
    return IntegerNetwork(
        name=graph.name,
        image=ImageInput(graph.image.name, height, width, channels),
        layers=tuple(layers),
        concatenations=tuple(
            Concatenation(name, tuple(sources.stored_name(part) for part in parts))
            for name, parts in prepared.plan.concats.items()
        ),
        arithmetic=arithmetic,
        labels=graph.labels,
    )


@dataclass(frozen=True)
class Prepared:
    """A network whose layers and formats are found, before its numbers are rounded."""

    plan: Plan
    sources: SourceTable
    rounder: Rounder
    formats: Formats


def prepare(
    graph: Graph, arithmetic: Arithmetic | None = None, options: LoweringOptions | None = None
) -> Prepared:
    """Layers and formats of ``graph``.

    Raises:
        ModelError: As :func:`lower`.
    """
    arithmetic = arithmetic or Arithmetic()
    options = options or LoweringOptions()
    if options.ranges is not None:
        graph = replace(graph, ranges=dict(options.ranges))
    plan = match_layers(graph)
    _check_windows(plan)
    sources = SourceTable(plan, options.fixed_point_bits, arithmetic)
    rounder = Rounder(plan, sources, arithmetic, options.weight_bits)
    formats = _choose_formats(plan, sources, rounder, arithmetic, options)
    check_demands(plan.demands, _stored(plan, sources, formats, arithmetic))
    return Prepared(plan, sources, rounder, formats)


def _stored(
    plan: Plan, sources: SourceTable, formats: Formats, arithmetic: Arithmetic
) -> dict[str, Stored]:
    """How every tensor of the graph is stored that is rounded."""
    stored: dict[str, Stored] = {}
    for layer in plan.layers:
        branch = layer.branch
        if isinstance(layer, ConvolutionPlan) and layer.rounds:
            unrounded = unrounded_by(plan, layer)
            if unrounded is not None:
                fraction = formats.streams[layer.end]
                stored[layer.end] = Stored(fraction, arithmetic.stream, unrounded)
        if branch is not None and isinstance(branch.target, FixedTarget):
            value = branch.target.value
            if value not in stored:
                fraction = formats.fixed[branch.target.tensor]
                unrounded = unrounded_readers(plan, value)
                stored[value] = Stored(fraction, sources[value].planes, unrounded)
    return stored


def unrounded_by(plan: Plan, layer: ConvolutionPlan) -> frozenset[str] | None:
    """Nodes that read a layer's accumulator before its stream is rounded.

    Only a normalisation reads what was rounded; codes are made of the accumulator. None if one
    node reads both, for two branches.
    """
    branch = layer.branch
    if branch is None or branch.affine is not None or not branch.first:
        return frozenset()
    others = (other for other in plan.layers if isinstance(other, StreamPlan))
    if any(o.source == layer.end and o.branch.first == branch.first for o in others):
        return None
    return frozenset({branch.first})


def unrounded_readers(plan: Plan, value: str) -> frozenset[str]:
    """Nodes that read a value which is stored in fixed point for others, but not that form."""
    readers = plan.graph.consumers()

    def reads_planes(node: ir.Node) -> bool:
        if isinstance(node, ir.Flatten):
            return all(reads_planes(reader) for reader in readers[node.name])
        return isinstance(node, ir.Convolution | ir.Linear | ir.Concat)

    return frozenset(node.name for node in readers[value] if not reads_planes(node))


def _check_windows(plan: Plan) -> None:
    for layer in plan.layers:
        if isinstance(layer, ConvolutionPlan):
            kernel = layer.weights.values.shape[2:]
            if kernel[0] not in KERNELS or kernel[1] not in KERNELS:
                raise ModelError(
                    f"node {layer.name!r}: kernel must be in 1..{KERNELS[-1]}, not {list(kernel)}"
                )
            if not set(layer.stride) <= set(STRIDES):
                raise ModelError(
                    f"node {layer.name!r}: stride must be one of {list(STRIDES)}, "
                    f"not {list(layer.stride)}"
                )


def _choose_formats(
    plan: Plan,
    sources: SourceTable,
    rounder: Rounder,
    arithmetic: Arithmetic,
    options: LoweringOptions,
) -> Formats:
    """Formats of all streams and fixed-point tensors.

    The widest possible streams first; then each layer may lower the fraction of the streams that
    it writes and reads, until nothing changes.
    """
    ranges = plan.graph.ranges
    worst = _worst_cases(plan, sources)
    formats = Formats({}, {})
    for layer in plan.layers:
        if isinstance(layer, ConvolutionPlan) and layer.rounds:
            largest = worst[layer.end]
            if layer.end in ranges:
                largest = min(largest, ranges[layer.end] * options.headroom)
            chosen = range_fraction(largest, arithmetic.stream)
            formats.streams[layer.end] = _demanded(plan, layer.end, chosen)
        target = None if layer.branch is None else layer.branch.target
        if isinstance(target, FixedTarget):
            largest = worst[target.tensor]
            if target.value in ranges:
                largest = min(largest, ranges[target.value])
            bits = sources[target.value].planes
            chosen = range_fraction(largest, bits)
            formats.fixed[target.tensor] = _demanded(plan, target.value, chosen)
    values = [
        [sources.stored_name(part) for part in parts if sources.stored_name(part) != part]
        for parts in plan.concats.values()
    ]
    for _ in range(MAX_ROUNDS):
        formats.changed = False
        for layer in plan.layers:
            rounder.settle(layer, formats)
        for names in values:
            # Values of one format have one basis.
            for name in names:
                formats.limit_fixed(name, min(formats.fixed[other] for other in names))
        if not formats.changed:
            return formats
    raise ModelError("scales of the residual streams must agree, but no common ones were found")


def _demanded(plan: Plan, tensor: str, chosen: int) -> int:
    """The fraction that the file demands of a tensor, or else ``chosen``."""
    return plan.demands[tensor].node.fraction if tensor in plan.demands else chosen


def _worst_cases(plan: Plan, sources: SourceTable) -> dict[str, float]:
    """Largest possible |value| of every layer's end and of every fixed-point output."""
    worst: dict[str, float] = {}
    for layer in plan.layers:
        if isinstance(layer, ConvolutionPlan):
            largest = worst_sum(layer, sources[layer.source], worst)
            if layer.residual is not None:
                largest = largest + worst[layer.residual.tensor]
            worst[layer.end] = float(largest.max())
        branch = layer.branch
        if branch is None:
            continue
        start = layer.source if isinstance(layer, StreamPlan) else layer.end
        bound = np.full(1, worst[start])
        if branch.affine is not None:
            bound = bound * np.abs(branch.affine.gain) + np.abs(branch.affine.offset)
        worst[branch.target.tensor] = float(bound.max()) * branch.summands
    return worst


def worst_sum(
    layer: ConvolutionPlan, source: PlaneSource, worst: Mapping[str, float]
) -> np.ndarray:
    """Largest possible |scale * (w * x) + offset| per channel, before the residual."""
    magnitude = np.concatenate(
        [np.full(part.last - part.first, part.largest(worst)) for part in source.parts]
    )
    values: np.ndarray = np.abs(layer.weights.values)
    totals = values.sum(axis=(2, 3)) @ magnitude
    return totals * np.abs(layer.scale) + np.abs(layer.offset)

"""Rounds fused layers to the integers of the integer network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.fixed_point import signed_range
from golden.float_weights import fewest_planes, float_weight_planes
from golden.graph import Encoding, FloatWeights, ModelError, Weights
from golden.integer_network import (
    Affine,
    Arithmetic,
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    Layer,
    Output,
    Pool,
    RawOutput,
    Residual,
    StreamLayer,
    StreamOutput,
)
from golden.lowering_plan import (
    AffinePlan,
    BranchPlan,
    CodeTarget,
    ConvolutionPlan,
    FixedTarget,
    LayerPlan,
    Plan,
    PoolPlan,
    StreamPlan,
)
from golden.lowering_scale import (
    MAX_FRACTION,
    MAX_SHIFT,
    Formats,
    affine_fraction,
    largest_fraction,
    range_fraction,
    rounded,
)
from golden.lowering_source import SourceTable

__all__ = ["Rounder"]


@dataclass(frozen=True)
class _Matrix:
    """A convolution's weights as planes, and its float coefficients without the inputs' basis."""

    planes: np.ndarray
    """bool [K, Cout, kh, kw, Cin]."""
    factors: np.ndarray
    """float64 [Cout, K]: weight basis times the layer's scale."""


class Rounder:
    """Rounds the layers of one plan.

    Args:
        plan: The fused layers.
        sources: Their plane tensors.
        arithmetic: Widths.
        weight_bits: Most planes of float weights; fewer where these hold them as well.
    """

    def __init__(
        self, plan: Plan, sources: SourceTable, arithmetic: Arithmetic, weight_bits: int
    ) -> None:
        self._sources = sources
        self._arithmetic = arithmetic
        self._matrices: dict[str, _Matrix] = {}
        for layer in plan.layers:
            if isinstance(layer, ConvolutionPlan):
                self._matrices[layer.name] = _matrix(layer, weight_bits)

    def settle(self, layer: LayerPlan, formats: Formats) -> None:
        """Lower the formats of the tensors that ``layer`` reads and writes to what it can do."""
        if isinstance(layer, ConvolutionPlan):
            fraction = self.fraction(layer, formats)
            if layer.residual is not None:
                halvings = 2 * (layer.residual.window - 1)
                formats.limit_stream(layer.residual.tensor, fraction - halvings)
            if layer.rounds:
                formats.limit_stream(layer.end, fraction)
        else:
            fraction = formats.streams[layer.source]
        if layer.branch is not None and isinstance(layer.branch.target, FixedTarget):
            if layer.branch.affine is not None:
                fraction = self.affine_fraction(layer, layer.branch, layer.branch.affine, formats)
            formats.limit_fixed(layer.branch.target.tensor, fraction)

    def layer(self, layer: LayerPlan, formats: Formats) -> Layer:
        """The integer layer."""
        if isinstance(layer, StreamPlan):
            return self._stream_layer(layer, formats)
        return self._convolution(layer, formats)

    def coefficients(self, layer: ConvolutionPlan, formats: Formats) -> np.ndarray:
        """Coefficients before they are rounded, float64 [ranges, Cout, K, planes]."""
        factors = self._matrices[layer.name].factors
        parts = self._sources[layer.source].parts
        bases = np.stack([part.basis(formats.fixed) for part in parts])
        return factors[None, :, :, None] * bases[:, None, None, :]

    def fraction(self, layer: ConvolutionPlan, formats: Formats) -> int:
        """Fraction bits of the accumulator: the most for which the worst case fits."""
        coefficients = self.coefficients(layer, formats)
        _, coefficient_top = signed_range(self._arithmetic.coefficient)
        _, top = signed_range(self._arithmetic.accumulator)
        kernel = self._matrices[layer.name].planes.shape[2:4]
        taps = np.array(
            [
                kernel[0] * kernel[1] * (part.last - part.first)
                for part in self._sources[layer.source].parts
            ]
        )
        branch = layer.branch
        summands = branch.summands if branch is not None and branch.affine is None else 1
        largest_stream = 1 << (self._arithmetic.stream - 1)

        def fits(fraction: int) -> bool:
            integers = np.abs(np.rint(np.ldexp(coefficients, fraction)))
            if integers.max() > coefficient_top:
                return False
            worst = (integers.sum(axis=(2, 3)) * taps[:, None]).sum(axis=0)
            worst = worst + np.abs(np.rint(np.ldexp(layer.offset, fraction)))
            if layer.residual is not None:
                stream = formats.streams[layer.residual.tensor]
                worst = worst + np.ldexp(float(largest_stream), max(fraction - stream, 0))
            return bool(worst.max() * summands <= top)

        start = range_fraction(float(np.abs(coefficients).max()), self._arithmetic.coefficient)
        if layer.residual is not None:
            start = min(start, formats.streams[layer.residual.tensor] + MAX_SHIFT)
        if layer.rounds:
            start = min(start, formats.streams[layer.end] + MAX_SHIFT)
        if branch is not None and branch.affine is None:
            start = min(start, _most_for_target(branch, formats))
        return largest_fraction(fits, start, layer.name, "the worst-case sum")

    def affine_fraction(
        self, layer: LayerPlan, branch: BranchPlan, affine: AffinePlan, formats: Formats
    ) -> int:
        """Fraction bits of a normalised stream: the most for which it fits its widths."""
        stream = layer.source if isinstance(layer, StreamPlan) else layer.end
        most = _most_for_target(branch, formats)
        fraction = formats.streams[stream]
        return affine_fraction(
            affine, branch.summands, fraction, most, self._arithmetic, layer.name
        )

    def _convolution(self, layer: ConvolutionPlan, formats: Formats) -> ConvolutionLayer:
        fraction = self.fraction(layer, formats)
        source = self._sources[layer.source]
        matrix = self._matrices[layer.name]
        branch = layer.branch
        stream_shift = fraction - formats.streams[layer.end] if layer.rounds else 0
        outputs, affine = self._outputs(layer, fraction, formats)
        ranges, coefficients = _merged(
            [(part.first, part.last) for part in source.parts],
            rounded(self.coefficients(layer, formats), fraction),
        )
        return ConvolutionLayer(
            name=layer.name,
            source=source.tensor,
            input_shape=layer.input_shape,
            convolution_shape=layer.convolution_shape,
            output_shape=layer.convolution_shape if branch is None else branch.shape,
            weight_planes=matrix.planes,
            coefficients=coefficients,
            ranges=ranges,
            bias=rounded(layer.offset, fraction),
            stride=layer.stride,
            padding=layer.padding,
            weight_label=f"W{len(matrix.planes)}",
            source_label=source.label,
            fraction=fraction,
            residual=self._residual(layer, fraction, formats),
            relu_stream=layer.relu_stream,
            stream=(StreamOutput(layer.end, formats.streams[layer.end]) if layer.store else None),
            stream_shift=stream_shift,
            affine=affine,
            relu=branch is not None and branch.relu,
            pool=None if branch is None else _pool(branch.pool),
            outputs=outputs,
        )

    def _residual(self, layer: ConvolutionPlan, fraction: int, formats: Formats) -> Residual | None:
        if layer.residual is None:
            return None
        window = layer.residual.window
        shift = fraction - formats.streams[layer.residual.tensor] - 2 * (window - 1)
        return Residual(layer.residual.tensor, window, shift, layer.residual.channel_map)

    def _stream_layer(self, layer: StreamPlan, formats: Formats) -> StreamLayer:
        fraction = formats.streams[layer.source]
        outputs, affine = self._outputs(layer, fraction, formats)
        assert outputs is not None
        return StreamLayer(
            name=layer.name,
            source=layer.source,
            input_shape=layer.input_shape,
            output_shape=layer.branch.shape,
            shift=0,
            stream_shift=0,
            fraction=fraction,
            relu_stream=layer.branch.relu_first,
            affine=affine,
            relu=layer.branch.relu,
            pool=_pool(layer.branch.pool),
            outputs=outputs,
        )

    def _outputs(
        self, layer: LayerPlan, fraction: int, formats: Formats
    ) -> tuple[Output | None, Affine | None]:
        """Output and affine map of the layer's branch; its value has ``fraction`` before them."""
        branch = layer.branch
        if branch is None:
            return None, None
        affine: Affine | None = None
        if branch.affine is not None:
            stream = layer.source if isinstance(layer, StreamPlan) else layer.end
            fraction = self.affine_fraction(layer, branch, branch.affine, formats)
            gain = rounded(branch.affine.gain, fraction - formats.streams[stream])
            affine = Affine(gain, rounded(branch.affine.offset, fraction))
        target = branch.target
        if isinstance(target, CodeTarget):
            return self._codes(target, fraction, branch.relu_in_codes), affine
        if isinstance(target, FixedTarget):
            kept = formats.fixed[target.tensor]
            bits = self._sources[target.value].planes
            return FixedPointOutput(target.tensor, bits, fraction - kept, kept), affine
        return RawOutput(target.tensor, fraction), affine

    def _codes(self, target: CodeTarget, fraction: int, relu: bool) -> CodeOutput:
        """Thresholds ``floor(t * 2**fraction)``: an integer is above t if it is above its floor.

        An integer is at or above t if it is above ``ceil(t * 2**fraction) - 1``. With ``relu`` no
        value is below zero: the lowest number, which no sum reaches, stands for the thresholds
        that zero passes.
        """
        node = target.node
        codes = node.sorted_levels()[1]
        if node.encoding is Encoding.SIGNED:
            codes = codes | (1 << node.planes)
        scaled = np.ldexp(node.thresholds().astype(np.float64), fraction)
        scaled = np.where(node.inclusive or False, np.ceil(scaled) - 1, np.floor(scaled))
        low, high = signed_range(self._arithmetic.accumulator)
        if relu:
            scaled = np.where(scaled < 0, low, scaled)
        thresholds = np.clip(scaled, low, high).astype(np.int64)
        return CodeOutput(target.tensor, self._sources[node.name].planes, thresholds, codes)


def _most_for_target(branch: BranchPlan, formats: Formats) -> int:
    """Most fraction bits from which the branch's output can be shifted to its format."""
    if isinstance(branch.target, FixedTarget):
        return formats.fixed[branch.target.tensor] + MAX_SHIFT
    return MAX_FRACTION


def _merged(
    ranges: list[tuple[int, int]], coefficients: np.ndarray
) -> tuple[tuple[tuple[int, int], ...], np.ndarray]:
    """Ranges and coefficients [ranges, ...] with one range for neighbours that are alike."""
    starts = [0]
    for index in range(1, len(ranges)):
        if not np.array_equal(coefficients[index], coefficients[index - 1]):
            starts.append(index)
    ends = [*starts[1:], len(ranges)]
    merged = ((ranges[a][0], ranges[b - 1][1]) for a, b in zip(starts, ends, strict=True))
    return tuple(merged), coefficients[starts]


def _matrix(layer: ConvolutionPlan, weight_bits: int) -> _Matrix:
    planes, basis = _weight_planes(layer.weights, weight_bits)
    factors = (basis * layer.scale).T
    for what, values in (("weights", factors), ("bias", layer.offset)):
        if not np.isfinite(values).all():
            raise ModelError(f"node {layer.name!r}: folded {what} must be finite, not NaN or inf")
    return _Matrix(np.ascontiguousarray(planes.transpose(0, 1, 3, 4, 2)), factors)


def _weight_planes(weights: Weights, bits: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(weights, FloatWeights):
        return float_weight_planes(weights.values, fewest_planes(weights.values, bits))
    return weights.planes, weights.basis


def _pool(pool: PoolPlan | None) -> Pool | None:
    if pool is None:
        return None
    return Pool(pool.kind, pool.window, pool.stride, pool.minimum, pool.padding)

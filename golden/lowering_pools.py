"""Maximum pools that overlap, on codes instead of on the stream.

A stream layer that pools and writes codes needs its stream stored: 18 bits for each value, of which
a code keeps two or three. Quantizers do not fall, so they commute with maxima and minima:
``code(max x) = max code(x)``. So the convolution before writes codes, and a 1 x 1 identity
convolution pools those, whose numbers it makes ascend with the levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from golden.integer_network import (
    Affine,
    CodeOutput,
    ConvolutionLayer,
    Layer,
    PoolKind,
    StreamLayer,
)

__all__ = ["ascending_weights", "pool_on_codes"]

LARGEST_WEIGHT = 8
MOST_PLANES = 4
"""Of codes that are pooled: more planes would leave little of the gain."""


def pool_on_codes(layers: Sequence[Layer]) -> list[Layer]:
    """The same layers, with maximum pools on codes where that is exact.

    Every tensor keeps its values; those of codes before pooling are new, and streams that nothing
    reads any more are gone.
    """
    result = list(layers)
    for index, layer in enumerate(layers):
        if not isinstance(layer, StreamLayer) or not _is_maximum_of_codes(layer):
            continue
        place = next(i for i, other in enumerate(result) if _stores(other, layer.source))
        before = result[place]
        assert isinstance(before, ConvolutionLayer)
        kept = sum(layer.source in _streams_read(other) for other in result) > 1
        pair = _split(before, layer, keep_stream=kept)
        if pair is not None:
            result[place], result[index] = pair
    return result


def ascending_weights(codes: np.ndarray) -> tuple[int, ...] | None:
    """Small weights of the planes, so that their sums ascend with the levels; None: there are none.

    Args:
        codes: int64 [levels]: bit j is plane j, ascending levels.
    """
    planes = int(codes.max()).bit_length()
    bits = codes[:, None] >> np.arange(planes) & 1
    varying = bits.min(axis=0) < bits.max(axis=0)
    if varying.sum() > MOST_PLANES:
        return None
    weights = np.zeros(planes, np.int64)
    for choice in product(range(1, LARGEST_WEIGHT + 1), repeat=int(varying.sum())):
        weights[varying] = choice
        if (np.diff(bits @ weights) > 0).all():
            return tuple(int(weight) for weight in weights)
    return None


def _is_maximum_of_codes(layer: StreamLayer) -> bool:
    pool = layer.pool
    return (
        isinstance(layer.outputs, CodeOutput)
        and pool is not None
        and pool.kind is PoolKind.MAXIMUM
        and layer.shift == layer.stream_shift == 0
    )


def _stores(layer: Layer, stream: str) -> bool:
    return (
        isinstance(layer, ConvolutionLayer)
        and layer.stream is not None
        and layer.stream.tensor == stream
    )


def _streams_read(layer: Layer) -> tuple[str, ...]:
    if isinstance(layer, StreamLayer):
        return (layer.source,)
    return () if layer.residual is None else (layer.residual.tensor,)


def _split(
    before: ConvolutionLayer, layer: StreamLayer, *, keep_stream: bool
) -> tuple[ConvolutionLayer, ConvolutionLayer] | None:
    """The convolution with codes, and the layer that pools them; None if that is not exact."""
    output = layer.outputs
    assert isinstance(output, CodeOutput)
    weights = ascending_weights(output.codes)
    if before.outputs is not None or weights is None:
        return None
    if layer.relu_stream and not before.relu_stream and keep_stream:
        return None
    channels = layer.input_shape[2]
    unpooled = f"{output.tensor}.unpooled"
    unchanged = Affine(np.ones(channels, np.int64), np.zeros(channels, np.int64))
    quantized = replace(
        before,
        stream=before.stream if keep_stream else None,
        relu_stream=before.relu_stream or layer.relu_stream,
        # Also where it changes nothing: the value must be that of the stream.
        affine=layer.affine or unchanged,
        relu=layer.relu,
        outputs=replace(output, tensor=unpooled),
    )
    return quantized, _pooling(layer, output, unpooled, weights)


def _pooling(
    layer: StreamLayer, output: CodeOutput, unpooled: str, weights: tuple[int, ...]
) -> ConvolutionLayer:
    """Pools codes whose planes have these weights.

    The weights of the identity are two planes: +1 everywhere, and +1 on the diagonal only. Their
    sum is 2 on the diagonal and 0 elsewhere.
    """
    channels = layer.input_shape[2]
    identity = np.ones((2, channels, 1, 1, channels), bool)
    identity[1] = np.eye(channels, dtype=bool)[:, None, None, :]
    factors = np.zeros(output.planes, np.int64)
    factors[: len(weights)] = weights
    bits = output.codes[:, None] >> np.arange(output.planes) & 1
    return ConvolutionLayer(
        name=layer.name,
        source=unpooled,
        input_shape=layer.input_shape,
        convolution_shape=layer.input_shape,
        output_shape=layer.output_shape,
        weight_planes=identity,
        coefficients=np.broadcast_to(factors, (1, channels, 2, output.planes)).copy(),
        ranges=((0, channels),),
        bias=np.zeros(channels, np.int64),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        weight_label="W2",
        # Not a plane that never changes: that of signed codes.
        source_label=f"A{sum(weight > 0 for weight in weights)}",
        fraction=0,
        pool=layer.pool,
        # A sum is above that of a level if it is of a higher one.
        outputs=replace(output, thresholds=2 * (bits @ factors)[:-1]),
    )

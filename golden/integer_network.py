"""The integer network: what the accelerator computes, independent of any accelerator.

An :class:`IntegerNetwork` is a list of layers in execution order. Every number in it is an
integer; executing it (``golden.integer_reference``) defines, bit for bit, what the functional
simulator, the gateware and the board must produce. It is derived from an exported ONNX file by
``golden.lowering``.

Arithmetic of one :class:`ConvolutionLayer` (all integers, ``acc`` has ``Arithmetic.accumulator``
bits and never overflows: lowering proves the bound)::

    D[c,i,j,s](y,x) = sum over taps k of range s of (2*w[c,i,k]-1) * a_j[k]
                                                    a_j in {0,1}, and 0 outside the image
    acc[c] = bias[c] + sum_{s,i,j} coefficient[s,c,i,j] * D[c,i,j,s]
    v = acc + (residual << residual_shift)          residual: sum of r x r stream values
    v = max(v, 0)                                   if relu_stream
    s = saturate(round_shift(v, stream_shift), Arithmetic.stream)      if stream or affine
    u = s * gain[c] + offset[c]                     if affine, else u = v
    u = max(u, 0)                                   if relu
    p = max / min / sum of u over the pool window   max-pool takes min where pool_minimum[c]
    output = codes (thresholds), fixed point, or the raw 32-bit value

``round_shift`` and ``saturate`` are those of :mod:`golden.fixed_point`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "Affine",
    "Arithmetic",
    "CodeOutput",
    "Concatenation",
    "ConvolutionLayer",
    "FixedPointOutput",
    "ImageInput",
    "IntegerNetwork",
    "Layer",
    "Output",
    "Pool",
    "PoolKind",
    "RawOutput",
    "Residual",
    "StreamLayer",
    "StreamOutput",
]


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Widths in bits of the numbers in the datapath."""

    coefficient: int = 18
    """Coefficients and affine gains (signed): one operand of an 18 x 18 multiplier."""

    accumulator: int = 32
    """Accumulators, biases, offsets, thresholds and everything up to the output (signed)."""

    stream: int = 18
    """Stored fixed-point tensors: the residual stream (signed)."""

    planes_maximum: int = 16
    """Most bit planes that a stored tensor can have."""


class PoolKind(enum.Enum):
    """How values inside a pool window are combined."""

    MAXIMUM = "maximum"
    SUM = "sum"


@dataclass(frozen=True)
class ImageInput:
    """Raw image tensor: uint8 in the file, stored as ``value - 128`` in 8 two's complement planes.

    Its plane ``j`` is bit ``j`` of ``(pixel - 128) & 0xff``; zero padding is pixel value 128.
    """

    name: str
    height: int
    width: int
    channels: int
    """1 to 4."""


@dataclass(frozen=True)
class Residual:
    """Stream tensor added to the accumulator.

    ``acc += (sum over r x r window, stride r, of stream[channel_map[c]]) << shift``; channels
    whose ``channel_map`` entry is -1 add nothing. ``window`` is 1, or 2 for the shortcut that
    halves the image by average pooling (the division by 4 is part of the scales).
    """

    tensor: str
    window: int
    shift: int
    channel_map: np.ndarray
    """int64 [out_channels]: source channel or -1."""


@dataclass(frozen=True)
class StreamOutput:
    """Stored fixed-point tensor ``s`` (``Arithmetic.stream`` bits), value ``s * 2**-fraction``."""

    tensor: str
    fraction: int
    """Fraction bits: only for reports, the arithmetic needs none."""


@dataclass(frozen=True)
class Affine:
    """Per-channel ``s * gain + offset``: a batch-norm on the stored stream."""

    gain: np.ndarray
    """int64 [out_channels], fits ``Arithmetic.coefficient`` bits."""
    offset: np.ndarray
    """int64 [out_channels], fits ``Arithmetic.accumulator`` bits."""


@dataclass(frozen=True)
class Pool:
    """Pool window. Sums never overlap or leave the image: lowering refuses or rewrites what would.

    Maxima may in stream layers, and behind a 1 x 1 convolution of stride 1 without padding.
    """

    kind: PoolKind
    window: tuple[int, int]
    """Height, width."""
    stride: tuple[int, int]
    minimum: np.ndarray
    """bool [out_channels]: take the minimum instead (negative batch-norm scale folded before)."""
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, left, bottom, right: windows are clipped to the image."""


@dataclass(frozen=True)
class CodeOutput:
    """Learned levels: ``codes[number of thresholds strictly below the value]``.

    A tensor with the {-1,+1} encoding of K planes is stored as K + 1 {0,1} planes, the last of
    them constant one inside the image (zero padding then stays exact).
    """

    tensor: str
    planes: int
    """Stored planes."""
    thresholds: np.ndarray
    """int64, ascending, one less than ``codes``; value > threshold passes it."""
    codes: np.ndarray
    """int64 [levels]: bit j is plane j. Any order is legal."""


@dataclass(frozen=True)
class FixedPointOutput:
    """``saturate(round_shift(p, shift), bits)`` in ``bits`` two's complement planes."""

    tensor: str
    bits: int
    shift: int
    fraction: int
    """Fraction bits of the stored value: only for reports."""


@dataclass(frozen=True)
class RawOutput:
    """The accumulator itself: the network's logits, value ``p * 2**-fraction``."""

    tensor: str
    fraction: int


Output = CodeOutput | FixedPointOutput | RawOutput


@dataclass(frozen=True, kw_only=True)
class ConvolutionLayer:
    """Convolution or linear layer (a linear layer has a 1 x 1 kernel on a 1 x 1 image)."""

    name: str
    source: str
    """Plane tensor that is read: the image, or a code or fixed-point output."""
    input_shape: tuple[int, int, int]
    """Height, width, channels of the source."""
    convolution_shape: tuple[int, int, int]
    """Height, width, channels before pooling."""
    output_shape: tuple[int, int, int]
    """Height, width, channels after pooling."""
    weight_planes: np.ndarray
    """bool [weight_bits, out_channels, kernel_h, kernel_w, in_channels]; True is +1."""
    coefficients: np.ndarray
    """int64 [ranges, out_channels, weight_bits, source planes]."""
    ranges: tuple[tuple[int, int], ...]
    """Input channel ranges [first, last) with their own basis; they cover all channels in order."""
    bias: np.ndarray
    """int64 [out_channels]."""
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    """Top, left, bottom, right rows and columns of zeros."""
    weight_label: str
    """For reports: 'W2', 'W8'..."""
    source_label: str
    """For reports: 'A2', 'A8'..."""
    fraction: int
    """Fraction bits of the accumulator: only for reports."""
    residual: Residual | None = None
    relu_stream: bool = False
    stream: StreamOutput | None = None
    stream_shift: int = 0
    affine: Affine | None = None
    relu: bool = False
    pool: Pool | None = None
    outputs: Output | None = None
    """None only if ``stream`` is given."""
    images: int = 1
    """Images that lie one below the other in all tensors: padding and windows keep to each."""


@dataclass(frozen=True, kw_only=True)
class StreamLayer:
    """Pass over a stream tensor without convolution: pooling or batch-norm on stored values.

    ``v = stream << shift``, then relu_stream, affine, relu, pool, output as in the module text
    (``s`` is ``saturate(round_shift(v, stream_shift))``). Pool windows may overlap here.
    """

    name: str
    source: str
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    shift: int
    stream_shift: int
    fraction: int
    relu_stream: bool = False
    affine: Affine | None = None
    relu: bool = False
    pool: Pool | None = None
    outputs: Output
    images: int = 1
    """As in a convolution layer."""


Layer = ConvolutionLayer | StreamLayer


@dataclass(frozen=True)
class Concatenation:
    """A plane tensor that is the concatenation of others along the channels; no layer writes it.

    Its sources have equal heights, widths and numbers of planes.
    """

    tensor: str
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class IntegerNetwork:
    """Layers in execution order; each tensor is written once, before it is read."""

    name: str
    image: ImageInput
    layers: tuple[Layer, ...]
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    labels: tuple[str, ...] = ()
    """Class names, if the model carries them."""
    concatenations: tuple[Concatenation, ...] = ()
    """Tensors that layers read as one although several layers write them."""
    images: int = 1
    """Images that the network takes at once, one below the other (``golden.batching``)."""

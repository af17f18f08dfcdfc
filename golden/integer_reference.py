"""Execution of the integer network: the bit-exact reference of simulator, gateware and board.

Convolutions are in floats and exact: all operands are integers, and no partial sum can leave the
range in which the type holds every integer. Weights are split into digits so that float32 suffices;
float64 is the second choice. All else is int64.

Tensors are int64 [N, height, width, channels]: codes as numbers (bit j is plane j), fixed-point
and stream values as signed numbers, logits as accumulator values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.fixed_point import round_shift, saturate, signed_range
from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
    Layer,
    Output,
    Pool,
    PoolKind,
    Residual,
)

__all__ = ["IntegerReference", "classify", "logits_name", "run"]

EXACT = {torch.float32: 1 << 24, torch.float64: 1 << 53}
"""Integers up to here are exact."""

DIGITS = 3
"""Most float32 digits; beyond that float64 is as fast."""

PIXEL_OFFSET = 128
OUTSIDE = -(1 << 62)
"""Pool padding: below every value."""


def run(
    network: IntegerNetwork,
    images: np.ndarray,
    *,
    keep: Collection[str] | None = None,
    accumulators: bool = False,
) -> dict[str, np.ndarray]:
    """Execute ``network`` on uint8 images [N, height, width, channels].

    Args:
        network: The network.
        images: Raw pixels.
        keep: Names of the tensors to return; None returns all.
        accumulators: Also return each convolution's accumulators before the residual, as
            ``<layer>.accumulator``.
    """
    return IntegerReference(network).run(images, keep=keep, accumulators=accumulators)


def logits_name(network: IntegerNetwork) -> str:
    """Name of the tensor that the last layer writes."""
    outputs = network.layers[-1].outputs
    if outputs is None:
        raise ValueError("the last layer must have an output, not only a stream")
    return outputs.tensor


def classify(network: IntegerNetwork, images: np.ndarray, batch: int = 100) -> np.ndarray:
    """Class with the largest logit (the first of equals) per image: int64 [N]."""
    reference = IntegerReference(network)
    name = logits_name(network)
    classes = [
        reference.run(images[start : start + batch], keep=(name,))[name]
        .reshape(len(images[start : start + batch]), -1)
        .argmax(axis=1)
        for start in range(0, len(images), batch)
    ]
    return np.concatenate(classes)


@dataclass(frozen=True)
class _Matrix:
    """One layer's weights and coefficients combined: integers, split into signed digits."""

    values: Tensor
    """Float [digits * out_channels, planes * channels, kernel_h, kernel_w], channels innermost."""
    planes: int
    digits: int
    digit_bits: int


class IntegerReference:
    """A network prepared for execution.

    Args:
        network: The network.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self._matrices = {
            layer.name: _matrix(layer)
            for layer in network.layers
            if isinstance(layer, ConvolutionLayer)
        }
        self._last_use = _last_uses(network)

    def run(
        self,
        images: np.ndarray,
        *,
        keep: Collection[str] | None = None,
        accumulators: bool = False,
    ) -> dict[str, np.ndarray]:
        """As :func:`run`."""
        image = self.network.image
        shape = (image.height, image.width, image.channels)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images must be uint8 [N, {', '.join(map(str, shape))}], "
                f"not {images.dtype} {list(images.shape)}"
            )
        pixels = torch.from_numpy(images.astype(np.int64)) - PIXEL_OFFSET
        tensors: dict[str, Tensor] = {image.name: pixels}
        kept: dict[str, np.ndarray] = {}
        for index, layer in enumerate(self.network.layers):
            written = self._execute(layer, tensors)
            for name, value in written.items():
                if name.endswith(".accumulator"):
                    wanted = accumulators
                else:
                    tensors[name] = value
                    wanted = keep is None or name in keep
                if wanted:
                    kept[name] = value.numpy()
            for name in [name for name, last in self._last_use.items() if last == index]:
                tensors.pop(name, None)
        return kept

    def _execute(self, layer: Layer, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """All tensors that the layer writes, and its accumulator."""
        source = _apart(self._gather(layer.source, tensors), layer.images)
        residual = None
        if isinstance(layer, ConvolutionLayer) and layer.residual is not None:
            residual = _apart(tensors[layer.residual.tensor], layer.images)
        written = self._compute(layer, source, residual)
        return {name: _together(value, layer.images) for name, value in written.items()}

    def _compute(self, layer: Layer, source: Tensor, residual: Tensor | None) -> dict[str, Tensor]:
        """What the layer writes for each image; ``residual`` is the stream that it adds."""
        written: dict[str, Tensor] = {}
        if isinstance(layer, ConvolutionLayer):
            value = _convolve(layer, self._matrices[layer.name], source)
            written[f"{layer.name}.accumulator"] = value
            if layer.residual is not None and residual is not None:
                value = value + _residual(layer.residual, residual)
            stream = layer.stream
        else:
            value = source << layer.shift
            stream = None
        self._check(layer, value)
        if layer.relu_stream:
            value = value.clamp(min=0)
        if stream is not None or layer.affine is not None:
            shifted = round_shift(value, layer.stream_shift)
            stored = saturate(shifted, self.network.arithmetic.stream)
            if stream is not None:
                written[stream.tensor] = stored
            if layer.affine is not None:
                gain, offset = (
                    torch.from_numpy(array) for array in (layer.affine.gain, layer.affine.offset)
                )
                value = stored * gain + offset
                self._check(layer, value)
        if layer.outputs is None:
            return written
        if layer.relu:
            value = value.clamp(min=0)
        if layer.pool is not None:
            height, width, _ = layer.output_shape
            value = _pool(layer.pool, value, (height // layer.images, width))
            self._check(layer, value)
        written[layer.outputs.tensor] = _output(layer.outputs, value)
        return written

    def _gather(self, name: str, tensors: dict[str, Tensor]) -> Tensor:
        """A plane tensor, concatenated if that is what it is."""
        for concatenation in self.network.concatenations:
            if concatenation.tensor == name:
                return torch.cat([tensors[source] for source in concatenation.sources], dim=3)
        return tensors[name]

    def _check(self, layer: Layer, value: Tensor) -> None:
        low, high = signed_range(self.network.arithmetic.accumulator)
        if value.numel() and (int(value.min()) < low or int(value.max()) > high):
            raise OverflowError(
                f"layer {layer.name!r}: values must fit "
                f"{self.network.arithmetic.accumulator} bits, not {int(value.min())}.."
                f"{int(value.max())}"
            )


def _apart(tensor: Tensor, images: int) -> Tensor:
    """Images that lie one below the other, each for itself: [N * images, height, ...]."""
    return tensor.unflatten(1, (images, -1)).flatten(0, 1)


def _together(tensor: Tensor, images: int) -> Tensor:
    """The inverse of :func:`_apart`."""
    return tensor.unflatten(0, (-1, images)).flatten(1, 2)


def _last_uses(network: IntegerNetwork) -> dict[str, int]:
    """Index of the last layer that reads each tensor."""
    parts = {entry.tensor: entry.sources for entry in network.concatenations}
    uses: dict[str, int] = {}
    for index, layer in enumerate(network.layers):
        for name in _reads(layer):
            for part in parts.get(name, (name,)):
                uses[part] = index
    return uses


def _reads(layer: Layer) -> Iterator[str]:
    yield layer.source
    if isinstance(layer, ConvolutionLayer) and layer.residual is not None:
        yield layer.residual.tensor


def _matrix(layer: ConvolutionLayer) -> _Matrix:
    """Sum over weight planes of coefficient * (2 w - 1), per tap, channel and source plane."""
    signs = 2 * layer.weight_planes.astype(np.int64) - 1
    _, channels_out, rows, columns, channels = signs.shape
    planes = layer.coefficients.shape[3]
    combined = np.empty((channels_out, rows, columns, channels, planes), dtype=np.int64)
    for (first, last), coefficients in zip(layer.ranges, layer.coefficients, strict=True):
        combined[..., first:last, :] = np.einsum(
            "iouvk,oij->ouvkj", signs[..., first:last], coefficients
        )
    flat = combined.swapaxes(3, 4).reshape(channels_out, -1)
    width = int(np.abs(flat).max()).bit_length() + 1
    choices = [(torch.float32, digits) for digits in range(1, DIGITS + 1)] + [(torch.float64, 1)]
    for dtype, digits in choices:
        digit_bits = -(-width // digits)
        split = _split(flat, digits, digit_bits)
        if np.abs(split).sum(axis=1, dtype=np.float64).max() < EXACT[dtype]:
            shape = (digits * channels_out, rows, columns, planes * channels)
            values = torch.from_numpy(split.reshape(shape)).to(dtype).permute(0, 3, 1, 2)
            return _Matrix(values, planes, digits, digit_bits)
    raise OverflowError(f"layer {layer.name!r}: sums must stay below 2**53 to be exact, but do not")


def _split(values: np.ndarray, digits: int, bits: int) -> np.ndarray:
    """Digits of base 2^bits, lowest first along axis 0; the highest carries the sign."""
    parts = []
    for _ in range(digits - 1):
        low = values & ((1 << bits) - 1)
        parts.append(low)
        values = (values - low) >> bits
    return np.concatenate([*parts, values])


def _convolve(layer: ConvolutionLayer, matrix: _Matrix, source: Tensor) -> Tensor:
    """Accumulators int64 [N, height, width, channels] with the bias."""
    count, height, width, channels = source.shape
    top, left, bottom, right = layer.padding
    padded = torch.zeros(
        (count, height + top + bottom, width + left + right, matrix.planes, channels),
        dtype=matrix.values.dtype,
    )
    inside = padded[:, top : top + height, left : left + width]
    for plane in range(matrix.planes):
        inside[..., plane, :] = (source >> plane) & 1
    # Channels are the innermost axis of both sides already. Whatever the order of the additions,
    # no sum is rounded; oneDNN, which does this, has no algorithm that multiplies sums.
    sums = torch.nn.functional.conv2d(
        padded.flatten(3).permute(0, 3, 1, 2), matrix.values, stride=layer.stride
    )
    places = sums.permute(0, 2, 3, 1).unflatten(3, (matrix.digits, -1)).unbind(3)
    total = torch.from_numpy(layer.bias)
    for digit, place in enumerate(places):
        total = total + (place.to(torch.int64) << (digit * matrix.digit_bits))
    return total


def _strided(
    x: Tensor, top: int, left: int, stride: tuple[int, int], outputs: tuple[int, int]
) -> Tensor:
    """Every stride-th element from (top, left), ``outputs`` of them."""
    bottom = top + (outputs[0] - 1) * stride[0] + 1
    right = left + (outputs[1] - 1) * stride[1] + 1
    return x[:, top : bottom : stride[0], left : right : stride[1]]


def _residual(residual: Residual, stream: Tensor) -> Tensor:
    """What the residual adds to the accumulators."""
    window = residual.window
    outputs = stream.shape[1] // window, stream.shape[2] // window
    total = torch.zeros((stream.shape[0], *outputs, stream.shape[3]), dtype=torch.int64)
    for y in range(window):
        for x in range(window):
            total += _strided(stream, y, x, (window, window), outputs)
    channel_map = torch.from_numpy(residual.channel_map)
    picked = total[..., channel_map.clamp(min=0)]
    return torch.where(channel_map >= 0, picked, 0) << residual.shift


def _pool(pool: Pool, value: Tensor, outputs: tuple[int, int]) -> Tensor:
    top, left, bottom, right = pool.padding
    maximum = pool.kind is PoolKind.MAXIMUM
    sign = torch.where(torch.from_numpy(pool.minimum), -1, 1)
    # The minimum is the negated maximum of the negated values.
    oriented = value * sign if maximum else value
    outside = OUTSIDE if maximum else 0
    oriented = torch.nn.functional.pad(oriented, (0, 0, left, right, top, bottom), value=outside)
    total = _strided(oriented, 0, 0, pool.stride, outputs).clone()
    for y in range(pool.window[0]):
        for x in range(pool.window[1]):
            if (y, x) == (0, 0):
                continue
            part = _strided(oriented, y, x, pool.stride, outputs)
            total = torch.maximum(total, part) if maximum else total + part
    return total * sign if maximum else total


def _output(output: Output, value: Tensor) -> Tensor:
    if isinstance(output, CodeOutput):
        index = torch.bucketize(value, torch.from_numpy(output.thresholds))
        return torch.from_numpy(output.codes)[index]
    if isinstance(output, FixedPointOutput):
        return saturate(round_shift(value, output.shift), output.bits)
    return value

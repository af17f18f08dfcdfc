"""Execution of the integer network: the bit-exact reference of simulator, gateware and board.

Convolutions are in floats and exact (:mod:`golden.exact_convolution`). All else is int64.

Tensors are int64 [N, height, width, channels]: codes as numbers (bit j is plane j), fixed-point
and stream values as signed numbers, logits as accumulator values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch
from torch import Tensor

from golden.exact_convolution import ExactConvolution
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


class IntegerReference:
    """A network prepared for execution.

    Args:
        network: The network.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self._convolutions = {
            layer.name: ExactConvolution(layer)
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
            value = self._convolutions[layer.name](source)
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

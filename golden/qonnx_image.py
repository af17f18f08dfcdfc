"""The image of a QONNX file: what its first operators make of a pixel, folded into the weights.

The accelerator reads pixels p as (p - 128) / 128. A file's first layer reads what its own operators
make of them: a normalisation, and maybe a quantizer with 8 bits. These look at one pixel at a time,
so they are followed as a table with an entry per pixel value and channel. If the table is a
straight line, its slope goes into the weights and its value at pixel 128 into the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.graph import FloatWeights, Node, QuantizedWeights, Weights
from golden.onnx_reader import NodeReader

__all__ = ["Pixels", "fold_pixels", "normalised_pixels"]

OFFSET = 128
SCALE = 128

STRAIGHTNESS = 1e-5
"""Largest distance from the line, as a share of the largest value: float32 arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Pixels(Node):
    """A tensor whose every element depends on one pixel and its channel only."""

    table: np.ndarray
    """float32 [channels, 256]: the value by pixel value."""


def normalised_pixels(channels: int) -> np.ndarray:
    """Table of the image as the accelerator takes it: (p - 128) / 128."""
    values = (np.arange(256, dtype=np.float32) - np.float32(OFFSET)) / np.float32(SCALE)
    return np.tile(values, (channels, 1))


def fold_pixels(
    reader: NodeReader, source: Pixels, weights: Weights, bias: np.ndarray, padded: bool
) -> tuple[Weights, np.ndarray]:
    """Weights and bias that do on (p - 128) / 128 what the given ones do on ``source``.

    Args:
        reader: The first layer.
        source: Its input.
        weights: Of shape [Cout, Cin, ...]; behind flattening, Cin counts all elements.
        bias: float64 [Cout].
        padded: Whether the layer adds zeros around the image.
    """
    gains, offsets = _lines(reader, source)
    largest = float(offsets[np.abs(offsets).argmax()])
    reader.require(
        not padded or largest == 0,
        f"a padded image must be 0 at pixel {OFFSET}, not {largest:g}: normalise it as "
        f"(pixel - {OFFSET}) * c, or do not pad",
    )
    values = weights.values
    elements = values.shape[1] // len(gains)
    gains, offsets = gains.repeat(elements), offsets.repeat(elements)
    bias = bias + values.reshape(*values.shape[:2], -1).sum(axis=2) @ offsets
    if isinstance(weights, FloatWeights):
        return FloatWeights(values * gains.reshape(-1, *(1,) * (values.ndim - 2))), bias
    reader.require(
        bool((gains == gains[0]).all()),
        "all channels of an image that quantized weights read must be scaled alike, "
        f"not by {sorted(set(gains.tolist()))}",
    )
    return QuantizedWeights(weights.planes, weights.basis * gains[0]), bias


def _lines(reader: NodeReader, source: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Slope and value at pixel 128 per channel (float64 [channels]), in (p - 128) / 128."""
    table = source.table.astype(np.float64)
    gains = (table[:, 255] - table[:, 0]) * (SCALE / 255)
    offsets = table[:, OFFSET]
    lines = offsets[:, None] + gains[:, None] * normalised_pixels(len(table))
    reader.require(
        bool(np.abs(table - lines).max() <= STRAIGHTNESS * np.abs(table).max()),
        f"{source.name!r} must be a linear function of the pixels 0..255, but is not: a quantizer "
        f"of the image must keep all 256 values apart (a float input of the file is taken as "
        f"(pixel - {OFFSET}) / {SCALE})",
    )
    return gains, offsets

"""Convolutions of integers in floats, and exact.

All operands are integers, and no partial sum can leave the range in which the type holds every
integer. Weights are split into digits so that float32 suffices; float64 is the second choice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from golden.integer_network import ConvolutionLayer

__all__ = ["ExactConvolution"]

EXACT = {torch.float32: 1 << 24, torch.float64: 1 << 53}
"""Integers up to here are exact."""

DIGITS = 3
"""Most float32 digits; beyond that float64 is as fast."""


class ExactConvolution:
    """A layer's convolution, its weights and coefficients combined.

    Args:
        layer: The layer. Raises :class:`OverflowError` if its sums are too large for every type.
    """

    def __init__(self, layer: ConvolutionLayer) -> None:
        self._layer = layer
        self._planes = layer.coefficients.shape[3]
        combined = _combined(layer)
        channels_out, rows, columns, _, channels = combined.shape
        flat = combined.reshape(channels_out, -1)
        width = int(np.abs(flat).max()).bit_length() + 1
        choices = [(torch.float32, digits) for digits in range(1, DIGITS + 1)]
        for dtype, digits in [*choices, (torch.float64, 1)]:
            digit_bits = -(-width // digits)
            split = _split(flat, digits, digit_bits)
            if np.abs(split).sum(axis=1, dtype=np.float64).max() < EXACT[dtype]:
                break
        else:
            raise OverflowError(
                f"layer {layer.name!r}: sums must stay below 2**53 to be exact, but do not"
            )
        shape = (digits * channels_out, rows, columns, self._planes * channels)
        # [digits * out_channels, planes * channels, kernel_h, kernel_w], channels innermost.
        self._values = torch.from_numpy(split.reshape(shape)).to(dtype).permute(0, 3, 1, 2)
        self._digits, self._digit_bits = digits, digit_bits

    def __call__(self, source: Tensor) -> Tensor:
        """Accumulators int64 [N, height, width, channels] with the bias, of codes of that shape."""
        count, height, width, channels = source.shape
        top, left, bottom, right = self._layer.padding
        padded = torch.zeros(
            (count, height + top + bottom, width + left + right, self._planes, channels),
            dtype=self._values.dtype,
        )
        inside = padded[:, top : top + height, left : left + width]
        for plane in range(self._planes):
            inside[..., plane, :] = (source >> plane) & 1
        # Channels are the innermost axis of both sides already. Whatever the order of the
        # additions, no sum is rounded; oneDNN, which does this, has no algorithm that multiplies
        # sums.
        sums = torch.nn.functional.conv2d(
            padded.flatten(3).permute(0, 3, 1, 2), self._values, stride=self._layer.stride
        )
        places = sums.permute(0, 2, 3, 1).unflatten(3, (self._digits, -1)).unbind(3)
        total = torch.from_numpy(self._layer.bias)
        for digit, place in enumerate(places):
            total = total + (place.to(torch.int64) << (digit * self._digit_bits))
        return total


def _combined(layer: ConvolutionLayer) -> np.ndarray:
    """Sum over weight planes of coefficient * (2 w - 1): int64 [out_channels, kernel_h, kernel_w,
    planes, channels]."""
    signs = 2 * layer.weight_planes.astype(np.int64) - 1
    _, channels_out, rows, columns, channels = signs.shape
    planes = layer.coefficients.shape[3]
    combined = np.empty((channels_out, rows, columns, channels, planes), dtype=np.int64)
    for (first, last), coefficients in zip(layer.ranges, layer.coefficients, strict=True):
        combined[..., first:last, :] = np.einsum(
            "iouvk,oij->ouvkj", signs[..., first:last], coefficients
        )
    return combined.swapaxes(3, 4)


def _split(values: np.ndarray, digits: int, bits: int) -> np.ndarray:
    """Digits of base 2^bits, lowest first along axis 0; the highest carries the sign."""
    parts = []
    for _ in range(digits - 1):
        low = values & ((1 << bits) - 1)
        parts.append(low)
        values = (values - low) >> bits
    return np.concatenate([*parts, values])

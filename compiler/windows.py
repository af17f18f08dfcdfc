"""Windows of a convolution as granules: where they lie in a column buffer, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from golden.integer_network import ConvolutionLayer

from .layout import NO_CHANNEL, PlaneLayout

__all__ = ["NO_TAP", "Granule", "window_granules"]

NO_TAP = -1


@dataclass(frozen=True)
class Granule:
    """One granule of a window: where it lies and the kernel input that each lane holds."""

    row: int
    """Buffer row, from the first one of the window."""
    offset: int
    """Granule in the row, from the first one of the window."""
    taps: np.ndarray
    """int [rows]: flat index into (kernel_h, kernel_w, in_channels), or ``NO_TAP``."""

    def of_plane(self, plane: int) -> Granule:
        """The same channels in another activation plane (this is plane 0)."""
        return replace(self, offset=self.offset + plane)


def window_granules(
    layer: ConvolutionLayer, source: PlaneLayout | None, rows: int, span: tuple[int, int]
) -> list[Granule]:
    """Granules of one window and one plane over the input channels [span), taps in row-major order.

    ``source`` is None for the image.
    """
    if source is None:
        return _patch_granules(layer, rows)
    return _tensor_granules(layer, source, span)


def _tensor_granules(
    layer: ConvolutionLayer, source: PlaneLayout, span: tuple[int, int]
) -> list[Granule]:
    _, _, kernel_h, kernel_w, channels = layer.weight_planes.shape
    granules = []
    rows = source.rows
    for dy in range(kernel_h):
        for dx in range(kernel_w):
            for block in range(source.blocks):
                held = np.array(source.order[block * rows : (block + 1) * rows])
                inside = (held != NO_CHANNEL) & (held >= span[0]) & (held < span[1])
                if not inside.any():
                    continue
                taps = np.where(inside, (dy * kernel_w + dx) * channels + held, NO_TAP)
                offset = dx * source.pixel_stride + source.block_granule(block)
                granules.append(Granule(dy, offset, taps))
    return granules


def _patch_granules(layer: ConvolutionLayer, rows: int) -> list[Granule]:
    """Row patches of the image: channel 4 * age + byte, age 0 the newest pixel."""
    _, _, kernel_h, kernel_w, channels = layer.weight_planes.shape
    granules = []
    for dy in range(kernel_h):
        for block in range(-(-4 * kernel_w // rows)):
            position = block * rows + np.arange(rows)
            dx, byte = kernel_w - 1 - position // 4, position % 4
            inside = (dx >= 0) & (byte < channels)
            taps = np.where(inside, (dy * kernel_w + dx) * channels + byte, NO_TAP)
            granules.append(Granule(dy, block * 8, taps))
    return granules

"""Tables of one layer: windows, passes, weights, coefficients, parameters, thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.integer_network import CodeOutput, ConvolutionLayer, Layer
from hw.config import AcceleratorConfig

from .layout import NO_CHANNEL, PlaneLayout
from .program import ProgramError

__all__ = ["ConvolutionTables", "Pass", "convolution_tables", "parameter_words", "threshold_words"]

LARGEST_THRESHOLD = (1 << 31) - 1


@dataclass(frozen=True)
class Pass:
    """One pass table entry; ``window`` is relative to the layer's first window entry."""

    window: int
    length: int
    plane: int
    weight: int
    range_index: int
    weight_plane: int


@dataclass(frozen=True)
class ConvolutionTables:
    """What the array needs for one layer.

    ``window_rows``, ``window_offsets`` int [words, 2]: buffer row and granule in the row;
    ``masks`` bool [words, lanes]; ``weights`` bool [tiles, weight words, rows, lanes];
    ``coefficients`` int [tiles, passes, rows].
    """

    window_rows: np.ndarray
    window_offsets: np.ndarray
    masks: np.ndarray
    passes: tuple[Pass, ...]
    weights: np.ndarray
    coefficients: np.ndarray

    def windows(self, row_granules: int) -> np.ndarray:
        """int [words, 2] granule offsets when a buffer row has ``row_granules``."""
        return self.window_rows * row_granules + self.window_offsets

    def strip_cycles(self, config: AcceleratorConfig) -> int:
        """Cycles of one strip of one tile in steady state."""
        period = config.array.drain_period
        return max(config.array.columns, sum(max(p.length, period) for p in self.passes))


@dataclass(frozen=True)
class _Granule:
    """One granule of a window: where it lies and the kernel input that each lane holds."""

    row: int
    offset: int
    taps: np.ndarray
    """int [rows]: flat index into (kernel_h, kernel_w, in_channels), or -1."""


def _window_granules(
    layer: ConvolutionLayer, source: PlaneLayout, span: tuple[int, int]
) -> list[_Granule]:
    """Granules of one window over channels [span), taps in row-major order, block by block."""
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
                taps = np.where(inside, (dy * kernel_w + dx) * channels + held, -1)
                offset = dx * source.pixel_stride + source.block_granule(block)
                granules.append(_Granule(dy, offset, taps))
    return granules


def _patch_granules(layer: ConvolutionLayer, rows: int, blocks: int) -> list[_Granule]:
    """Granules of one window of row patches: channel 4 * age + byte, age 0 the newest pixel."""
    _, _, kernel_h, kernel_w, channels = layer.weight_planes.shape
    granules = []
    for dy in range(kernel_h):
        for block in range(blocks):
            position = block * rows + np.arange(rows)
            dx, byte = kernel_w - 1 - position // 4, position % 4
            inside = (dx >= 0) & (byte < channels)
            taps = np.where(inside, (dy * kernel_w + dx) * channels + byte, -1)
            granules.append(_Granule(dy, block * 8, taps))
    return granules


def convolution_tables(
    layer: ConvolutionLayer,
    config: AcceleratorConfig,
    source: PlaneLayout | None,
    order: tuple[int, ...],
) -> ConvolutionTables:
    """Tables of a layer.

    ``source`` is None for the image (row patches); ``order`` is the output's channel order.
    """
    rows, lanes = config.array.rows, config.array.lanes
    weight_bits, _, kernel_h, kernel_w, channels = layer.weight_planes.shape
    words: list[tuple[_Granule, _Granule]] = []
    taps: list[np.ndarray] = []
    passes: list[Pass] = []
    weight_words = 0
    weight_slices: list[tuple[int, int, int]] = []  # window first, words, weight plane
    for range_index, span in enumerate(layer.ranges):
        if source is None:
            blocks = -(-4 * kernel_w // rows)
            granules = _patch_granules(layer, rows, blocks)
        else:
            granules = _window_granules(layer, source, span)
        first = len(words)
        for low, high in zip(granules[::2], granules[1::2] + [None], strict=False):
            empty = np.full(rows, -1)
            words.append((low, high or low))
            taps.append(np.concatenate([low.taps, high.taps if high else empty]))
        planes = layer.coefficients.shape[3]
        for start, length in _segments(first, len(words) - first, config):
            for weight_plane in range(weight_bits):
                for plane in range(planes):
                    passes.append(
                        Pass(start, length, plane, weight_words, range_index, weight_plane)
                    )
                weight_slices.append((start, length, weight_plane))
                weight_words += length
    tap_index = np.array(taps)  # [window words, lanes]
    bits = _weight_bits(layer, order, rows, tap_index, weight_slices)
    coefficients = np.zeros((len(order), len(passes)), np.int64)
    held = np.array(order)
    real = held != NO_CHANNEL
    for index, entry in enumerate(passes):
        column = layer.coefficients[entry.range_index, :, entry.weight_plane, entry.plane]
        coefficients[real, index] = column[held[real]]
    tiles = len(order) // rows
    return ConvolutionTables(
        window_rows=np.array([[g.row for g in pair] for pair in words]),
        window_offsets=np.array([[g.offset for g in pair] for pair in words]),
        masks=tap_index >= 0,
        passes=tuple(passes),
        weights=bits.reshape(tiles, rows, weight_words, lanes).transpose(0, 2, 1, 3),
        coefficients=coefficients.reshape(tiles, rows, len(passes)).transpose(0, 2, 1),
    )


def _segments(first: int, words: int, config: AcceleratorConfig) -> list[tuple[int, int]]:
    """Cut a window into passes whose counts fit the element accumulators: (first, length)."""
    longest = config.array.pass_words_maximum
    count = -(-words // longest)
    cuts = [first + words * k // count for k in range(count + 1)]
    return [(a, b - a) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def _weight_bits(
    layer: ConvolutionLayer,
    order: tuple[int, ...],
    rows: int,
    tap_index: np.ndarray,
    slices: list[tuple[int, int, int]],
) -> np.ndarray:
    """bool [positions, weight words, lanes]: plane bits, 0 where a lane or row holds nothing."""
    weight_bits, out_channels = layer.weight_planes.shape[:2]
    flat = layer.weight_planes.reshape(weight_bits, out_channels, -1)
    flat = np.pad(flat, ((0, 0), (0, 1), (0, 1)))  # index -1 reads zeros on both axes
    pieces = [
        flat[plane][np.array(order)][:, tap_index[start : start + length]]
        for start, length, plane in slices
    ]
    return np.concatenate(pieces, axis=1)


def parameter_words(layer: Layer, order: tuple[int, ...], rows: int) -> np.ndarray:
    """uint32 [tiles, rows * 3]: bias, offset, gain (bit 31: minimum in maximum pooling)."""
    count = len(order)
    held = np.array(order)
    real = held != NO_CHANNEL
    words = np.zeros((count, 3), np.int64)
    if isinstance(layer, ConvolutionLayer):
        words[real, 0] = layer.bias[held[real]]
    if layer.affine is not None:
        words[real, 1] = layer.affine.offset[held[real]]
        words[real, 2] = layer.affine.gain[held[real]] & 0x3FFFF
    if layer.pool is not None:
        words[real, 2] |= layer.pool.minimum[held[real]].astype(np.int64) << 31
    return (words & 0xFFFFFFFF).astype(np.uint32).reshape(count // rows, rows * 3)


def threshold_words(output: CodeOutput, config: AcceleratorConfig) -> np.ndarray:
    """uint32 [groups, comparators * 2]: thresholds and code deltas."""
    comparators = config.datapath.comparators
    count = len(output.thresholds)
    if len(output.codes) != count + 1:
        raise ProgramError(
            f"tensor {output.tensor} must have one code more than thresholds, "
            f"not {len(output.codes)} and {count}"
        )
    groups = max(1, -(-count // comparators))
    words = np.zeros((groups * comparators, 2), np.int64)
    words[:, 0] = LARGEST_THRESHOLD
    words[:count, 0] = output.thresholds
    words[:count, 1] = output.codes[1:] ^ output.codes[:-1]
    return (words & 0xFFFFFFFF).astype(np.uint32).reshape(groups, comparators * 2)

"""Tests of compiler.passes: the tables must give the layer's sum, however passes are shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.layout import PlaneLayout, identity_order
from compiler.passes import ConvolutionTables, convolution_tables, equal_pairs
from golden.integer_network import ConvolutionLayer
from hw.config import AcceleratorConfig, preset

TINY = preset("tiny")


def power_of_two(channels: int, weight_planes: int, planes: int) -> np.ndarray:
    """Coefficients of fixed-point weights and two's complement activations: int [1, C, K, P]."""
    basis = 1 << np.arange(planes)
    basis[-1] *= -1
    scale = 1 + np.arange(channels)
    return (scale[:, None, None] * (1 << np.arange(weight_planes))[:, None] * basis)[None]


def layer_with(
    coefficients: np.ndarray,
    *,
    kernel: tuple[int, int] = (1, 1),
    channels: int = 4,
    ranges: tuple[tuple[int, int], ...] | None = None,
    seed: int = 0,
) -> ConvolutionLayer:
    """A layer on an 8 x 8 plane tensor."""
    _, outputs, bits, planes = coefficients.shape
    shape = (8 - kernel[0] + 1, 8 - kernel[1] + 1, outputs)
    generator = np.random.default_rng(seed)
    return ConvolutionLayer(
        name="conv",
        source="x",
        input_shape=(8, 8, channels),
        convolution_shape=shape,
        output_shape=shape,
        weight_planes=generator.random((bits, outputs, *kernel, channels)) < 0.5,
        coefficients=coefficients,
        ranges=ranges or ((0, channels),),
        bias=np.zeros(outputs, np.int64),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        weight_label=f"W{bits}",
        source_label=f"A{planes}",
        fraction=0,
    )


def layout_of(layer: ConvolutionLayer) -> PlaneLayout:
    height, width, channels = layer.input_shape
    rows = TINY.array.rows
    order = identity_order(channels, rows)
    planes = layer.coefficients.shape[3]
    return PlaneLayout(height=height, width=width, order=order, planes=planes, rows=rows)


def tables_of(layer: ConvolutionLayer, config: AcceleratorConfig = TINY) -> ConvolutionTables:
    outputs = layer.convolution_shape[2]
    return convolution_tables(
        layer, config, layout_of(layer), identity_order(outputs, TINY.array.rows)
    )


def by_tables(layer: ConvolutionLayer, tables: ConvolutionTables, bits: np.ndarray) -> np.ndarray:
    """What the array sums for the window at the origin of ``bits`` [H, W, C, planes]: int [C]."""
    layout, rows = layout_of(layer), TINY.array.rows
    granules = np.zeros((layout.height, layout.row_stride, rows), int)
    for position, channel in enumerate(layout.order):
        block, lane = divmod(position, rows)
        if channel < 0:
            continue
        for plane in range(layout.planes):
            places = np.arange(layout.width) * layout.pixel_stride
            granules[:, places + layout.block_granule(block) + plane, lane] = bits[
                :, :, channel, plane
            ]
    buffer = granules.reshape(-1, rows)
    windows = tables.windows(layout.row_stride)
    total = np.zeros((len(tables.weights), rows), np.int64)
    for index, entry in enumerate(tables.passes):
        words = slice(entry.window, entry.window + entry.length)
        operand = buffer[windows[words] + entry.plane].reshape(entry.length, -1)
        weights = tables.weights[:, entry.weight : entry.weight + entry.length]
        counts = (weights & operand[None, :, None, :]).sum((1, 3))
        ones = (operand & tables.masks[words]).sum()
        total += tables.coefficients[:, index] * (2 * counts - ones)
    return total.ravel()[: layer.convolution_shape[2]]


def by_definition(layer: ConvolutionLayer, bits: np.ndarray) -> np.ndarray:
    """The same window by the formula of golden.integer_network."""
    _, _, kernel_h, kernel_w, _ = layer.weight_planes.shape
    window = bits[:kernel_h, :kernel_w].astype(int)
    total = np.zeros(layer.convolution_shape[2], np.int64)
    for (first, last), coefficients in zip(layer.ranges, layer.coefficients, strict=True):
        signs = 2 * layer.weight_planes[..., first:last].astype(int) - 1
        dots = np.einsum("ioyxk,yxkj->oij", signs, window[:, :, first:last])
        total += (coefficients * dots).sum((1, 2))
    return total


def check(layer: ConvolutionLayer, tables: ConvolutionTables, seed: int = 1) -> None:
    planes = layer.coefficients.shape[3]
    bits = np.random.default_rng(seed).random((*layer.input_shape, planes)) < 0.5
    np.testing.assert_array_equal(
        by_tables(layer, tables, bits.astype(int)), by_definition(layer, bits), f"seed {seed}"
    )


@pytest.mark.parametrize("channels", [1, 4, 6])
@pytest.mark.parametrize("planes", [(1, 1), (3, 4), (8, 8)])
def test_powers_of_two_are_summed_along_diagonals(planes: tuple[int, int], channels: int) -> None:
    layer = layer_with(power_of_two(5, *planes), channels=channels)
    tables = tables_of(layer)
    assert len(tables.passes) == sum(planes) - 1
    check(layer, tables)


def test_opposite_coefficients_share_a_pass() -> None:
    coefficients = np.random.default_rng(2).integers(-99, 99, (1, 6, 2, 3))
    coefficients[0, :, 1, 2] = -coefficients[0, :, 0, 0]
    layer = layer_with(coefficients)
    tables = tables_of(layer)
    assert len(tables.passes) == 5
    check(layer, tables)


def test_ranges_keep_their_own_passes() -> None:
    coefficients = np.repeat(power_of_two(3, 2, 2), 2, axis=0)
    layer = layer_with(coefficients, channels=8, ranges=((0, 3), (3, 8)))
    tables = tables_of(layer)
    assert len(tables.passes) == 6
    check(layer, tables)


def test_coefficients_without_equals_get_a_pass_per_pair() -> None:
    layer = layer_with(np.random.default_rng(3).integers(-999, 999, (1, 6, 3, 2)), kernel=(3, 2))
    tables = tables_of(layer)
    assert len(tables.passes) == 6
    check(layer, tables)


def test_long_passes_are_cut_to_what_an_element_can_count() -> None:
    config = replace(TINY, array=replace(TINY.array, count_width=8))
    layer = layer_with(np.full((1, 4, 8, 8), 7))
    tables = tables_of(layer, config)
    assert config.array.pass_words_maximum == 31
    assert [entry.length for entry in tables.passes] == [16, 16]  # 64 pairs of one granule
    check(layer, tables)


def test_shared_passes_must_fit_the_tables() -> None:
    layer = layer_with(power_of_two(5, 8, 8))
    small = replace(TINY, memory=replace(TINY.memory, window_entries=64))
    assert len(tables_of(layer).passes) == 15
    tables = tables_of(layer, small)
    assert len(tables.passes) == 64
    check(layer, tables)


def test_shared_passes_must_be_worth_their_weight_words() -> None:
    """100 cycles instead of 128, for 100 weight words instead of 16."""
    config = replace(TINY, memory=replace(TINY.memory, window_entries=512))
    layer = layer_with(power_of_two(5, 8, 8), channels=12)
    assert len(tables_of(layer, config).passes) == 15
    assert tables_of(layer, config).strip_cycles(config) == 100
    one_strip = replace(layer, convolution_shape=(1, 1, 5))
    assert len(tables_of(one_strip, config).passes) == 64


def test_pairs_of_zero_coefficients_are_in_no_group() -> None:
    coefficients = np.zeros((4, 2, 3), np.int64)
    assert equal_pairs(coefficients) == []
    coefficients[2, 1, 0] = 5
    assert [[(p.weight, p.source) for p in group] for group in equal_pairs(coefficients)] == [
        [(1, 0)]
    ]


def test_signs_are_relative_to_the_first_pair() -> None:
    columns = np.array([[[-2, 2, 1], [4, -4, -1]]])  # one channel
    groups = equal_pairs(columns)
    assert [[(p.weight, p.source, p.negative) for p in group] for group in groups] == [
        [(0, 0, False), (0, 1, True)],
        [(0, 2, False), (1, 2, True)],
        [(1, 0, False), (1, 1, True)],
    ]

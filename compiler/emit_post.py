"""Fields of the POST and POST_CONFIG instructions."""

from __future__ import annotations

from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    PoolKind,
    RawOutput,
)
from hw import isa
from hw.config import AcceleratorConfig

from .layout import StreamLayout
from .placement import Addresses, item_words
from .tiling import StreamTile, Tile
from .units import LayerPlan, Table, Unit

__all__ = ["config_fields", "post_fields", "post_pieces"]


def post_pieces(unit: Unit) -> list[tuple[int, int, bool]]:
    """(first channel tile, count, with residual) of the unit's POST instructions."""
    blocks = unit.plan.residual_source.blocks if unit.plan.residual_source else 0
    split = min(max(blocks - unit.first, 0), unit.count)
    pieces = [(unit.first, split, True), (unit.first + split, unit.count - split, False)]
    return [piece for piece in pieces if piece[1]]


def config_fields(
    plan: LayerPlan,
    bases: dict[Table, int],
    tile: Tile,
    residual: bool,
    config: AcceleratorConfig,
) -> dict[str, int]:
    """POST_CONFIG of a tile, and of all others with its width and window."""
    layer = plan.layer
    mode, shift, inner, steps = _residual_fields(plan, tile, residual)
    pool, output = layer.pool, layer.outputs
    stream, code = plan.stream_output, plan.plane_output
    operation = isa.PoolOperation.NONE
    if pool is not None:
        maximum = pool.kind is PoolKind.MAXIMUM
        operation = isa.PoolOperation.MAXIMUM if maximum else isa.PoolOperation.SUM
    pool_w = plan.shape.pool[1] if plan.shape is not None else 1
    fields = {
        "array": int(isinstance(layer, ConvolutionLayer)),
        "residual": mode.value,
        "residual_shift": shift,
        "relu_stream": int(layer.relu_stream),
        "store_stream": int(stream is not None),
        "stream_shift": layer.stream_shift,
        "affine": int(layer.affine is not None),
        "relu": int(layer.relu),
        "pool": operation.value,
        "output": isa.OutputKind.NONE.value,
        "output_shift": 0,
        "output_bits": 1,
        "planes": code.planes if code is not None else 0,
        "threshold_base": bases[Table.THRESHOLDS],
        "threshold_groups": max(plan.need(Table.THRESHOLDS), 1),
        "code_initial": 0,
        "inner_x": inner[1],
        "inner_y": inner[0],
        "outer_x": tile.width // pool_w,
        "residual_inner_x": steps[0],
        "residual_inner_y": steps[1],
        "residual_outer_x": steps[2],
        "residual_outer_y": steps[3],
        "stream_outer_x": stream.blocks if stream is not None else 0,
        "stream_outer_y": stream.row_stride if stream is not None else 0,
        "code_tile": code.slots if code is not None else 0,
        "code_outer_x": code.pixel_stride if code is not None else 0,
        "code_outer_y": code.row_stride if code is not None else 0,
    }
    if isinstance(output, CodeOutput):
        fields["output"] = isa.OutputKind.CODES.value
        fields["code_initial"] = int(output.codes[0])
    elif isinstance(output, FixedPointOutput):
        fields["output"] = isa.OutputKind.FIXED.value
        fields["output_shift"], fields["output_bits"] = output.shift, output.bits
    elif isinstance(output, RawOutput):
        fields["output"] = isa.OutputKind.RAW.value
        fields["code_tile"] = 2 * config.array.rows * item_words(config)
    return fields


def _residual_fields(
    plan: LayerPlan, tile: Tile, residual: bool
) -> tuple[isa.ResidualMode, int, tuple[int, int], tuple[int, ...]]:
    """Mode, shift, inner counts (y, x) and strides of the stream reads."""
    layer = plan.layer
    window = layer.pool.window if layer.pool is not None else (1, 1)
    stride = layer.pool.stride if layer.pool is not None else (1, 1)
    if not isinstance(layer, ConvolutionLayer):
        source = plan.source
        assert isinstance(source, StreamLayout)
        assert isinstance(tile, StreamTile)
        return isa.ResidualMode.ADD, layer.shift, tile.window, _steps(source, stride)
    if not residual or layer.residual is None or plan.residual_source is None:
        return isa.ResidualMode.NONE, 0, window, (0, 0, 0, 0)
    source = plan.residual_source
    if layer.residual.window > 1:
        side = (layer.residual.window, layer.residual.window)
        return isa.ResidualMode.SUM, layer.residual.shift, side, _steps(source, side)
    return isa.ResidualMode.ADD, layer.residual.shift, window, _steps(source, stride)


def post_fields(
    unit: Unit,
    bases: dict[Table, int],
    tile: Tile,
    piece: tuple[int, int, bool],
    addresses: Addresses,
    config: AcceleratorConfig,
) -> dict[str, int]:
    """POST of one tile and one piece of :func:`post_pieces`."""
    plan = unit.plan
    first, count, residual = piece
    layer = plan.layer
    pool_h, pool_w = plan.shape.pool if plan.shape is not None else (1, 1)
    stream_base = residual_base = code_base = 0
    vectors = tile.height * tile.width
    if not isinstance(layer, ConvolutionLayer):
        layout = plan.source
        assert isinstance(layout, StreamLayout)
        assert isinstance(tile, StreamTile)
        residual_base = (
            addresses.streams[layer.source]
            + tile.source[0] * layout.row_stride
            + tile.source[1] * layout.blocks
            + first
        )
        vectors *= tile.window[0] * tile.window[1]
    elif residual and layer.residual is not None and plan.residual_source is not None:
        source, window = plan.residual_source, layer.residual.window
        residual_base = (
            addresses.streams[layer.residual.tensor]
            + tile.y * window * source.row_stride
            + tile.x * window * source.blocks
            + first
        )
        vectors *= window * window
    if isinstance(layer, ConvolutionLayer) and plan.stream_output is not None:
        assert layer.stream is not None
        stream_base = (
            addresses.streams[layer.stream.tensor]
            + tile.y * plan.stream_output.row_stride
            + tile.x * plan.stream_output.blocks
            + first
        )
    if plan.plane_output is not None and layer.outputs is not None:
        planes = plan.plane_output
        code_base = (
            addresses.planes[layer.outputs.tensor]
            + tile.y // pool_h * planes.row_stride
            + tile.x // pool_w * planes.pixel_stride
            + planes.block_granule(first)
        )
    elif isinstance(layer.outputs, RawOutput):
        code_base = addresses.raw + first * 2 * config.array.rows * item_words(config)
    return {
        "tiles": count,
        "vectors": vectors,
        "parameter_base": bases[Table.PARAMETERS]
        + (first - unit.first) * plan.need(Table.PARAMETERS),
        "residual_base": residual_base,
        "stream_base": stream_base,
        "code_base": code_base,
    }


def _steps(source: StreamLayout, window: tuple[int, int]) -> tuple[int, int, int, int]:
    """Stream strides: inner x, inner y, outer x, outer y."""
    return (
        source.blocks,
        source.row_stride,
        source.blocks * window[1],
        source.row_stride * window[0],
    )

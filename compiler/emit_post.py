"""Fields of the POST and POST_CONFIG instructions."""

from __future__ import annotations

from dataclasses import dataclass

from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    PoolKind,
    RawOutput,
)
from hw import isa
from hw.config import AcceleratorConfig

from .placement import item_words
from .pool_tiles import PoolTile
from .tiling import Tile
from .units import LayerPlan, Table, Unit
from .views import View

__all__ = ["PostViews", "config_fields", "post_fields", "post_pieces"]


def post_pieces(unit: Unit) -> list[tuple[int, int, bool]]:
    """(first channel tile, count, with residual) of the unit's POST instructions."""
    blocks = unit.plan.residual_source.blocks if unit.plan.residual_source else 0
    split = min(max(blocks - unit.first, 0), unit.count)
    pieces = [(unit.first, split, True), (unit.first + split, unit.count - split, False)]
    return [piece for piece in pieces if piece[1]]


@dataclass(frozen=True)
class PostViews:
    """Tensors of a layer, or of one of its blocks."""

    residual: View | None
    """Of a stream layer: what it reads."""
    stream: View | None
    codes: View | None


def config_fields(
    plan: LayerPlan,
    bases: dict[Table, int],
    tile: Tile,
    residual: bool,
    views: PostViews,
    config: AcceleratorConfig,
) -> dict[str, int]:
    """POST_CONFIG of a tile, and of all others with its width, window and views."""
    layer = plan.layer
    mode, shift, inner, steps = _residual_fields(plan, tile, residual, views)
    pool, output = layer.pool, layer.outputs
    stream, code = views.stream, plan.plane_output
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
        "stream_outer_x": stream.pixel if stream is not None else 0,
        "stream_outer_y": stream.row if stream is not None else 0,
        "code_tile": code.slots if code is not None else 0,
        "code_outer_x": views.codes.pixel if views.codes is not None else 0,
        "code_outer_y": views.codes.row if views.codes is not None else 0,
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
        if layer.output_shape[0] > 1:
            fields["code_outer_y"] = fields["code_tile"] * plan.channel_tiles
    return fields


def _residual_fields(
    plan: LayerPlan, tile: Tile, residual: bool, views: PostViews
) -> tuple[isa.ResidualMode, int, tuple[int, int], tuple[int, ...]]:
    """Mode, shift, inner counts (y, x) and strides of the stream reads."""
    layer, source = plan.layer, views.residual
    window = layer.pool.window if layer.pool is not None else (1, 1)
    if isinstance(tile, PoolTile):
        window = tile.window
    stride = layer.pool.stride if layer.pool is not None else (1, 1)
    if not isinstance(layer, ConvolutionLayer):
        assert source is not None
        assert isinstance(tile, PoolTile)
        return isa.ResidualMode.ADD, layer.shift, window, _steps(source, stride)
    if not residual or layer.residual is None or source is None:
        return isa.ResidualMode.NONE, 0, window, (0, 0, 0, 0)
    if layer.residual.window > 1:
        side = (layer.residual.window, layer.residual.window)
        return isa.ResidualMode.SUM, layer.residual.shift, side, _steps(source, side)
    return isa.ResidualMode.ADD, layer.residual.shift, window, _steps(source, stride)


def post_fields(
    unit: Unit,
    bases: dict[Table, int],
    tile: Tile,
    piece: tuple[int, int, bool],
    views: PostViews,
    raw: int,
    config: AcceleratorConfig,
) -> dict[str, int]:
    """POST of one tile and one piece of :func:`post_pieces`; ``raw`` is where results begin."""
    plan = unit.plan
    first, count, residual = piece
    layer, source = plan.layer, views.residual
    pool_h, pool_w = plan.shape.pool if plan.shape is not None else (1, 1)
    stream_base = residual_base = code_base = 0
    vectors = tile.height * tile.width
    if isinstance(tile, PoolTile):
        vectors *= tile.window[0] * tile.window[1]
    if not isinstance(layer, ConvolutionLayer):
        assert source is not None
        assert isinstance(tile, PoolTile)
        residual_base = source.at(*tile.source) + first - source.channel
    elif residual and layer.residual is not None and source is not None:
        assert plan.shape is not None
        assert plan.residual_source is not None
        window = layer.residual.window
        y = plan.shape.row_in(tile.y, plan.residual_source.height, window)
        residual_base = source.at(y, tile.x * window) + first - source.channel
        vectors *= window * window
    if views.stream is not None:
        stream_base = views.stream.at(tile.y, tile.x) + first - views.stream.channel
    if plan.plane_output is not None and views.codes is not None:
        block = (first - views.codes.channel) * plan.plane_output.slots
        code_base = views.codes.at(tile.y // pool_h, tile.x // pool_w) + block
    elif isinstance(layer.outputs, RawOutput):
        item = 2 * config.array.rows * item_words(config)
        code_base = raw + (tile.y // pool_h * plan.channel_tiles + first) * item
    return {
        "tiles": count,
        "vectors": vectors,
        "parameter_base": bases[Table.PARAMETERS]
        + (first - unit.first) * plan.need(Table.PARAMETERS),
        "residual_base": residual_base,
        "stream_base": stream_base,
        "code_base": code_base,
    }


def _steps(source: View, window: tuple[int, int]) -> tuple[int, int, int, int]:
    """Stream strides: inner x, inner y, outer x, outer y."""
    return source.pixel, source.row, source.pixel * window[1], source.row * window[0]

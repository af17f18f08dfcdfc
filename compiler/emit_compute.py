"""Fields of the COMPUTE instruction, and the pieces in which a tile is filled and computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .emit_fill import fill_fields, part_fields
from .passes import PartTables
from .pool_tiles import PoolTile
from .tiling import Tile
from .units import LayerPlan, Table, Unit
from .views import View

__all__ = ["Piece", "compute_fields", "part_piece", "rows_needed", "tile_pieces"]


@dataclass(frozen=True)
class Piece:
    """What one FILL and one COMPUTE do."""

    rows: int
    """Rows of the source that FILL needs."""
    fill: dict[str, int]
    """Fields of the FILL; those left out are zero."""
    tile: Tile
    channels: range
    """Channel tiles of the unit."""
    passes: range
    """Of the layer."""
    weights: int
    """First weight word of the first channel tile."""
    row_granules: int | None = None
    """Of a part of the windows of several pixels: granules from one pixel to the next."""


def tile_pieces(unit: Unit, tile: Tile, source: View, bases: dict[Table, int]) -> Iterator[Piece]:
    """One piece for the whole tile, or, for each channel tile of the unit, one for each part of the
    window or each piece of the pool window."""
    plan, tables = unit.plan, unit.plan.tables
    assert tables is not None
    weights, stride = bases[Table.WEIGHTS], plan.need(Table.WEIGHTS)
    passes = range(len(tables.passes))
    if not tables.parts and not plan.pieces:
        fill = fill_fields(plan, tile, source)
        yield Piece(*fill, tile, range(unit.count), passes, weights)
        return
    for channel in range(unit.count):
        channels, own = range(channel, channel + 1), weights + channel * stride
        for piece in plan.pieces:
            place = Tile(tile.y + piece.y, tile.x + piece.x, piece.height, piece.width)
            yield Piece(*fill_fields(plan, place, source), place, channels, passes, own)
        for part in tables.parts:
            first = own + part.weights.start
            yield _part_piece(plan, part, tile, source, channels, first)


def rows_needed(unit: Unit, source: View | None, bases: dict[Table, int]) -> list[int]:
    """Rows of the source that the FILLs of a unit's tiles need, ascending; none without a source,
    and for a unit that is a part of the windows."""
    if source is None or unit.part is not None:
        return []
    pieces = (tile_pieces(unit, tile, source, bases) for tile in unit.plan.tiles)
    return sorted({piece.rows for tile in pieces for piece in tile})


def part_piece(unit: Unit, tile: Tile, source: View, bases: dict[Table, int]) -> Piece:
    """The part of the window that a unit is, whose weights are loaded alone."""
    assert unit.plan.tables is not None
    assert unit.part is not None
    part = unit.plan.tables.parts[unit.part]
    return _part_piece(unit.plan, part, tile, source, range(1), bases[Table.WEIGHTS])


def _part_piece(
    plan: LayerPlan, part: PartTables, tile: Tile, source: View, channels: range, weights: int
) -> Piece:
    """A part of the windows of a tile; it has one column of pixels."""
    assert plan.shape is not None
    fill = part_fields(part.part, source, plan.shape.stride[0], tile)
    pitch = part.part.granules[1] - part.part.granules[0] if tile.height > 1 else None
    return Piece(*fill, tile, channels, part.passes, weights, pitch)


def compute_fields(plan: LayerPlan, piece: Piece, bases: dict[Table, int]) -> dict[str, int]:
    """All fields but the half, and what is waited for and signalled."""
    shape, tables, tile = plan.shape, plan.tables, piece.tile
    assert shape is not None
    assert tables is not None
    row = shape.row_granules(plan.tile_width) * shape.stride[0]
    pixel = shape.pixel_granules * shape.stride[1]
    # Pieces of a pool window are rows, or parts of one, of a window that spans the tile.
    pool_h, pool_w = (1, 1) if plan.pieces else shape.pool
    if piece.row_granules is not None:
        row = piece.row_granules
    pixels, outer_x = tile.height * tile.width, tile.width // pool_w
    outer, inner = (row * pool_h, pixel * pool_w), (row, pixel)
    if isinstance(tile, PoolTile):
        # Windows that overlap: the pixels of each, and their stride is that of the outputs.
        pool_h, pool_w = tile.window
        pixels, outer_x = pixels * pool_h * pool_w, tile.width
        inner = shape.row_granules(plan.tile_width), shape.pixel_granules
    channels, passes = piece.channels, piece.passes
    return {
        "tiles": len(channels),
        "pixels": pixels,
        "pass_first": bases[Table.PASSES] + passes.start,
        "passes": len(passes),
        "weight_base": piece.weights,
        "weight_stride": plan.need(Table.WEIGHTS) if len(channels) > 1 else 0,
        "coefficient_base": bases[Table.COEFFICIENTS]
        + channels.start * len(tables.passes)
        + passes.start,
        "partial": int(passes.stop < len(tables.passes)),
        "inner_x": pool_w,
        "inner_y": pool_h,
        "outer_x": outer_x,
        "stride_inner_x": inner[1],
        "stride_inner_y": inner[0],
        "stride_outer_x": outer[1],
        "stride_outer_y": outer[0],
    }

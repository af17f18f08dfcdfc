"""Planning: channel orders, layouts, tiles and tables of every layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
    Layer,
    RawOutput,
)
from hw.config import AcceleratorConfig
from hw.memory.packing import WORD

from .block_plan import local_layout
from .layout import PlaneLayout, StreamLayout, identity_order
from .orders import channel_orders, plane_layouts
from .parts import Part, may_have_parts, window_parts
from .passes import ConvolutionTables, convolution_tables
from .pool_tiles import cut_pool_tiles, pool_tiles
from .program import ProgramError
from .tables import parameter_words, threshold_words
from .tiling import Geometry, Tile, choose_tiles, geometry, window_pieces, window_tiles
from .units import LayerPlan, Plan, divide

__all__ = ["plan_network"]

WINDOW_MAXIMUM = 15
"""Longest side of a pool window: the inner counters have 4 bits."""

UNLIMITED = 1 << 30
"""Pixels of a tile that nothing limits."""


def plan_network(
    network: IntegerNetwork, config: AcceleratorConfig, *, dense: bool = False
) -> Plan:
    """Plan all layers; ``dense`` keeps the weights of more of them on chip (``units.divide``).

    Raises :class:`ProgramError` for what cannot be mapped, with the numbers.
    """
    if network.images > config.array.columns:
        raise ProgramError(
            f"images of a batch must be at most the array's {config.array.columns} columns, not "
            f"{network.images}"
        )
    widths = network.arithmetic
    if (widths.coefficient, widths.accumulator, widths.stream) != (
        config.datapath.coefficient_width,
        config.datapath.accumulator_width,
        config.datapath.stream_width,
    ):
        raise ProgramError(
            f"network arithmetic must equal the preset's datapath, not {widths} "
            f"against {config.datapath}"
        )
    orders = channel_orders(network, config.array.rows)
    # A pixel that may leave the chip is made of whole external words.
    unit = max(2, WORD // config.array.rows) if config.spills else 2
    planes = plane_layouts(network, orders, config.array.rows, unit)
    streams: dict[str, StreamLayout] = {}
    plans: list[LayerPlan] = []
    for tag, (layer, order) in enumerate(zip(network.layers, orders, strict=True)):
        plan = _plan_layer(tag, layer, order, config, planes, streams, network.images)
        if isinstance(layer, ConvolutionLayer) and layer.stream is not None:
            streams[layer.stream.tensor] = _present(plan.stream_output)
        plans.append(plan)
    return divide(plans, config, dense=dense)


def _present(layout: StreamLayout | None) -> StreamLayout:
    if layout is None:
        raise ProgramError("a stored stream must have a layout")
    return layout


def _plan_layer(
    tag: int,
    layer: Layer,
    order: tuple[int, ...],
    config: AcceleratorConfig,
    planes: dict[str, PlaneLayout | None],
    streams: dict[str, StreamLayout],
    images: int,
) -> LayerPlan:
    rows = config.array.rows
    if tag > 255:
        raise ProgramError(f"network must have at most 256 layers, not more than {tag}")
    residual = layer.residual if isinstance(layer, ConvolutionLayer) else None
    if residual is not None and residual.window > 1 and layer.pool is not None:
        raise ProgramError(
            f"layer {layer.name}: a pooled residual must not be combined with pooling"
        )
    residual_source = streams[residual.tensor] if residual is not None else None
    shape: Geometry | None = None
    tables: ConvolutionTables | None = None
    pieces: tuple[Tile, ...] = ()
    source: PlaneLayout | StreamLayout | None
    if isinstance(layer, ConvolutionLayer):
        plane_source = source = planes[layer.source]
        shape = geometry(layer, plane_source, config)
        tables, together = _tables_of(layer, shape, plane_source, order, config, images)
        stream = _stream_output(layer, order, rows)
        tiles, pieces = _convolution_tiles(
            layer,
            shape,
            tables,
            config,
            channel_tiles=len(order) // rows,
            together=together,
            pixels=min(
                _stream_pixels(stream, residual_source, config),
                _plane_pixels(_written_planes(layer, planes), len(order) // rows, config)
                * (shape.pool[0] * shape.pool[1]),
            ),
        )
    else:
        source = streams[layer.source]
        windows = pool_tiles(layer)
        if any(max(tile.window) > WINDOW_MAXIMUM for tile in windows):
            raise _too_large(layer.name, max(tile.window for tile in windows))
        tiles = tuple(windows)
    height, width, channels = layer.output_shape
    if isinstance(layer.outputs, RawOutput) and (
        (height, width) != (images, 1) or order != identity_order(channels, rows)
    ):
        raise ProgramError(
            f"layer {layer.name}: raw output must be {images} x 1 without a permuting residual, "
            f"not {height} x {width}"
        )
    return LayerPlan(
        tag=tag,
        layer=layer,
        order=order,
        source=source,
        residual_source=residual_source,
        plane_output=_written_planes(layer, planes),
        stream_output=_stream_output(layer, order, rows),
        shape=shape,
        tiles=tiles,
        pieces=pieces,
        tables=tables,
        parameters=parameter_words(layer, order, rows),
        thresholds=threshold_words(layer.outputs, config)
        if isinstance(layer.outputs, CodeOutput)
        else None,
    )


def _stream_output(layer: Layer, order: tuple[int, ...], rows: int) -> StreamLayout | None:
    if not isinstance(layer, ConvolutionLayer) or layer.stream is None:
        return None
    if layer.pool is not None:
        raise ProgramError(f"layer {layer.name}: a stored stream must not be pooled in one layer")
    height, width, _ = layer.convolution_shape
    return StreamLayout(height=height, width=width, order=order, rows=rows)


def _written_planes(layer: Layer, planes: dict[str, PlaneLayout | None]) -> PlaneLayout | None:
    if isinstance(layer.outputs, CodeOutput | FixedPointOutput):
        return planes[layer.outputs.tensor]
    return None


def _tables_of(
    layer: ConvolutionLayer,
    shape: Geometry,
    source: PlaneLayout | None,
    order: tuple[int, ...],
    config: AcceleratorConfig,
    images: int,
) -> tuple[ConvolutionTables, int]:
    """Tables of a layer, in parts if its window or its weights cannot be there at once, and the
    images whose windows are filled together if they are in parts."""
    whole, shares = shape.granules(1, 1), 1
    if not may_have_parts(layer, shape, images):
        images = 1
    while True:
        # The fewer images together, the larger and fewer the parts.
        together = -(-images // shares)
        capacity = config.memory.column_granules // together
        find = partial(window_parts, layer, shape, source, images=images, together=together)
        tables = _tables_in_parts(layer, shape, source, order, config, find, capacity)
        fits = tables.fits_half(config) if tables.parts else whole <= capacity
        if fits or together == 1:
            return tables, together
        shares += 1


def _tables_in_parts(
    layer: ConvolutionLayer,
    shape: Geometry,
    source: PlaneLayout | None,
    order: tuple[int, ...],
    config: AcceleratorConfig,
    find: Callable[[int], tuple[Part, ...]],
    capacity: int,
) -> ConvolutionTables:
    """Tables with the parts that ``find`` gives for ``capacity`` granules, or for fewer if their
    weights do not fit."""
    half = config.memory.weight_words // 2
    parts = find(capacity)
    tables = convolution_tables(layer, config, source, order, parts)
    whole = shape.granules(1, 1)
    while tables.weights_at_once > half and capacity > 2:
        # Weights that are loaded part by part need only half of their memory for the largest.
        count = max(2, len(parts) + 1, tables.weights_at_once * max(1, len(parts)) // half)
        capacity = min(capacity, whole) // 2 if count > whole // 2 else -(-whole // count)
        finer = find(capacity)
        if len(finer) <= len(parts):
            break
        parts = finer
        tables = convolution_tables(layer, config, source, order, parts)
    return tables


def _convolution_tiles(
    layer: ConvolutionLayer,
    shape: Geometry,
    tables: ConvolutionTables,
    config: AcceleratorConfig,
    *,
    channel_tiles: int,
    together: int,
    pixels: int,
) -> tuple[tuple[Tile, ...], tuple[Tile, ...]]:
    """Tiles of a layer, and the pieces of each if a pool window is too large for one."""
    for window in (shape.pool, shape.kernel if shape.overlaps else (1, 1)):
        if max(window) > WINDOW_MAXIMUM:
            raise _too_large(layer.name, window)
    if tables.parts:
        rows = shape.output[0]
        return tuple(Tile(y, 0, min(together, rows - y), 1) for y in range(0, rows, together)), ()
    capacity = config.memory.column_granules
    if config.spills:
        # Two blocks of a tile each, and what they compute, must fit the activation memory.
        limit = max(config.memory.activation_words // 2, shape.granules(*shape.pool))
        capacity = min(capacity, limit)
    if shape.granules(*shape.pool) > capacity and shape.granules(1, 1) <= capacity:
        return window_tiles(shape), window_pieces(shape, capacity)
    tiles = choose_tiles(
        layer.name,
        shape,
        capacity,
        tables.strip_cycles(config) * channel_tiles,
        config.array.columns,
        pixels=pixels,
    )
    if shape.overlaps:
        return tuple(cut_pool_tiles(tiles, layer)), ()
    return tuple(tiles), ()


def _stream_pixels(
    stream: StreamLayout | None, residual: StreamLayout | None, config: AcceleratorConfig
) -> int:
    """Most pixels of a tile, so that blocks of streams that may leave the chip fit their places.

    Two blocks of the stored stream must fit the spilled vectors, two of the residual half of the
    stream memory.
    """
    memory = config.memory
    limits = [
        max(1, room // (2 * layout.blocks))
        for layout, room in (
            (stream, memory.spill_vectors),
            (residual, memory.stream_vectors // 2),
        )
        if layout is not None and layout.vectors > memory.stream_vectors // 2
    ]
    return min(limits, default=UNLIMITED) if memory.spill_vectors else UNLIMITED


def _plane_pixels(layout: PlaneLayout | None, blocks: int, config: AcceleratorConfig) -> int:
    """Likewise for planes that may leave the chip: two blocks must fit half of the memory."""
    if layout is None or not config.spills or layout.words <= config.memory.activation_words // 2:
        return UNLIMITED
    words = local_layout(layout, blocks).pixel_stride // 2
    return max(1, config.memory.activation_words // 4 // words)


def _too_large(name: str, window: tuple[int, int]) -> ProgramError:
    return ProgramError(
        f"layer {name}: pool window must be at most {WINDOW_MAXIMUM} x {WINDOW_MAXIMUM}, "
        f"not {window[0]} x {window[1]}"
    )

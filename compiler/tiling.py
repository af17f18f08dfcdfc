"""Cutting a layer's output into rectangles whose inputs fit half of a column buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, Layer, Pool, PoolKind
from hw.config import AcceleratorConfig

from .layout import PlaneLayout
from .program import ProgramError

__all__ = [
    "Geometry",
    "PoolTile",
    "Tile",
    "choose_tiles",
    "cut_pool_tiles",
    "geometry",
    "pool_tiles",
    "window_pieces",
    "window_tiles",
]

HIDING_ROWS = 3
"""Rows of tiles from which on the first tile needs nothing of the last row of the layer before."""

TILE_OVERHEAD = 16
"""Cycles that a tile costs beyond its longer side: starting FILL and COMPUTE."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of convolution outputs (before pooling)."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class PoolTile(Tile):
    """A rectangle of pooled outputs whose windows, which may overlap, have one size.

    Windows that reach over the edge of the image are smaller, so they get tiles of their own.
    """

    source: tuple[int, int]
    """Row and column of the first window in the tensor that is pooled."""
    window: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a layer's input lies in a column buffer.

    An input pixel (image: a row patch, one per output column) has ``pixel_granules``; a patch
    already spans the kernel's width, so the image behaves like a kernel of width 1 and stride 1
    along x.

    Where pool windows overlap, outputs are those after pooling, and a kernel is what such a window
    reads: it is filled once, and computed pixel by pixel for each window.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pixel_granules: int
    pool: tuple[int, int]
    """Pool window: tiles are made of whole windows."""
    output: tuple[int, int]
    """Convolution outputs, height and width, that pooling uses."""
    overlaps: bool = False
    """Pool windows overlap, or reach over the edge of the image."""

    @property
    def vectors(self) -> int:
        """Vectors of the array for an output."""
        return self.kernel[0] * self.kernel[1] if self.overlaps else 1

    def row_granules(self, width: int) -> int:
        """Granules of one buffer row for a tile of that many output columns."""
        return ((width - 1) * self.stride[1] + self.kernel[1]) * self.pixel_granules

    def granules(self, height: int, width: int) -> int:
        return ((height - 1) * self.stride[0] + self.kernel[0]) * self.row_granules(width)


def geometry(
    layer: ConvolutionLayer, source: PlaneLayout | None, config: AcceleratorConfig
) -> Geometry:
    """Geometry of a layer; ``source`` None is the image."""
    kernel = layer.weight_planes.shape[2:4]
    if layer.pool is not None and layer.pool.kind is PoolKind.MAXIMUM and _overlaps(layer.pool):
        return _overlapping(layer, layer.pool, source)
    pool = layer.pool.window if layer.pool is not None else (1, 1)
    height, width = layer.convolution_shape[:2]
    output = (height // pool[0] * pool[0], width // pool[1] * pool[1])
    if source is not None:
        return Geometry(
            kernel=kernel,
            stride=layer.stride,
            pixel_granules=source.pixel_stride,
            pool=pool,
            output=output,
        )
    if kernel[1] > config.datapath.patch_pixels:
        raise ProgramError(
            f"layer {layer.name}: kernel width on the image must be at most "
            f"{config.datapath.patch_pixels}, not {kernel[1]}"
        )
    blocks = -(-4 * kernel[1] // config.array.rows)
    return Geometry(
        kernel=(kernel[0], 1),
        stride=(layer.stride[0], 1),
        pixel_granules=8 * blocks,
        pool=pool,
        output=output,
    )


def _overlaps(pool: Pool) -> bool:
    return pool.window != pool.stride or any(pool.padding)


def _overlapping(layer: ConvolutionLayer, pool: Pool, source: PlaneLayout | None) -> Geometry:
    is_plain = layer.weight_planes.shape[2:4] == layer.stride == (1, 1) and not any(layer.padding)
    if source is None or not is_plain:
        raise ProgramError(
            f"layer {layer.name}: fused pool windows must not overlap, but behind a 1 x 1 kernel"
        )
    return Geometry(
        kernel=pool.window,
        stride=pool.stride,
        pixel_granules=source.pixel_stride,
        pool=(1, 1),
        output=layer.output_shape[:2],
        overlaps=True,
    )


def _sizes(total: int, unit: int) -> list[int]:
    """Every size that some number of nearly equal parts of ``total`` has, in units, descending."""
    units = total // unit
    return sorted({-(-units // parts) * unit for parts in range(1, units + 1)}, reverse=True)


def _cuts(total: int, size: int) -> list[tuple[int, int]]:
    """Lengths along one axis and how often each occurs: the full parts and the rest."""
    rest = total % size
    return [(size, total // size)] + ([(rest, 1)] if rest else [])


def _cost(shape: Geometry, height: int, width: int, work: int, columns: int) -> tuple[int, int]:
    """Cycles for the whole layer with tiles of that size, and the number of tiles.

    Filling and computing overlap, so a tile takes the longer of the two. The first fill overlaps
    with the layer before, if that is cut alike and does not finish the rows of the first tile with
    its own last tiles. ``work`` is the cycles per strip of all channel tiles. A narrower tile at
    the edge is filled to the full width, since all tiles of a layer share their row length.
    """
    hidden = -(-shape.output[0] // height) >= HIDING_ROWS
    total, count = 0 if hidden else shape.granules(height, width) // 2, 0
    for tile_height, rows in _cuts(shape.output[0], height):
        fill = shape.granules(tile_height, width) // 2
        for tile_width, cols in _cuts(shape.output[1], width):
            compute = -(-tile_height * tile_width * shape.vectors // columns) * work
            total += rows * cols * (max(fill, compute) + TILE_OVERHEAD)
            count += rows * cols
    return total, count


def _cover(shape: Geometry, height: int, width: int) -> Iterator[Tile]:
    for y in range(0, shape.output[0], height):
        for x in range(0, shape.output[1], width):
            yield Tile(y, x, min(height, shape.output[0] - y), min(width, shape.output[1] - x))


def choose_tiles(
    name: str,
    shape: Geometry,
    capacity: int,
    strip_cycles: int,
    columns: int,
    *,
    pixels: int | None = None,
) -> list[Tile]:
    """The cheapest cover of the output, in raster order.

    ``capacity`` is the granules of a buffer half; tiles that are no single pool window have at most
    ``pixels`` outputs. Raises :class:`ProgramError` with the numbers if
    even the smallest tile (one pool window) does not fit.
    """
    candidates = [
        (*_cost(shape, height, width, strip_cycles, columns), height, width)
        for width in _sizes(shape.output[1], shape.pool[1])
        for height in _sizes(shape.output[0], shape.pool[0])
        if shape.granules(height, width) <= capacity
        and (pixels is None or height * width <= max(pixels, shape.pool[0] * shape.pool[1]))
    ]
    if not candidates:
        raise ProgramError(
            f"layer {name} must fit a column buffer: its smallest tile needs "
            f"{shape.granules(*shape.pool)} granules, a half has {capacity}"
        )
    _, _, height, width = min(candidates)
    return list(_cover(shape, height, width))


def window_tiles(shape: Geometry) -> tuple[Tile, ...]:
    """A tile for every pool window."""
    return tuple(_cover(shape, *shape.pool))


def window_pieces(shape: Geometry, capacity: int) -> tuple[Tile, ...]:
    """A pool window in pieces that fit ``capacity`` granules, in the order of its pixels.

    They are whole rows, or parts of one row each. One pixel must fit.
    """
    height, width = shape.pool
    rows = max((h for h in range(1, height) if shape.granules(h, width) <= capacity), default=0)
    if rows:
        return tuple(Tile(y, 0, min(rows, height - y), width) for y in range(0, height, rows))
    longest = max(w for w in range(1, width + 1) if shape.granules(1, w) <= capacity)
    # As few as fit, but as equal as can be.
    longest = -(-width // -(-width // longest))
    return tuple(
        Tile(y, x, 1, min(longest, width - x))
        for y in range(height)
        for x in range(0, width, longest)
    )


def pool_tiles(layer: Layer) -> list[PoolTile]:
    """The output of a layer, cut where the clipped size of the pool windows changes."""
    if layer.pool is None:
        return [PoolTile(0, 0, *layer.output_shape[:2], (0, 0), (1, 1))]
    pool = layer.pool
    rows, columns = (
        _window_runs(
            layer.output_shape[axis],
            layer.input_shape[axis],
            pool.window[axis],
            pool.stride[axis],
            pool.padding[axis],
        )
        for axis in (0, 1)
    )
    return [
        PoolTile(y, x, height, width, (source_y, source_x), (window_y, window_x))
        for y, height, source_y, window_y in rows
        for x, width, source_x, window_x in columns
    ]


def cut_pool_tiles(tiles: Iterable[Tile], layer: ConvolutionLayer) -> list[PoolTile]:
    """Tiles of a layer whose pool windows overlap, cut where the size of the windows changes."""
    pool = layer.pool
    assert pool is not None
    cut = []
    for tile in tiles:
        for run in pool_tiles(layer):
            y, x = max(tile.y, run.y), max(tile.x, run.x)
            height = min(tile.y + tile.height, run.y + run.height) - y
            width = min(tile.x + tile.width, run.x + run.width) - x
            if height > 0 and width > 0:
                first = (
                    run.source[0] + (y - run.y) * pool.stride[0],
                    run.source[1] + (x - run.x) * pool.stride[1],
                )
                cut.append(PoolTile(y, x, height, width, first, run.window))
    return cut


def _window_runs(
    outputs: int, size: int, window: int, stride: int, before: int
) -> list[tuple[int, int, int, int]]:
    """Runs of windows along one axis: (first output, outputs, first source, clipped window)."""
    runs: list[tuple[int, int, int, int]] = []
    for output in range(outputs):
        start = max(output * stride - before, 0)
        clipped = min(output * stride - before + window, size) - start
        if runs:
            first, count, source, run_window = runs[-1]
            if run_window == clipped and source + count * stride == start:
                runs[-1] = (first, count + 1, source, run_window)
                continue
        runs.append((output, 1, start, clipped))
    return runs

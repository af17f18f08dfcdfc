"""Cutting a layer's output into rectangles whose inputs fit half of a column buffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, Pool, PoolKind
from hw.config import AcceleratorConfig

from .layout import PlaneLayout
from .program import ProgramError

__all__ = [
    "Geometry",
    "Tile",
    "choose_tiles",
    "clip",
    "geometry",
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
    """Convolution outputs, height and width, that pooling uses; rows of all images."""
    overlaps: bool = False
    """Pool windows overlap, or reach over the edge of the image."""
    images: int = 1
    """Images that lie one below the other and are computed apart."""

    @property
    def image_output(self) -> tuple[int, int]:
        """Outputs of one image."""
        return self.output[0] // self.images, self.output[1]

    def place(self, row: int) -> tuple[int, int]:
        """The image that an output row (of those that pooling uses) belongs to, and the row in
        it."""
        return divmod(row, self.output[0] // self.images)

    def row_in(self, row: int, height: int, window: int = 1) -> int:
        """Where the window of an output row begins in a tensor whose images have ``height`` rows
        together, of which pooling or windows may leave out the last ones."""
        image, own = self.place(row)
        return image * (height // self.images) + own * window

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
    rows = height // layer.images // pool[0] * pool[0]
    output = (rows * layer.images, width // pool[1] * pool[1])
    if source is not None:
        return Geometry(
            kernel=kernel,
            stride=layer.stride,
            pixel_granules=source.pixel_stride,
            pool=pool,
            output=output,
            images=layer.images,
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
        images=layer.images,
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
        images=layer.images,
    )


def clip(low: int, high: int, bounds: range) -> tuple[int, int]:
    """The part of [low, high) inside ``bounds``; an empty part lies inside, too."""
    first = min(max(low, bounds.start), bounds.stop)
    return first, max(min(high, bounds.stop), first)


def _sizes(total: int, unit: int) -> list[int]:
    """Every size that some number of nearly equal parts of ``total`` has, in units, descending."""
    units = total // unit
    return sorted({-(-units // parts) * unit for parts in range(1, units + 1)}, reverse=True)


def _cuts(total: int, size: int) -> list[tuple[int, int]]:
    """Lengths along one axis and how often each occurs: the full parts and the rest."""
    rest = total % size
    return [(size, total // size)] + ([(rest, 1)] if rest else [])


def _cost(shape: Geometry, height: int, width: int, work: int, columns: int) -> tuple[int, int]:
    """Cycles for an image of the layer with tiles of that size, and the number of tiles.

    Filling and computing overlap, so a tile takes the longer of the two. The first fill overlaps
    with the layer before, if that is cut alike and does not finish the rows of the first tile with
    its own last tiles. ``work`` is the cycles per strip of all channel tiles. A narrower tile at
    the edge is filled to the full width, since all tiles of a layer share their row length.
    """
    rows_of_image, columns_of_image = shape.image_output
    hidden = -(-rows_of_image // height) >= HIDING_ROWS
    total, count = 0 if hidden else shape.granules(height, width) // 2, 0
    for tile_height, rows in _cuts(rows_of_image, height):
        fill = shape.granules(tile_height, width) // 2
        for tile_width, cols in _cuts(columns_of_image, width):
            compute = -(-tile_height * tile_width * shape.vectors // columns) * work
            total += rows * cols * (max(fill, compute) + TILE_OVERHEAD)
            count += rows * cols
    return total, count


def _cover(shape: Geometry, height: int, width: int) -> Iterator[Tile]:
    rows, columns = shape.image_output
    for first in range(0, shape.output[0], rows):
        for y in range(0, rows, height):
            for x in range(0, columns, width):
                yield Tile(first + y, x, min(height, rows - y), min(width, columns - x))


def choose_tiles(
    name: str,
    shape: Geometry,
    capacity: int,
    strip_cycles: int,
    columns: int,
    *,
    pixels: int | None = None,
) -> list[Tile]:
    """The cheapest cover of the output, image by image, in raster order.

    ``capacity`` is the granules of a buffer half; tiles that are no single pool window have at most
    ``pixels`` outputs. Raises :class:`ProgramError` with the numbers if
    even the smallest tile (one pool window) does not fit.
    """
    candidates = [
        (*_cost(shape, height, width, strip_cycles, columns), height, width)
        for width in _sizes(shape.image_output[1], shape.pool[1])
        for height in _sizes(shape.image_output[0], shape.pool[0])
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

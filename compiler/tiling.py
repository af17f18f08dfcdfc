"""Cutting a layer's output into rectangles whose inputs fit half of a column buffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, StreamLayer
from hw.config import AcceleratorConfig

from .layout import PlaneLayout
from .program import ProgramError

__all__ = ["Geometry", "StreamTile", "Tile", "choose_tiles", "geometry", "stream_tiles"]


@dataclass(frozen=True)
class Tile:
    """A rectangle of convolution outputs (before pooling)."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class StreamTile(Tile):
    """A rectangle of a stream layer's outputs whose pool windows have one size.

    Windows that reach over the edge of the image are smaller, so they get tiles of their own.
    """

    source: tuple[int, int]
    """Row and column of the first window in the stream tensor."""
    window: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a layer's input lies in a column buffer.

    An input pixel (image: a row patch, one per output column) has ``pixel_granules``; a patch
    already spans the kernel's width, so the image behaves like a kernel of width 1 and stride 1
    along x.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pixel_granules: int
    pool: tuple[int, int]
    """Pool window: tiles are made of whole windows."""
    output: tuple[int, int]
    """Convolution outputs, height and width, that pooling uses."""

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


def _cost(shape: Geometry, height: int, width: int, work: int, columns: int) -> tuple[int, int]:
    """Cycles for the whole layer with tiles of that size, and the number of tiles.

    Filling and computing overlap, so a tile takes the longer of the two; the first fill is not
    hidden. ``work`` is the cycles per strip of all channel tiles.
    """
    total, count = shape.granules(height, width) // 2, 0
    for tile in _cover(shape, height, width):
        fill = shape.granules(tile.height, tile.width) // 2
        compute = -(-tile.height * tile.width // columns) * work
        total += max(fill, compute) + 16
        count += 1
    return total, count


def _cover(shape: Geometry, height: int, width: int) -> Iterator[Tile]:
    for y in range(0, shape.output[0], height):
        for x in range(0, shape.output[1], width):
            yield Tile(y, x, min(height, shape.output[0] - y), min(width, shape.output[1] - x))


def choose_tiles(
    name: str, shape: Geometry, capacity: int, strip_cycles: int, columns: int
) -> list[Tile]:
    """The cheapest cover of the output, in raster order.

    ``capacity`` is the granules of a buffer half. Raises :class:`ProgramError` with the numbers if
    even the smallest tile (one pool window) does not fit.
    """
    pool_h, pool_w = shape.pool
    rows, cols = shape.output[0] // pool_h, shape.output[1] // pool_w
    best: tuple[int, int, int, int] | None = None
    for parts_x in range(1, cols + 1):
        width = -(-cols // parts_x) * pool_w
        for parts_y in range(1, rows + 1):
            height = -(-rows // parts_y) * pool_h
            if shape.granules(height, width) > capacity:
                continue
            cost, count = _cost(shape, height, width, strip_cycles, columns)
            best = min(best, (cost, count, height, width)) if best else (cost, count, height, width)
            if -(-rows // parts_y) * parts_y > rows + parts_y and parts_y > 8:
                break
        if best is not None and parts_x > 8:
            break
    if best is None:
        least = shape.granules(*shape.pool)
        raise ProgramError(
            f"layer {name} must fit a column buffer: its smallest tile needs {least} granules, "
            f"a half has {capacity}"
        )
    return list(_cover(shape, best[2], best[3]))


def stream_tiles(layer: StreamLayer) -> list[StreamTile]:
    """The output of a stream layer, cut where the clipped size of the pool windows changes."""
    if layer.pool is None:
        return [StreamTile(0, 0, *layer.output_shape[:2], (0, 0), (1, 1))]
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
        StreamTile(y, x, height, width, (source_y, source_x), (window_y, window_x))
        for y, height, source_y, window_y in rows
        for x, width, source_x, window_x in columns
    ]


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

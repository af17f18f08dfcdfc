"""Blocks: parts of a layer whose inputs or outputs go to and from the external memory.

A layer that reads or writes a tensor in the external memory is computed block by block. A block is
a rectangle of outputs, made of whole tiles; what it reads is loaded before it, what it writes is
stored after it, each by way of two places on the chip that blocks use in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer

from .pool_tiles import PoolTile
from .tiling import Geometry, Tile, clip
from .units import LayerPlan

__all__ = ["Block", "Rectangle", "block_cuts", "cut_blocks"]


@dataclass(frozen=True)
class Rectangle:
    """Pixels of a tensor."""

    y: int
    x: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def right(self) -> int:
        return self.x + self.width


@dataclass(frozen=True)
class Block:
    """What is computed between two transfers."""

    tiles: tuple[Tile, ...]
    source: Rectangle
    """Pixels of the layer's input (a stream layer: of the stream) that its tiles read."""
    residual: Rectangle | None
    """Pixels of the residual stream that its tiles read; they have as many vectors."""
    outputs: Rectangle
    """Pixels of the layer's output, after pooling, and of its stored stream."""


def block_cuts(plan: LayerPlan) -> list[tuple[int, int]]:
    """Sizes of blocks to choose from: tiles (stream layers: outputs) along y and along x."""
    if plan.shape is None:
        height, width = plan.layer.output_shape[0] // plan.layer.images, plan.layer.output_shape[1]
    else:
        size = plan.tiles[0]
        rows, columns = plan.shape.image_output
        height, width = -(-rows // size.height), -(-columns // size.width)
    return [(y, x) for y in _parts(height) for x in _parts(width)]


def _parts(total: int) -> list[int]:
    """Every size that some number of nearly equal parts of ``total`` has."""
    return sorted({-(-total // parts) for parts in range(1, total + 1)}, reverse=True)


def cut_blocks(plan: LayerPlan, cut: tuple[int, int]) -> tuple[Block, ...]:
    """The layer in blocks of that size, image by image, in raster order; those at the edges may be
    smaller."""
    if plan.shape is None:
        return tuple(_stream_blocks(plan, cut))
    size = plan.tiles[0]
    step_y, step_x = cut[0] * size.height, cut[1] * size.width
    groups: dict[tuple[int, int, int], list[Tile]] = {}
    for tile in plan.tiles:
        image, row = plan.shape.place(tile.y)
        groups.setdefault((image, row // step_y, tile.x // step_x), []).append(tile)
    return tuple(_convolution_block(plan, tuple(groups[place])) for place in sorted(groups))


def _convolution_block(plan: LayerPlan, tiles: tuple[Tile, ...]) -> Block:
    layer, shape = plan.layer, plan.shape
    assert isinstance(layer, ConvolutionLayer)
    assert shape is not None
    y, x = tiles[0].y, tiles[0].x
    bottom = max(tile.y + tile.height for tile in tiles)
    right = max(tile.x + tile.width for tile in tiles)
    # A narrower tile at the edge is filled to the full width.
    filled = max(tile.x + plan.filled_width for tile in tiles)
    image, row = shape.place(y)
    height, width, _ = layer.input_shape
    height //= shape.images
    kernel = layer.weight_planes.shape[2:4]
    outputs = Rectangle(y, x, bottom - y, right - x)
    if shape.overlaps:
        return Block(tiles, _read_by_pool(plan, shape, tiles), None, outputs)
    first_y = image * height + row * layer.stride[0] - layer.padding[0]
    first_x = x * layer.stride[1] - layer.padding[1]
    end_y = first_y + (outputs.height - 1) * layer.stride[0] + kernel[0]
    end_x = (filled - 1) * layer.stride[1] - layer.padding[1] + kernel[1]
    rows = clip(first_y, end_y, range(image * height, (image + 1) * height))
    columns = clip(first_x, end_x, range(width))
    residual = None
    if layer.residual is not None:
        assert plan.residual_source is not None
        window = layer.residual.window
        residual = Rectangle(
            shape.row_in(y, plan.residual_source.height, window),
            x * window,
            outputs.height * window,
            outputs.width * window,
        )
    pool_y, pool_x = shape.pool
    return Block(
        tiles=tiles,
        source=Rectangle(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0]),
        residual=residual,
        outputs=Rectangle(
            y // pool_y, x // pool_x, outputs.height // pool_y, outputs.width // pool_x
        ),
    )


def _read_by_pool(plan: LayerPlan, shape: Geometry, tiles: tuple[Tile, ...]) -> Rectangle:
    """Pixels that the windows of tiles read, and what is filled beyond a narrower tile."""
    height, width, _ = plan.layer.input_shape
    places = [tile for tile in tiles if isinstance(tile, PoolTile)]
    top, left = (min(tile.source[axis] for tile in places) for axis in (0, 1))
    bottom = max(
        tile.source[0] + (tile.height - 1) * shape.stride[0] + tile.window[0] for tile in places
    )
    filled = (plan.tile_width - 1) * shape.stride[1] + shape.kernel[1]
    right = min(width, max(tile.source[1] for tile in places) + filled)
    assert bottom <= height
    return Rectangle(top, left, bottom - top, right - left)


def _stream_blocks(plan: LayerPlan, cut: tuple[int, int]) -> Iterator[Block]:
    stride = plan.layer.pool.stride if plan.layer.pool is not None else (1, 1)
    for whole in plan.tiles:
        assert isinstance(whole, PoolTile)
        for dy in range(0, whole.height, cut[0]):
            for dx in range(0, whole.width, cut[1]):
                height, width = min(cut[0], whole.height - dy), min(cut[1], whole.width - dx)
                first = (whole.source[0] + dy * stride[0], whole.source[1] + dx * stride[1])
                tile = PoolTile(whole.y + dy, whole.x + dx, height, width, first, whole.window)
                source = Rectangle(
                    *first,
                    (height - 1) * stride[0] + whole.window[0],
                    (width - 1) * stride[1] + whole.window[1],
                )
                yield Block((tile,), source, None, Rectangle(tile.y, tile.x, height, width))

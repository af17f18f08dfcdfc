"""Tiles of pooled outputs: rectangles whose windows have one size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, Layer

from .tiling import Tile

__all__ = ["PoolTile", "cut_pool_tiles", "pool_tiles"]


@dataclass(frozen=True)
class PoolTile(Tile):
    """A rectangle of pooled outputs whose windows, which may overlap, have one size.

    Windows that reach over the edge of the image are smaller, so they get tiles of their own.
    """

    source: tuple[int, int]
    """Row and column of the first window in the tensor that is pooled."""
    window: tuple[int, int]


def pool_tiles(layer: Layer) -> list[PoolTile]:
    """The output of a layer, cut where the clipped size of the pool windows changes, and between
    images."""
    images = layer.images
    inputs, outputs = (
        (shape[0] // images, shape[1]) for shape in (layer.input_shape, layer.output_shape)
    )
    if layer.pool is None:
        rows, columns = [(0, outputs[0], 0, 1)], [(0, outputs[1], 0, 1)]
    else:
        pool = layer.pool
        rows, columns = (
            _window_runs(
                outputs[axis],
                inputs[axis],
                pool.window[axis],
                pool.stride[axis],
                pool.padding[axis],
            )
            for axis in (0, 1)
        )
    return [
        PoolTile(
            image * outputs[0] + y,
            x,
            height,
            width,
            (image * inputs[0] + source_y, source_x),
            (window_y, window_x),
        )
        for image in range(images)
        for y, height, source_y, window_y in rows
        for x, width, source_x, window_x in columns
    ]


def cut_pool_tiles(tiles: Iterable[Tile], layer: ConvolutionLayer) -> list[PoolTile]:
    """Tiles of a layer whose pool windows overlap, cut where the size of the windows changes."""
    pool = layer.pool
    assert pool is not None
    cut, runs = [], pool_tiles(layer)
    for tile in tiles:
        for run in runs:
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

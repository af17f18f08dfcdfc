"""Tiles of maximum pools whose windows overlap or reach over the edge."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from compiler.program import ProgramError
from compiler.tiling import Tile, cut_pool_tiles, geometry
from golden.integer_network import ConvolutionLayer, Pool, PoolKind
from hw.config import preset


def pooled(height: int, width: int, pool: Pool, kernel: int = 1) -> ConvolutionLayer:
    """As much of a layer as tiles are made of."""
    top, left, bottom, right = pool.padding
    outputs = (
        (height + top + bottom - pool.window[0]) // pool.stride[0] + 1,
        (width + left + right - pool.window[1]) // pool.stride[1] + 1,
    )
    layer = SimpleNamespace(
        name="pool",
        input_shape=(height, width, 8),
        convolution_shape=(height, width, 8),
        output_shape=(*outputs, 8),
        weight_planes=np.ones((1, 8, kernel, kernel, 8), bool),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        pool=pool,
    )
    return cast(ConvolutionLayer, layer)


def overlapping(rng: random.Random) -> Pool:
    padding = (rng.randrange(2), rng.randrange(2), rng.randrange(2), rng.randrange(2))
    return Pool(PoolKind.MAXIMUM, (3, 3), (2, 2), np.zeros(8, bool), padding)


def test_tiles_have_the_windows_of_the_pool_clipped_to_the_image() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(30):
        pool, height, width = overlapping(rng), rng.randrange(5, 20), rng.randrange(5, 20)
        layer = pooled(height, width, pool)
        rows, columns, _ = layer.output_shape
        step_y, step_x = rng.randrange(1, rows + 1), rng.randrange(1, columns + 1)
        tiles = [
            Tile(y, x, min(step_y, rows - y), min(step_x, columns - x))
            for y in range(0, rows, step_y)
            for x in range(0, columns, step_x)
        ]
        seen = np.zeros((rows, columns), int)
        for tile in cut_pool_tiles(tiles, layer):
            for y in range(tile.height):
                for x in range(tile.width):
                    seen[tile.y + y, tile.x + x] += 1
                    first = (2 * (tile.y + y) - pool.padding[0], 2 * (tile.x + x) - pool.padding[1])
                    assert (tile.source[0] + 2 * y, tile.source[1] + 2 * x) == (
                        max(first[0], 0),
                        max(first[1], 0),
                    )
                    assert tile.window == tuple(
                        min(start + 3, size) - max(start, 0)
                        for start, size in zip(first, (height, width), strict=True)
                    )
        assert (seen == 1).all()


def test_overlapping_windows_need_a_1_x_1_kernel() -> None:
    layer = pooled(9, 9, overlapping(random.Random(0)), kernel=3)
    expected = "^layer pool: fused pool windows must not overlap, but behind a 1 x 1 kernel$"
    with pytest.raises(ProgramError, match=expected):
        geometry(layer, None, preset("tiny"))

"""Tests of compiler.tiling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.program import ProgramError
from compiler.tiling import (
    HIDING_ROWS,
    TILE_OVERHEAD,
    Geometry,
    choose_tiles,
    window_pieces,
    window_tiles,
)


def _geometry(**changes: object) -> Geometry:
    values = {
        "kernel": (3, 3),
        "stride": (1, 1),
        "pixel_granules": 2,
        "pool": (1, 1),
        "output": (32, 32),
    }
    return Geometry(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [64, 200, 1024, 4096])
@pytest.mark.parametrize("pool", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("output", [(32, 32), (7, 13), (1, 1), (30, 5)])
def test_tiles_cover_the_output_once_and_fit(
    capacity: int, pool: tuple[int, int], output: tuple[int, int]
) -> None:
    output = tuple(max(size // p, 1) * p for size, p in zip(output, pool, strict=True))  # type: ignore[assignment]
    shape = _geometry(pool=pool, output=output)
    tiles = choose_tiles("conv", shape, capacity, 20, 16)
    covered = np.zeros(output, int)
    width = max(tile.width for tile in tiles)
    for tile in tiles:
        covered[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width] += 1
        assert shape.granules(tile.height, width) <= capacity
        assert tile.height % pool[0] == tile.width % pool[1] == 0
    assert (covered == 1).all()


def test_the_chosen_cover_is_the_cheapest_of_all_that_fit() -> None:
    shape = _geometry(output=(12, 10), pool=(2, 2))
    capacity, work, columns = 200, 30, 4

    def cycles(height: int, width: int) -> int:
        rows_of_tiles = len(range(0, 12, height))
        total = 0 if rows_of_tiles >= HIDING_ROWS else shape.granules(height, width) // 2
        for y in range(0, 12, height):
            for x in range(0, 10, width):
                rows, cols = min(height, 12 - y), min(width, 10 - x)
                compute = -(-rows * cols // columns) * work
                total += max(shape.granules(rows, width) // 2, compute) + TILE_OVERHEAD
        return total

    tiles = choose_tiles("conv", shape, capacity, work, columns)
    chosen = cycles(tiles[0].height, tiles[0].width)
    fitting = [
        cycles(height, width)
        for height in range(2, 13, 2)
        for width in range(2, 11, 2)
        if shape.granules(height, width) <= capacity
    ]
    assert chosen == min(fitting)


def test_three_rows_of_tiles_are_better_than_four_quadrants() -> None:
    """The first tile must not need what the layer before computes last: 334 words to fill."""
    tiles = choose_tiles("conv", _geometry(), 1024, 4, 4)
    assert [(tile.y, tile.height, tile.width) for tile in tiles] == [
        (0, 11, 32),
        (11, 11, 32),
        (22, 10, 32),
    ]


def test_a_window_that_does_not_fit_is_refused_with_the_numbers() -> None:
    shape = _geometry(pixel_granules=200)
    with pytest.raises(
        ProgramError, match=r"^layer big must fit a column buffer: its smallest tile needs 1800 gr"
    ):
        choose_tiles("big", shape, 1024, 20, 16)


def test_a_global_pool_is_one_tile() -> None:
    shape = _geometry(output=(8, 8), pool=(8, 8))
    assert len(choose_tiles("gap", shape, 1024, 20, 16)) == 1
    with pytest.raises(ProgramError, match=r"^layer gap must fit a column buffer"):
        choose_tiles("gap", shape, 100, 20, 16)


@pytest.mark.parametrize(("pool", "capacity"), [((7, 7), 120), ((7, 7), 40), ((4, 5), 20)])
def test_pieces_are_a_pool_window_in_the_order_of_its_pixels(
    pool: tuple[int, int], capacity: int
) -> None:
    shape = _geometry(pool=pool, output=(2 * pool[0], pool[1]))
    assert [(tile.y, tile.height) for tile in window_tiles(shape)] == [
        (0, pool[0]),
        (pool[0], pool[0]),
    ]
    pieces = window_pieces(shape, capacity)
    width = max(piece.width for piece in pieces)
    pixels = [
        (piece.y + y, piece.x + x)
        for piece in pieces
        for y in range(piece.height)
        for x in range(piece.width)
    ]
    assert pixels == [(y, x) for y in range(pool[0]) for x in range(pool[1])]
    for piece in pieces:
        assert shape.granules(piece.height, width) <= capacity
        assert piece.height == 1 or piece.width == pool[1]


def test_tiles_have_no_more_pixels_than_asked_for() -> None:
    shape = _geometry(pool=(2, 2))
    tiles = choose_tiles("conv", shape, 4096, 20, 16, pixels=24)
    assert max(tile.height * tile.width for tile in tiles) <= 24
    # A pool window is never cut.
    tiles = choose_tiles("conv", shape, 4096, 20, 16, pixels=1)
    assert {(tile.height, tile.width) for tile in tiles} == {(2, 2)}


@pytest.mark.parametrize("pool", [(1, 1), (2, 2)])
def test_images_of_a_batch_are_tiled_alike_and_apart(pool: tuple[int, int]) -> None:
    one = _geometry(pool=pool, output=(14, 10))
    three = _geometry(pool=pool, output=(42, 10), images=3)
    tiles = choose_tiles("conv", one, 100, 20, 8)
    assert len(tiles) > 1
    assert choose_tiles("conv", three, 100, 20, 8) == [
        replace(tile, y=image * 14 + tile.y) for image in range(3) for tile in tiles
    ]


def test_rows_are_placed_in_their_image() -> None:
    shape = _geometry(output=(42, 10), images=3)
    assert shape.image_output == (14, 10)
    assert [shape.place(row) for row in (0, 13, 14, 41)] == [(0, 0), (0, 13), (1, 0), (2, 13)]

"""Tiles of maximum pools whose windows overlap or reach over the edge."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.emit import Emitter
from compiler.layout import PlaneLayout
from compiler.parts import window_parts
from compiler.plan import plan_network
from compiler.pool_tiles import cut_pool_tiles
from compiler.program import ProgramError
from compiler.tiling import Tile, geometry
from golden.export import model_bytes
from golden.integer_network import ConvolutionLayer, Pool, PoolKind
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
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
        images=1,
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
    pool, source = overlapping(random.Random(0)), cast(PlaneLayout, SimpleNamespace(pixel_stride=4))
    assert geometry(pooled(9, 9, pool), source, preset("tiny")).overlaps
    expected = "^layer pool: fused pool windows must not overlap, but behind a 1 x 1 kernel$"
    with pytest.raises(ProgramError, match=expected):
        geometry(pooled(9, 9, pool, kernel=3), source, preset("tiny"))
    with pytest.raises(ProgramError, match=expected):
        geometry(pooled(9, 9, pool), None, preset("tiny"))


def test_a_pool_window_has_no_parts() -> None:
    """It is all of its input, and larger than a column buffer."""
    pool = Pool(PoolKind.MAXIMUM, (3, 3), (2, 2), np.zeros(8, bool), (0, 0, 0, 0))
    layer = pooled(3, 3, pool)
    source = cast(PlaneLayout, SimpleNamespace(pixel_stride=16, slots=2))
    shape = geometry(layer, source, preset("tiny"))
    assert shape.granules(1, 1) == 144
    assert window_parts(layer, shape, source, 16) == ()


@pytest.mark.parametrize("granules", [64, 128])
def test_no_row_is_ready_before_all_of_its_tiles(
    granules: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = preset("tiny")
    config = replace(config, memory=replace(config.memory, column_granules=granules))
    limits = RandomLimits(image=(9, 16), channels=9, blocks=(1, 2))
    network = lower(import_bytes(model_bytes(random_model(2, limits))))
    written: dict[int, np.ndarray] = {}
    emit_tile, signal_rows = Emitter._emit_tile, Emitter._signal_rows

    def tile(self, unit, bases, tile, *arguments):
        plan = unit.plan
        pool = plan.shape.pool if plan.shape is not None else (1, 1)
        if tile is plan.tiles[0]:
            # Each channel group begins anew.
            written[plan.tag] = np.zeros(plan.layer.output_shape[:2], bool)
        done = written[plan.tag]
        rows = slice(tile.y // pool[0], (tile.y + tile.height) // pool[0])
        done[rows, tile.x // pool[1] : (tile.x + tile.width) // pool[1]] = True
        return emit_tile(self, unit, bases, tile, *arguments)

    def signal(self, plan, rows, post):
        assert written[plan.tag][:rows].all(), (plan.layer.name, rows)
        signalled.append(rows)
        return signal_rows(self, plan, rows, post)

    signalled: list[int] = []
    monkeypatch.setattr(Emitter, "_emit_tile", tile)
    monkeypatch.setattr(Emitter, "_signal_rows", signal)
    plan = plan_network(network, config)
    columns = [{t.x for t in p.tiles} for p in plan.layers if p.shape and p.shape.overlaps]
    assert max(map(len, columns)) > 2
    compile_network(network, config, plan=plan)
    assert len(signalled) > len(network.layers)

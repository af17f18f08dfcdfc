"""Blocks: they cover a layer once, load all that their tiles read, and are moved as rectangles."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from compiler.block_plan import External, external_span, transfer_fields
from compiler.blocks import Rectangle, block_cuts, cut_blocks
from compiler.compile import compile_network
from compiler.emit_fill import fill_fields
from compiler.layout import PlaneLayout
from compiler.placement import allocate
from compiler.plan import plan_network
from compiler.pool_tiles import PoolTile
from compiler.program import ProgramError
from compiler.program_file import parse_program, program_bytes
from compiler.tiling import Tile
from compiler.units import LayerPlan
from compiler.views import View
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, preset
from hw.memory.sdram_part import sdram_part

LIMITS = RandomLimits(image=(20, 34), channels=12, blocks=(1, 3))
SEEDS = (3, 4, 7, 11, 14, 15, 18, 24, 25)


def crowded(activation_words: int = 1024, stream_vectors: int = 256) -> AcceleratorConfig:
    tiny = preset("tiny")
    memory = replace(
        tiny.memory,
        activation_words=activation_words,
        column_granules=1024,
        stream_vectors=stream_vectors,
        spill_vectors=stream_vectors,
        external_words=sdram_part("16Mx16").words,
    )
    return replace(tiny, memory=memory, sdram="16Mx16")


def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


def layers_of(seed: int) -> list[LayerPlan]:
    return list(plan_network(network_of(seed), crowded()).layers)


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_cover_all_outputs_once_with_whole_tiles(seed: int) -> None:
    for plan in layers_of(seed):
        for cut in block_cuts(plan):
            blocks = cut_blocks(plan, cut)
            covered = np.zeros(plan.layer.output_shape[:2], int)
            for block in blocks:
                part = block.outputs
                covered[part.y : part.bottom, part.x : part.right] += 1
            assert (covered == 1).all(), (plan.layer.name, cut)
            tiles = [tile for block in blocks for tile in block.tiles]
            if plan.shape is not None:
                assert sorted(tiles, key=lambda t: (t.y, t.x)) == list(plan.tiles)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fill_reads_inside_its_block(seed: int) -> None:
    for plan in layers_of(seed):
        if plan.shape is None or plan.tables is None or plan.tables.parts:
            continue
        for block in cut_blocks(plan, block_cuts(plan)[-1]):
            for tile in block.tiles:
                if not plan.pieces:
                    require_inside(plan, tile, block.source)
                for piece in plan.pieces:
                    place = Tile(tile.y + piece.y, tile.x + piece.x, piece.height, piece.width)
                    require_inside(plan, place, block.source)


def require_inside(plan: LayerPlan, tile: Tile, source: Rectangle) -> None:
    view = View(base=0, pixel=1, row=1000, y=source.y, x=source.x)
    _, fields = fill_fields(plan, tile, view)
    y, x = divmod(fields["source"], 1000)
    if fields["rows"] and fields["words"]:
        assert y + fields["rows"] <= source.height, plan.layer.name
        assert x + fields["words"] <= source.width, plan.layer.name


@pytest.mark.parametrize("seed", SEEDS)
def test_stream_layers_load_what_their_windows_read(seed: int) -> None:
    for plan in layers_of(seed):
        if plan.shape is not None:
            continue
        stride = plan.layer.pool.stride if plan.layer.pool is not None else (1, 1)
        height, width, _ = plan.layer.input_shape  # type: ignore[union-attr]
        for block in cut_blocks(plan, block_cuts(plan)[len(block_cuts(plan)) // 2]):
            (tile,) = block.tiles
            assert isinstance(tile, PoolTile)
            last_y = tile.source[0] + (tile.height - 1) * stride[0] + tile.window[0]
            last_x = tile.source[1] + (tile.width - 1) * stride[1] + tile.window[1]
            assert block.source == Rectangle(
                *tile.source, last_y - tile.source[0], last_x - tile.source[1]
            )
            assert last_y <= height
            assert last_x <= width


def test_transfers_name_every_word_of_a_rectangle_once() -> None:
    for seed in range(200):
        rng = Random(seed)
        pixel, height, width = rng.randint(1, 5), rng.randint(1, 6), rng.randint(1, 6)
        outside = External(rng.randint(0, 50), pixel, pixel * width)
        part_height, part_width = rng.randint(1, height), rng.randint(1, width)
        part = Rectangle(
            rng.randint(0, height - part_height),
            rng.randint(0, width - part_width),
            part_height,
            part_width,
        )
        first = rng.randint(0, pixel - 1)
        length = rng.randint(1, pixel - first)
        fields = transfer_fields(outside, part, (first, length), length)
        words = [
            fields["external"] + row * fields["row_stride"] + run * fields["run_stride"] + word
            for row in range(fields["rows"] + 1)
            for run in range(fields["runs"] + 1)
            for word in range(fields["count"])
        ]
        expected = [
            outside.base + y * outside.row + x * outside.pixel + first + word
            for y in range(part.y, part.bottom)
            for x in range(part.x, part.right)
            for word in range(length)
        ]
        assert words == expected, seed


@pytest.mark.parametrize("seed", SEEDS)
def test_tensors_that_live_together_do_not_overlap_outside(seed: int) -> None:
    network, config = network_of(seed), crowded()
    plan = plan_network(network, config)
    addresses = allocate(network, plan, config)
    assert addresses.external
    ends = [place.base + place.row for place in addresses.external.values()]
    assert max(ends) <= config.memory.external_words
    used = config.memory.external_words - addresses.external_words
    assert min(place.base for place in addresses.external.values()) >= used


def test_nothing_leaves_the_chip_if_all_fits() -> None:
    network = network_of(3)
    config = crowded(activation_words=65536, stream_vectors=32768)
    addresses = allocate(network, plan_network(network, config), config)
    assert not addresses.external
    assert not addresses.blocks


def test_without_a_large_external_memory_a_tensor_that_does_not_fit_is_refused() -> None:
    network = network_of(4)
    config = replace(crowded(), sdram=None)
    config = replace(config, memory=replace(config.memory, spill_vectors=0, external_words=8192))
    with pytest.raises(ProgramError, match="must fit the activation memory: it needs"):
        compile_network(network, config)


def test_a_block_that_does_not_fit_is_refused_with_the_numbers() -> None:
    expected = r"^a block of the \w+ of layer \S+ must fit the activation memory: it needs \d+"
    with pytest.raises(ProgramError, match=expected):
        compile_network(network_of(4), crowded(activation_words=64))


def test_channel_blocks_that_begin_within_a_word_are_refused_by_name() -> None:
    layout = PlaneLayout(height=2, width=2, order=tuple(range(8)), planes=2, rows=4, unit=8)
    config = crowded()
    assert external_span("codes", layout, 0, 2, config) == (0, 1)
    expected = r"^tensor codes: channel blocks in the external memory .* of 8 granules, not at 2 "
    with pytest.raises(ProgramError, match=expected):
        external_span("codes", layout, 1, 1, config)


def test_streams_stay_on_chip_where_no_vectors_can_be_spilled() -> None:
    config = crowded(stream_vectors=64)
    config = replace(config, memory=replace(config.memory, spill_vectors=0))
    with pytest.raises(ProgramError, match=r"must fit the stream memory with the others: it needs"):
        compile_network(network_of(11), config)


def test_blocks_are_part_of_the_program_file() -> None:
    program = compile_network(network_of(11), crowded())
    assert any(tensor.blocks for tensor in program.tensors)
    again = parse_program(program_bytes(program))
    assert again.tensors == program.tensors

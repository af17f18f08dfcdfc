"""Tests of compiler.stages: every table reaches the chip, whatever the external memory's size."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.disassembler import disassemble
from compiler.loads import Load
from compiler.program import Program, ProgramError, Stage
from compiler.program_file import program_bytes
from compiler.stages import cut_stages
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes, import_model
from golden.random_models import RandomLimits, random_model
from hw import isa
from hw.config import AcceleratorConfig, ArrayConfig, preset
from hw.memory.packing import entry_formats
from sim.functional import FunctionalSimulator

MODEL = Path(__file__).parents[2] / "models" / "resnet20-cifar10-w2a2.onnx"
TABLES = ("weights", "coefficients", "parameters", "windows", "masks", "passes", "thresholds")
"""On-chip memories of the functional simulator that stages fill."""


def sized(external_words: int, name: str = "ulx3s-85f") -> AcceleratorConfig:
    config = preset(name)
    return replace(config, memory=replace(config.memory, external_words=external_words))


def narrow(external_words: int, rows: int = 16) -> AcceleratorConfig:
    """Words of weights that are whole words of the external memory."""
    return replace(sized(external_words), array=ArrayConfig(rows=rows))


@cache
def network() -> IntegerNetwork:
    return lower(import_model(MODEL))


@cache
def program_of(external_words: int) -> Program:
    return compile_network(network(), sized(external_words))


def dma_of(stage: Stage) -> list[dict[str, int]]:
    """The DMA instructions of a stage, which has no others but END."""
    loads, entry = [], stage.entry
    while True:
        words = stage.memory[entry : entry + isa.INSTRUCTION_WORDS]
        opcode, fields = isa.decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
        entry += isa.INSTRUCTION_WORDS
        if opcode is isa.Opcode.END:
            assert entry == len(stage.memory)
            return loads
        assert opcode is isa.Opcode.DMA
        loads.append(fields)


def weights(addresses: int, config: AcceleratorConfig, address: int = 0) -> Load:
    """Weights whose external words are all different."""
    form = entry_formats(config)[isa.DmaTarget.WEIGHTS]
    pieces = -(-addresses // form.step)
    words = np.arange(pieces * form.words_of(form.step * form.rows), dtype=np.uint32)
    return Load(
        tag=3,
        target=isa.DmaTarget.WEIGHTS,
        address=address,
        addresses=addresses,
        rows=form.rows,
        step=form.step,
        words=words.reshape(pieces, -1),
    )


@pytest.mark.parametrize("name", ["tiny", "ulx3s-45f", "ulx3s-85f"])
def test_table_that_is_larger_than_a_stage_is_cut_between_weight_words(name: str) -> None:
    config = sized(1024, name)
    load = weights(400, config, address=100)
    width = load.words.shape[1]
    rows, lanes = config.array.rows, config.array.lanes
    assert width == rows * lanes // 32
    stages = cut_stages([load], config)
    assert len(stages) == -(-load.words.size // (1008 // width * width))
    address, content = 100, []
    for stage in stages:
        assert len(stage.memory) <= 1024
        (dma,) = dma_of(stage)
        assert dma["address"] == address
        assert dma["layer"] == 3
        assert dma["count"] % config.array.rows == 0
        count = dma["count"] // config.array.rows
        content += stage.memory[dma["external"] :][: count * width].tolist()
        address += count
    assert address == 500
    assert content == load.words.ravel().tolist()


def test_table_with_two_addresses_in_a_word_is_cut_where_a_word_ends() -> None:
    config = sized(1024, "tiny")
    config = replace(config, array=replace(config.array, granules=1))
    load = weights(2 * 1500 + 1, config)
    assert load.words.shape == (1501, 1)
    stages = cut_stages([load], config)
    loads = [dma for stage in stages for dma in dma_of(stage)]
    assert [dma["address"] for dma in loads] == [0, 2 * 1008]
    assert [dma["count"] for dma in loads] == [4 * 2 * 1008, 4 * (2 * 492 + 1)]
    held = [stage.memory[: stage.entry].tolist() for stage in stages]
    assert [len(words) for words in held] == [1008, 493]
    assert held[0] + held[1] == load.words.ravel().tolist()


def test_odd_weight_words_are_cut_where_two_addresses_end_with_a_word() -> None:
    config = sized(1024, "tiny")
    config = replace(config, array=replace(config.array, granules=3))  # 4 rows of 12 bits
    load = weights(2 * 400 + 1, config)
    assert load.words.shape == (401, 3)
    stages = cut_stages([load], config)
    loads = [dma for stage in stages for dma in dma_of(stage)]
    assert [dma["address"] for dma in loads] == [0, 2 * 336]
    assert [dma["count"] for dma in loads] == [4 * 2 * 336, 4 * (2 * 64 + 1)]
    assert [stage.entry for stage in stages] == [3 * 336, 3 * 65]


def test_stages_are_filled_as_far_as_whole_entries_go() -> None:
    config = narrow(1024)
    loads = [weights(count, config) for count in (20, 61, 2, 100)]
    stages = cut_stages(loads, config)
    counts = [[dma["count"] // 16 for dma in dma_of(stage)] for stage in stages]
    assert counts == [[20, 42], [19, 2, 41], [59]]
    assert [len(stage.memory) for stage in stages] == [1016, 1024, 960]


def test_load_that_fills_a_stage_exactly_leaves_no_empty_part() -> None:
    config = narrow(16 + 16 * 70)
    one, two = ([weights(70, config)] * count for count in (1, 2))
    assert [len(stage.memory) for stage in cut_stages(one, config)] == [1136]
    assert [len(dma_of(stage)) for stage in cut_stages(two, config)] == [1, 1]


def test_nothing_to_load_needs_no_stage() -> None:
    assert cut_stages([], sized(1024)) == ()


def test_largest_entries_fit_the_smallest_external_memory() -> None:
    config = narrow(1024, rows=64)
    load = weights(5, config)
    assert load.words.shape[1] == 256
    assert [len(dma_of(stage)) for stage in cut_stages([load], config)] == [1, 1]


def test_shipped_model_has_the_same_tables_on_chip_with_any_number_of_stages() -> None:
    whole = program_of(1 << 20)
    assert len(whole.stages) == 1
    one = FunctionalSimulator(whole, sized(1 << 20))
    needed = len(whole.memory)
    for external_words in (len(whole.stages[0].memory) - 1, needed):
        program, config = program_of(external_words), sized(external_words)
        assert len(program.stages) > 1
        assert max(len(stage.memory) for stage in program.stages) <= external_words
        assert program.memory.tolist() == whole.memory.tolist()
        several = FunctionalSimulator(program, config)
        for table in TABLES:
            loaded = getattr(several.memories, table)
            assert loaded.any(), table
            np.testing.assert_array_equal(loaded, getattr(one.memories, table), table)


@pytest.mark.parametrize("granules", [1, 2, 3, 5, 8, 9])
def test_tables_of_any_step_reach_the_chip_through_several_stages(granules: int) -> None:
    limits = RandomLimits(image=(5, 8), channels=10, planes=3, blocks=(1, 2), kernels=(1, 2, 3))
    small = lower(import_bytes(model_bytes(random_model(3, limits))))
    loaded = []
    for external_words in (1 << 16, 1024):
        config = sized(external_words, "tiny")
        config = replace(
            config,
            array=replace(config.array, granules=granules),
            memory=replace(config.memory, window_entries=512),
        )
        program = compile_network(small, config)
        assert (len(program.stages) > 1) == (external_words == 1024)
        simulator = FunctionalSimulator(program, config)
        loaded.append([getattr(simulator.memories, table) for table in TABLES])
    for table, one, several in zip(TABLES, *loaded, strict=True):
        assert one.any(), table
        np.testing.assert_array_equal(several, one, table)


def test_program_that_does_not_fit_while_it_runs_is_refused_with_the_words_of_each_use() -> None:
    needed = len(program_of(1 << 20).memory)
    with pytest.raises(ProgramError) as refusal:
        program_of(needed - 1)
    start = "program must fit the external memory while it runs: it needs "
    end = f"), preset ulx3s-85f has {needed - 1}"
    text = str(refusal.value)
    assert text.startswith(f"{start}{needed} words (image 1024, result 16, ")
    assert text.endswith(end)
    uses = text.removeprefix(f"{start}{needed} words (").removesuffix(end).split(", ")
    assert sum(int(use.rpartition(" ")[2]) for use in uses) == needed
    assert any(use.startswith("instructions ") for use in uses)


def test_staged_program_is_deterministic() -> None:
    config = sized(len(program_of(1 << 20).memory))
    first, second = (program_bytes(compile_network(network(), config)) for _ in range(2))
    assert first == second


def test_listing_shows_every_stage() -> None:
    program = program_of(len(program_of(1 << 20).memory))
    count = len(program.stages)
    listing = disassemble(program)
    for number, stage in enumerate(program.stages, 1):
        assert f"\nstage {number} of {count}, {len(stage.memory)} words:\n" in listing
    assert f"\nimage, {len(program.memory)} words:\n" in listing
    assert listing.count(" end") == count + 1

"""Column buffers: skewed reads of one half while the other one is written."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.compute.column import ColumnBuffers, GranuleMemory
from hw.config import PRESETS

TINY = PRESETS["tiny"]
SMALL = replace(TINY, memory=replace(TINY.memory, column_granules=64))
ROWS, COLUMNS, DEPTH = SMALL.array.rows, SMALL.array.columns, SMALL.memory.column_granules
STRIP = 11
READS = 5 * STRIP


def test_granule_memory_writes_or_reads_two_granules():
    rng = random.Random(0)
    dut = GranuleMemory(ROWS, DEPTH)
    content = [0] * DEPTH
    expected = [0, 0]

    async def testbench(ctx):
        for _ in range(400):
            write = rng.random() < 0.5
            addresses = rng.sample(range(DEPTH), 2)
            values = [rng.getrandbits(ROWS) for _ in range(2)]
            ctx.set(dut.write, write)
            for port in range(2):
                ctx.set(dut.address[port], addresses[port])
                ctx.set(dut.data_in[port], values[port])
            await ctx.tick()
            for port in range(2):
                if write:
                    content[addresses[port]] = values[port]
                else:
                    expected[port] = content[addresses[port]]
            assert [ctx.get(port) for port in dut.data_out] == expected

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("granules", [1, 2, 3, 9])
def test_columns_read_relative_to_their_base_while_the_other_half_is_written(granules):
    rng = random.Random(granules)
    config = replace(SMALL, array=replace(SMALL.array, granules=granules))
    dut = ColumnBuffers(config)
    halves = [[0] * DEPTH, [0] * DEPTH]
    activations = []  # of all columns, one list per cycle
    expected = {}  # (cycle, column) -> activations
    cycle = 0

    async def write_words(ctx, half, count):
        for _ in range(count):
            address, word = rng.randrange(DEPTH // 2), rng.getrandbits(2 * ROWS)
            enable = rng.random() < 0.8
            ctx.set(dut.write.enable, enable)
            ctx.set(dut.write.half, half)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, word)
            if enable:
                halves[half][2 * address] = word % (1 << ROWS)
                halves[half][2 * address + 1] = word >> ROWS
            await ctx.tick()
        ctx.set(dut.write.enable, 0)

    async def read_words(ctx, half):
        """Strips of STRIP words; the bases of a strip come one cycle before its first word."""
        bases = [rng.randrange(DEPTH) for _ in range(COLUMNS)]
        for index in range(-1, READS):
            position = (index + 1) % STRIP
            if position == 0:
                next_bases = [rng.randrange(DEPTH) for _ in range(COLUMNS)]
            ctx.set(dut.start, position == 0)
            ctx.set(dut.base, next_bases[position] if position < COLUMNS else 0)
            if index >= 0:
                offsets = [rng.randrange(DEPTH) for _ in range(granules)]
                for place, offset in enumerate(offsets):
                    ctx.set(dut.offsets[place], offset)
                ctx.set(dut.half, half)
                is_word = rng.random() < 0.9
                ctx.set(dut.word, is_word)
                for column, base in enumerate(bases):
                    step = [halves[half][(base + offset) % DEPTH] for offset in offsets]
                    when = cycle + dut.latency + column
                    expected[when, column] = (
                        sum(granule << ROWS * place for place, granule in enumerate(step))
                        if is_word
                        else 0
                    )
            if position == 0:
                bases = next_bases
            await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.word, 0)

    phase_gap = COLUMNS + dut.latency + dut.write_latency

    async def reader(ctx):
        for half in (0, 1, 0, 1):
            await ctx.tick().repeat(phase_gap)
            await read_words(ctx, half)
            await ctx.tick().repeat(phase_gap)

    async def writer(ctx):
        for half in (1, 0, 1, 0):
            await ctx.tick().repeat(phase_gap)
            await write_words(ctx, half, READS + 1)
            await ctx.tick().repeat(phase_gap)

    async def observer(ctx):
        nonlocal cycle
        async for _, _, values in ctx.tick().sample(dut.activations):
            activations.append([values[column] for column in range(COLUMNS)])
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(observer, background=True)
    simulator.add_testbench(reader)
    simulator.add_testbench(writer)
    simulator.run()
    assert any(expected.values())
    for when, values in enumerate(activations):
        wanted = [expected.get((when, column), 0) for column in range(COLUMNS)]
        assert values == wanted, f"cycle {when}"

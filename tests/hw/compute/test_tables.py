"""Row tables and the window table."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.compute.tables import RowTable, WindowTable
from hw.config import PRESETS
from tests.hw.compute.oracle import window_bits, write_table

TINY = PRESETS["tiny"]


def test_row_table_reads_all_rows_and_holds_when_stopped():
    rng = random.Random(0)
    depth, width, rows = 32, 12, 3
    dut = RowTable(depth=depth, width=width, rows=rows)
    content = [[rng.getrandbits(width) for _ in range(depth)] for _ in range(rows)]

    async def testbench(ctx):
        entries = [(row, i, content[row][i]) for row in range(rows) for i in range(depth)]
        await write_table(ctx, dut.write, entries)
        pipeline = []
        for _ in range(200):
            enable, address = rng.random() < 0.7, rng.randrange(depth)
            ctx.set(dut.enable, enable)
            ctx.set(dut.address, address)
            await ctx.tick()
            if enable:
                pipeline.append(address)
            if len(pipeline) >= dut.latency:
                expected = [content[row][pipeline[-dut.latency]] for row in range(rows)]
                assert [ctx.get(dut.entries[row]) for row in range(rows)] == expected

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("step", [1, 2, 3, 9])
def test_window_table_adds_the_plane_to_all_offsets(step):
    rng = random.Random(step)
    config = replace(TINY, array=replace(TINY.array, granules=step))
    dut = WindowTable(config)
    entries, granules = TINY.memory.window_entries, TINY.memory.column_granules
    content = [
        ([rng.randrange(granules) for _ in range(step)], rng.getrandbits(config.array.lanes))
        for _ in range(entries)
    ]

    async def testbench(ctx):
        packed = [(0, i, window_bits(offsets, mask)) for i, (offsets, mask) in enumerate(content)]
        await write_table(ctx, dut.write, packed)
        requests = [
            (rng.randrange(entries), rng.randrange(granules), rng.randrange(entries))
            for _ in range(100)
        ]
        for cycle, (address, plane, mask_address) in enumerate(requests):
            ctx.set(dut.address, address)
            ctx.set(dut.plane, plane)
            ctx.set(dut.mask_address, mask_address)
            if cycle >= dut.latency:
                address, plane, _ = requests[cycle - dut.latency]
                for place, offset in enumerate(content[address][0]):
                    assert ctx.get(dut.offsets[place]) == (offset + plane) % granules
                mask_address = requests[cycle - dut.mask_latency][2]
                assert ctx.get(dut.mask) == content[mask_address][1]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

"""Pixel counters against bases computed by division."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from hw.compute.pixels import PixelCounters, pixel_order
from tests.hw.compute.oracle import pixel_bases

DEPTH = 512


@pytest.mark.parametrize("columns", [2, 4, 16])
def test_bases_follow_the_order_over_strips_and_tiles(columns):
    rng = random.Random(columns)
    dut = PixelCounters(depth=DEPTH, columns=columns)
    cycle, expected, got = 0, {}, []

    async def testbench(ctx):
        nonlocal cycle
        for _ in range(12):
            order = {
                "inner_x": rng.choice([1, 1, 2, 3, 15]),
                "inner_y": rng.choice([1, 1, 2, 3]),
                "outer_x": rng.choice([1, 2, 7, 1023]),
            }
            for name in ("inner_x", "inner_y", "outer_x", "outer_y"):
                order[f"stride_{name}"] = rng.randrange(1 << 13)
            strips = rng.randrange(1, 6)
            bases = list(pixel_bases({**order, "pixels": strips * columns}, DEPTH))
            for strip in range(strips):
                ctx.set(dut.start, 1)
                ctx.set(dut.restart, strip == 0)
                if strip == 0:
                    ctx.set(dut.order, order)
                for column in range(columns):
                    expected[cycle + dut.latency + column] = bases[strip * columns + column]
                await ctx.tick()
                ctx.set(dut.start, 0)
                ctx.set(dut.restart, 0)
                ctx.set(dut.order, pixel_order().from_bits(0))
                await ctx.tick().repeat(columns - 1)
                if rng.random() < 0.5:
                    await ctx.tick().repeat(rng.randrange(1, 5))
        await ctx.tick().repeat(2)

    async def observer(ctx):
        nonlocal cycle
        async for _, _, base in ctx.tick().sample(dut.base):
            got.append(base)
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(observer, background=True)
    simulator.add_testbench(testbench)
    simulator.run()
    assert {when: got[when] for when in expected} == expected

"""Vector queue: order, room, latency."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import unsigned
from amaranth.sim import Simulator

from hw.compute.vector_queue import VectorQueue

DEPTH = 8


@pytest.mark.parametrize(("write_rate", "read_rate"), [(1.0, 1.0), (0.9, 0.3), (0.3, 0.9)])
def test_items_come_out_in_order_while_credits_are_respected(write_rate, read_rate):
    rng = random.Random(f"{write_rate} {read_rate}")
    dut = VectorQueue(unsigned(16), depth=DEPTH)
    items = [rng.getrandbits(16) for _ in range(200)]
    taken = []

    async def testbench(ctx):
        assert ctx.get(dut.empty)
        free, written = DEPTH, 0
        while len(taken) < len(items):
            write = written < len(items) and free > 0 and rng.random() < write_rate
            ctx.set(dut.write, write)
            ctx.set(dut.data, items[written] if write else 0)
            ctx.set(dut.o.ready, rng.random() < read_rate)
            offered, ready, popped = ctx.get(dut.o.valid), ctx.get(dut.o.ready), ctx.get(dut.popped)
            if offered and ready:
                taken.append(ctx.get(dut.o.payload))
            written += write
            free += popped - write
            await ctx.tick()
            assert ctx.get(dut.empty) == (len(taken) == written)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert taken == items


def test_an_item_is_offered_after_the_latency():
    dut = VectorQueue(unsigned(16), depth=DEPTH)

    async def testbench(ctx):
        ctx.set(dut.write, 1)
        ctx.set(dut.data, 77)
        for _ in range(dut.latency):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
            ctx.set(dut.write, 0)
        assert ctx.get(dut.o.valid)
        assert ctx.get(dut.o.payload) == 77

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

"""Stream memory: what was written is read a fixed number of cycles after its address."""

import random

import pytest
from amaranth.sim import Simulator

from hw.post.stream_memory import StreamMemory
from tests.hw.post.peers import values_of


@pytest.mark.parametrize("rows", [4, 6, 16])
def test_vectors_are_read_back_after_the_latency(rows: int) -> None:
    source = random.Random(rows)
    depth = 32
    dut = StreamMemory(depth=depth, width=16, rows=rows)

    async def testbench(ctx):
        content = [[0] * rows for _ in range(depth)]
        expected = []
        for _ in range(200):
            written, read = source.sample(range(depth), 2)
            vector = [source.randint(-(1 << 15), (1 << 15) - 1) for _ in range(rows)]
            enable = source.getrandbits(1)
            ctx.set(dut.write.enable, enable)
            ctx.set(dut.write.address, written)
            ctx.set(dut.write.data, vector)
            ctx.set(dut.address, read)
            expected.append(content[read])
            await ctx.tick()
            if len(expected) >= dut.LATENCY:
                assert values_of(ctx, dut.data, rows) == expected.pop(0)
            if enable:
                content[written] = vector

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

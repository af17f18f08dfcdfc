"""Stream memory: what was written is read one cycle after its address."""

import random

from amaranth.sim import Simulator

from hw.post.stream_memory import StreamMemory
from tests.hw.post.peers import values_of


def test_vectors_are_read_back_one_cycle_after_the_address() -> None:
    source = random.Random(1)
    rows, depth = 4, 32
    dut = StreamMemory(depth=depth, width=16, rows=rows)

    async def testbench(ctx):
        content = [[0] * rows for _ in range(depth)]
        for _ in range(200):
            written, read = source.sample(range(depth), 2)
            vector = [source.randint(-(1 << 15), (1 << 15) - 1) for _ in range(rows)]
            enable = source.getrandbits(1)
            ctx.set(dut.write.enable, enable)
            ctx.set(dut.write.address, written)
            ctx.set(dut.write.data, vector)
            ctx.set(dut.address, read)
            await ctx.tick()
            assert values_of(ctx, dut.data, rows) == content[read]
            if enable:
                content[written] = vector

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

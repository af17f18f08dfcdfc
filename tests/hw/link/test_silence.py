import gc
import re
from random import Random

import pytest

from hw.link.silence import SilenceDelimiter
from tests.hw.link.peers import receive, receiver, sender, simulate


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_cycles_must_be_positive() -> None:
    with pytest.raises(ValueError, match=f"^{re.escape('cycles must be at least 1, not 0')}$"):
        SilenceDelimiter(0)
    gc.collect()


@pytest.mark.parametrize("seed", range(3))
def test_passes_bytes_that_come_in_time(seed: int) -> None:
    rng = Random(seed)
    dut = SilenceDelimiter(500)
    content = [rng.randrange(256) for _ in range(200)]
    received: list[int] = []
    simulate(
        dut,
        sender(dut.i, content, rng, activity=0.3),
        receiver(dut.o, received, len(content), rng, activity=0.3),
    )
    assert received == content


@pytest.mark.parametrize("cycles", [1, 7, 100])
def test_adds_one_delimiter_after_silence(cycles: int) -> None:
    dut = SilenceDelimiter(cycles)

    async def testbench(ctx):
        for _ in range(3):
            ctx.set(dut.o.ready, 1)
            ctx.set(dut.i.payload, 0x42)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.o.valid & dut.o.ready)
            ctx.set(dut.i.valid, 0)
            for _ in range(cycles):
                assert ctx.get(dut.o.valid) == 0
                await ctx.tick()
            assert ctx.get(dut.o.valid) == 1
            assert ctx.get(dut.o.payload) == 0
            await ctx.tick()
            for _ in range(3 * cycles):
                assert ctx.get(dut.o.valid) == 0, "an idle line needs no delimiter"
                await ctx.tick()

    simulate(dut, testbench)


def test_delimiter_waits_for_ready_and_precedes_the_next_byte() -> None:
    dut = SilenceDelimiter(10)
    received: list[int] = []

    async def consumer(ctx):
        received.append(await receive(ctx, dut.o, Random(0)))
        await ctx.tick().repeat(30)
        for _ in range(2):
            received.append(await receive(ctx, dut.o, Random(0)))

    async def producer(ctx):
        await sender(dut.i, [1], Random(0))(ctx)
        await ctx.tick().repeat(20)
        await sender(dut.i, [2], Random(0))(ctx)

    simulate(dut, consumer, producer)
    assert received == [1, 0, 2]

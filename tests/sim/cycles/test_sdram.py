"""The timeline of the SDRAM's controller against the controller, word for word."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.sim import Simulator

from hw.memory.sdram_model import SdramRule
from hw.memory.sdram_part import SdramPart
from hw.memory.sdram_simulated import SimulatedSdram
from sim.cycles.memory_port import ReadBurst
from sim.cycles.sdram import BEGIN, SdramTimeline

CLOCK_MHZ = 50
PART = SdramPart(
    name="small",
    row_bits=3,
    column_bits=4,
    power_up_us=1,
    rcd_ns=21,
    rp_ns=41,
    ras_ns=65,
    rc_ns=106,
    rrd_ns=15,
    rfc_ns=70,
    wr_ns=35,
    # 150 cycles from refresh to refresh.
    refresh_ms=0.024,
)


@dataclass
class Burst:
    """A burst, and the cycles in which something happened; cycles count from the rise of busy."""

    address: int
    length: int
    write: bool
    is_slow: bool = False
    """Words are taken late, so that the queue of a long read fills."""
    asked: int = 0
    taken: int = 0
    offered: list[int] = field(default_factory=list)
    """From when on the other side could take, or give, each word."""
    moved: list[int] = field(default_factory=list)


def run(bursts: list[Burst], rng: random.Random, gap: int) -> None:
    """Let the controller do the bursts, and note the cycles."""
    dut = SimulatedSdram(PART, clock_mhz=CLOCK_MHZ)
    port = dut.port

    async def bench(ctx):
        cycle = 0

        async def tick(stream):
            """One cycle; whether a transfer took place on ``stream`` in it."""
            nonlocal cycle
            _, _, valid, ready, broken = await ctx.tick().sample(
                stream.valid, stream.ready, dut.broken
            )
            assert broken == SdramRule.NONE
            cycle += 1
            return valid and ready

        await ctx.tick().until(dut.ready)
        await ctx.tick().repeat(rng.randrange(1, 300))
        ctx.set(dut.busy, 1)
        for burst in bursts:
            for _ in range(rng.randrange(1, gap)):
                await tick(port.requests)
            ctx.set(
                port.requests.payload,
                {"address": burst.address, "length": burst.length, "write": burst.write},
            )
            ctx.set(port.requests.valid, 1)
            burst.asked = cycle
            while not await tick(port.requests):
                pass
            burst.taken = cycle - 1
            ctx.set(port.requests.valid, 0)
            for _ in range(burst.length):
                if not burst.write:
                    for _ in range(rng.choice((0, 0, 0, 7)) if burst.is_slow else 0):
                        await tick(port.read_data)
                    ctx.set(port.read_data.ready, 1)
                    burst.offered.append(cycle)
                    while not await tick(port.read_data):
                        pass
                    burst.moved.append(cycle - 1)
                    ctx.set(port.read_data.ready, 0)
                    continue
                for _ in range(rng.choice((0, 0, 1, 3, 40))):
                    await tick(port.write_data)
                ctx.set(port.write_data.valid, 1)
                burst.offered.append(cycle)
                while not await tick(port.write_data):
                    pass
                burst.moved.append(cycle - 1)
                ctx.set(port.write_data.valid, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("gap", [2, 8, 200])
def test_every_word_moves_in_the_cycle_that_the_timeline_tells(gap: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    bursts = [
        Burst(
            rng.randrange(PART.words - 180),
            rng.choice((1, 2, 7, 16, 64, 180)),
            rng.random() < 0.5,
            is_slow=rng.random() < 0.5,
        )
        for _ in range(30)
    ]
    run(bursts, rng, gap)
    timeline = SdramTimeline(PART, CLOCK_MHZ)
    for burst in bursts:
        assert timeline.begin(burst.asked + BEGIN, burst.address, burst.length) == (
            burst.taken + BEGIN
        )
        if burst.write:
            cycles = [timeline.write(cycle + BEGIN) for cycle in burst.offered]
        else:
            words = ReadBurst(0, timeline)
            cycles = [words.take(cycle + BEGIN) for cycle in burst.offered]
        assert cycles == [cycle + BEGIN for cycle in burst.moved]

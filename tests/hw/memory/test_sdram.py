"""The SDRAM controller against the model of a part that watches over the rules."""

import random
from dataclasses import replace
from typing import Any

import pytest
from amaranth.sim import Simulator

from hw.memory.sdram import QUEUE_WORDS
from hw.memory.sdram_model import SdramRule
from hw.memory.sdram_part import SDRAM_PARTS, SdramPart, sdram_part
from hw.memory.sdram_simulated import SimulatedSdram

CLOCK_MHZ = 50
SMALL = SdramPart(
    name="small",
    row_bits=3,
    column_bits=4,
    power_up_us=1,
    rcd_ns=21,
    rp_ns=21,
    ras_ns=45,
    rc_ns=66,
    rrd_ns=15,
    rfc_ns=70,
    wr_ns=15,
    # 150 cycles from refresh to refresh.
    refresh_ms=0.024,
)


def sdram(part: SdramPart, **options: Any) -> SimulatedSdram:
    return SimulatedSdram(part, clock_mhz=CLOCK_MHZ, **options)


def simulate(dut: SimulatedSdram, bench, limit: int = 60_000) -> None:
    async def guard(ctx):
        for _ in range(limit):
            await ctx.tick()
        raise AssertionError(f"test must end within {limit} cycles")

    async def watch(ctx):
        async for _, _, broken in ctx.tick().sample(dut.broken):
            assert broken == SdramRule.NONE, f"rule {SdramRule(broken).name} is broken"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(guard, background=True)
    simulator.add_testbench(watch, background=True)
    simulator.run()


async def request(ctx, dut: SimulatedSdram, address: int, length: int, *, write: bool) -> None:
    requests = dut.port.requests
    ctx.set(requests.payload, {"address": address, "length": length, "write": write})
    ctx.set(requests.valid, 1)
    await ctx.tick().until(requests.ready)
    ctx.set(requests.valid, 0)


async def write_burst(
    ctx, dut: SimulatedSdram, address: int, words: list[int], chance: float, rng
) -> None:
    await request(ctx, dut, address, len(words), write=True)
    stream = dut.port.write_data
    for word in words:
        while rng.random() > chance:
            await ctx.tick()
        ctx.set(stream.payload, word)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def read_burst(
    ctx, dut: SimulatedSdram, address: int, length: int, chance: float, rng
) -> list[int]:
    await request(ctx, dut, address, length, write=False)
    stream = dut.port.read_data
    words = []
    while len(words) < length:
        ready = rng.random() < chance
        ctx.set(stream.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if ready and valid:
            words.append(payload)
    ctx.set(stream.ready, 0)
    return words


@pytest.mark.parametrize("pad_cycles", [0, 2])
@pytest.mark.parametrize("cas_latency", [2, 3])
@pytest.mark.parametrize("chance", [1.0, 0.4])
def test_random_bursts_keep_data_and_rules(
    pad_cycles: int, cas_latency: int, chance: float
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    part = replace(SMALL, cas_latency=cas_latency)
    dut = sdram(part, pad_cycles=pad_cycles)
    contents = dict.fromkeys(range(part.words), 0)

    async def bench(ctx):
        for _ in range(60):
            length = rng.choice((1, 2, 7, rng.randint(1, 80)))
            address = rng.randrange(part.words - length)
            span = range(address, address + length)
            if rng.random() < 0.5:
                words = [rng.getrandbits(32) for _ in span]
                await write_burst(ctx, dut, address, words, chance, rng)
                contents.update(zip(span, words, strict=True))
            else:
                words = await read_burst(ctx, dut, address, length, chance, rng)
                assert words == [contents[place] for place in span]
            await ctx.tick().repeat(rng.choice((1, 1, 30)))

    simulate(dut, bench)


def first_words(dut: SimulatedSdram, bursts: list[tuple[int, int]]) -> list[list[int]]:
    """Cycles, counted from the request, in which the words of read bursts come."""
    result = []

    async def bench(ctx):
        await ctx.tick().until(dut.ready)
        ctx.set(dut.busy, 1)
        await ctx.tick()
        ctx.set(dut.busy, 0)
        ctx.set(dut.port.read_data.ready, 1)
        await ctx.tick().repeat(20)
        for address, length in bursts:
            await request(ctx, dut, address, length, write=False)
            cycles, cycle = [], 0
            while len(cycles) < length:
                cycle += 1
                _, _, valid = await ctx.tick().sample(dut.port.read_data.valid)
                if valid:
                    cycles.append(cycle)
            result.append(cycles)
            await ctx.tick()

    simulate(dut, bench)
    return result


@pytest.mark.parametrize("pad_cycles", [0, 2])
def test_a_burst_in_an_open_row_takes_two_cycles_a_word(pad_cycles: int) -> None:
    dut = sdram(SMALL, pad_cycles=pad_cycles)
    first = dut.controller.first_word_cycles
    opened, hit, conflict = first_words(dut, [(0, 4), (4, 4), (SMALL.page_words * 4, 2)])
    timing = dut.controller.timing
    assert hit == [first, first + 2, first + 4, first + 6]
    assert opened == [cycle + timing.rcd - 1 for cycle in hit]
    assert conflict == [first + timing.rp + timing.rcd - 1 + 2 * k for k in range(2)]


def test_long_reads_reach_85_percent_of_the_pins() -> None:
    """Bursts of 64 words, a quarter of what the DMA engine asks for; refreshes included."""
    part = sdram_part("16Mx16")
    dut = sdram(replace(part, row_bits=4, power_up_us=1, refresh_ms=64 / 512))
    assert dut.controller.timing.refi == part.timing(CLOCK_MHZ).refi
    bursts = [(64 * k, 64) for k in range(60)]
    cycles = [0]

    async def bench(ctx):
        await ctx.tick().until(dut.ready)
        ctx.set(dut.port.read_data.ready, 1)
        for address, length in bursts:
            # The arbiter needs two cycles from one burst to the next.
            await ctx.tick().repeat(2)
            await request(ctx, dut, address, length, write=False)
            cycles[0] += 3
            left = length
            while left:
                _, _, valid = await ctx.tick().sample(dut.port.read_data.valid)
                cycles[0] += 1
                left -= valid

    simulate(dut, bench)
    share = 2 * sum(length for _, length in bursts) / cycles[0]
    print(f"{share:.1%} of the pins")
    assert share >= 0.85


def test_runs_after_an_alignment_take_the_same_cycles() -> None:
    """Whatever was open before, and however long the refresh is due."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    dut = sdram(SMALL)
    runs = []

    async def bench(ctx):
        await ctx.tick().until(dut.ready)
        for _ in range(4):
            await ctx.tick().repeat(rng.randrange(1, 400))
            await read_burst(ctx, dut, rng.randrange(200), rng.randrange(1, 20), 1.0, rng)
            await ctx.tick().repeat(3)
            ctx.set(dut.busy, 1)
            await ctx.tick()
            ctx.set(dut.busy, 0)
            await ctx.tick().repeat(dut.controller.timing.ras + 20)
            ctx.set(dut.port.read_data.ready, 1)
            cycles = []
            for address, length in ((3, 30), (100, 64), (20, 5)):
                await request(ctx, dut, address, length, write=False)
                left, cycle = length, 0
                while left:
                    _, _, valid = await ctx.tick().sample(dut.port.read_data.valid)
                    cycle += 1
                    left -= valid
                cycles.append(cycle)
            ctx.set(dut.port.read_data.ready, 0)
            runs.append(cycles)

    simulate(dut, bench)
    assert runs == [runs[0]] * 4


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (SdramRule.T_RCD, {"rcd_ns": 45}),
        (SdramRule.T_RP, {"rp_ns": 45}),
        (SdramRule.T_RAS, {"ras_ns": 205, "rc_ns": 240}),
        (SdramRule.T_RFC, {"rfc_ns": 130}),
        (SdramRule.T_WR, {"wr_ns": 65}),
        (SdramRule.POWER_UP, {"power_up_us": 2}),
        (SdramRule.MODE, {"cas_latency": 3}),
    ],
)
def test_the_model_notices_a_controller_that_is_too_fast(
    rule: SdramRule, change: dict[str, float]
) -> None:
    dut = sdram(replace(SMALL, **change), controller_part=SMALL)
    seen = []

    async def bench(ctx):
        await ctx.tick().repeat(300)
        for address in (0, SMALL.page_words * 4, 0):
            await request(ctx, dut, address, 1, write=True)
            ctx.set(dut.port.write_data.valid, 1)
            await ctx.tick().until(dut.port.write_data.ready)
            ctx.set(dut.port.write_data.valid, 0)
        await ctx.tick().repeat(40)
        seen.append(SdramRule(ctx.get(dut.broken)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [rule]


def test_the_model_notices_refreshes_that_do_not_come() -> None:
    part = replace(SMALL, refresh_ms=SMALL.refresh_ms / 2)
    dut = sdram(part, controller_part=SMALL)
    seen = []

    async def bench(ctx):
        await ctx.tick().repeat(150 * 30)
        seen.append(SdramRule(ctx.get(dut.broken)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [SdramRule.REFRESH]


def test_cycles_of_the_rules_are_rounded_up() -> None:
    timing = sdram_part("16Mx16").timing(50)
    assert (timing.rcd, timing.rp, timing.ras, timing.rc) == (2, 2, 3, 4)
    assert (timing.rrd, timing.rfc, timing.wr, timing.power_up) == (1, 4, 1, 10_000)
    assert timing.refi == 390
    assert sdram_part("16Mx16").timing(100).ras == 5
    assert sdram_part("16Mx16").timing(1000 / 45).ras == 1


def test_parts_have_the_sizes_of_the_boards() -> None:
    sizes = {name: 4 * part.words for name, part in SDRAM_PARTS.items()}
    assert sizes == {"16Mx16": 32 << 20, "32Mx16": 64 << 20}
    assert sdram_part("16Mx16").page_words == 256


def test_bad_parts_and_clocks_are_refused() -> None:
    with pytest.raises(ValueError, match="part must be one of 16Mx16, 32Mx16, not 'DDR3'"):
        sdram_part("DDR3")
    with pytest.raises(ValueError, match="clock must be at most 100 MHz for 16Mx16"):
        sdram_part("16Mx16").timing(133)
    with pytest.raises(ValueError, match="must leave time between refreshes of 16Mx16"):
        sdram_part("16Mx16").timing(1)
    with pytest.raises(ValueError, match="cas_latency must be 2 to 3, not 4"):
        replace(SMALL, cas_latency=4)
    with pytest.raises(ValueError, match=r"rc_ns must be at least ras_ns \(45\), not 40"):
        replace(SMALL, rc_ns=40)


def test_a_slow_reader_does_not_lose_words() -> None:
    """A burst longer than the queue waits for its reader."""
    dut = sdram(SMALL)
    rng = random.Random(1)
    words = [rng.getrandbits(32) for _ in range(QUEUE_WORDS + 40)]

    async def bench(ctx):
        await write_burst(ctx, dut, 5, words, 1.0, rng)
        assert await read_burst(ctx, dut, 5, len(words), 0.05, rng) == words

    simulate(dut, bench)

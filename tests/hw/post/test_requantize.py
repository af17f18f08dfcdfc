"""Thresholds: the circular reader, and codes with ties."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import PRESETS
from hw.payloads import threshold_group
from hw.post.requantize import Requantize
from hw.post.thresholds import ThresholdReader
from tests.hw.post.peers import drive, places, values_of

ROWS, PLANES = 4, 16
GROUP = threshold_group(PRESETS["tiny"])
STEP = PRESETS["tiny"].datapath.comparators


@pytest.mark.parametrize("groups", [1, 2, 3, 16])
def test_reader_repeats_groups_in_order_and_wraps(groups: int) -> None:
    depth, base = 16, 11
    dut = ThresholdReader(depth=depth, shape=GROUP)
    source = random.Random(groups)
    words = [source.getrandbits(GROUP.size) for _ in range(depth)]

    async def testbench(ctx):
        for address, word in enumerate(words):
            ctx.set(dut.write.enable, 1)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, word)
            await ctx.tick()
        ctx.set(dut.write.enable, 0)
        ctx.set(dut.base, base)
        ctx.set(dut.groups, groups)
        for _ in range(2):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().repeat(dut.START_CYCLES - 1)
            for index in range(40):
                assert ctx.get(dut.group.as_value()) == words[(base + index % groups) % depth]
                ctx.set(dut.advance, 1)
                await ctx.tick()
                ctx.set(dut.advance, 0)
                for _ in range(source.choice((0, 0, 1))):
                    await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("groups", [1, 2, 5, 85])
def test_codes_count_thresholds_strictly_below(groups: int) -> None:
    source = random.Random(groups)
    thresholds = sorted(source.randint(-200, 200) for _ in range(groups * STEP))
    thresholds[-1] = (1 << 31) - 1
    deltas = [source.getrandbits(PLANES) for _ in thresholds]
    initial = source.getrandbits(PLANES)
    near = [threshold + step for threshold in thresholds[:-1] for step in (-1, 0, 1)]
    extremes = [-(1 << 31), (1 << 31) - 1]
    vectors = [[source.choice(near) for _ in range(ROWS)] for _ in range(12)] + [extremes * 2]
    dut = Requantize(rows=ROWS, width=32, planes=PLANES, group=GROUP)
    entries = [{"threshold": t, "delta": d} for t, d in zip(thresholds, deltas, strict=True)]
    index, results = 0, []

    def setup(ctx):
        ctx.set(dut.enable, 1)
        ctx.set(dut.groups, groups)
        ctx.set(dut.initial, initial)

    def observe(ctx, cycle):
        nonlocal index
        ctx.set(dut.group, entries[index * STEP : (index + 1) * STEP])
        if ctx.get(dut.advance):
            index = (index + 1) % groups
        if ctx.get(dut.o.valid):
            results.append((cycle, values_of(ctx, dut.o.payload.codes, ROWS)))

    first = True

    def gap() -> int:
        nonlocal first
        idle, first = 0 if first else groups - 1 + source.choice((0, 0, 2)), False
        return idle

    sent = drive(
        dut,
        vectors,
        send=lambda ctx, vector: ctx.set(dut.i.payload.values, vector),
        observe=observe,
        setup=setup,
        gap=gap,
        after=groups + 6,
    )

    def code(value: int) -> int:
        result = initial
        for threshold, delta in zip(thresholds, deltas, strict=True):
            result ^= delta if value > threshold else 0
        return result

    assert results == [
        (cycle + Requantize.LATENCY + groups, [code(value) for value in vector])
        for cycle, vector in zip(sent, vectors, strict=True)
    ]


def test_disabled_block_gives_zero_and_no_codes() -> None:
    dut = Requantize(rows=ROWS, width=32, planes=PLANES, group=GROUP)
    seen = []

    def observe(ctx, cycle):
        codes = values_of(ctx, dut.o.payload.codes, ROWS)
        seen.append((ctx.get(dut.o.valid), ctx.get(dut.advance), codes))

    def setup(ctx):
        ctx.set(dut.initial, 7)
        ctx.set(dut.groups, 1)

    drive(
        dut,
        places(tiles=1, rows=1, windows=4, window=1),
        send=lambda ctx, position: ctx.set(dut.i.payload.position, position),
        observe=observe,
        setup=setup,
    )
    assert set(map(str, seen)) == {str((0, 0, [0] * ROWS))}

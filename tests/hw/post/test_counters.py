"""Nested counters and strided addresses against loops."""

import random

import pytest
from amaranth.sim import Simulator

from hw.post.counters import LoopCounter, NestedCounter, StridedAddress
from tests.hw.post.peers import POSITION_FLAGS


@pytest.mark.parametrize("limit", [1, 2, 3, 15])
def test_loop_counter_marks_last_iteration(limit: int) -> None:
    dut = LoopCounter(4)

    async def testbench(ctx):
        ctx.set(dut.limit, limit)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        for iteration in range(limit):
            for step in (0, 1):
                assert ctx.get(dut.last) == (iteration == limit - 1)
                ctx.set(dut.step, step)
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def walk(inner_x: int, inner_y: int, outer_x: int, vectors: int, tiles: int) -> list[tuple]:
    """(flags, the loop that steps next) of every vector; ends of tiles end windows and rows."""
    result = []
    for tile in range(tiles):
        for index in range(vectors):
            x = index % inner_x
            y = index // inner_x % inner_y
            outer = index // (inner_x * inner_y) % outer_x
            end = index == vectors - 1
            window_last = end or (x == inner_x - 1 and y == inner_y - 1)
            row_last = end or (window_last and outer == outer_x - 1)
            loop = 4 if end else 3 if row_last else 2 if window_last else int(x == inner_x - 1)
            first = index % (inner_x * inner_y) == 0
            flags = (index == 0, first, window_last, row_last, end, end and tile == tiles - 1)
            result.append((tuple(map(int, flags)), 1 << loop))
    return result


@pytest.mark.parametrize("seed", range(6))
def test_nested_counter_walks_like_loops(seed: int) -> None:
    source = random.Random(seed)
    dut = NestedCounter()

    async def testbench(ctx):
        for _ in range(3):
            limits = [source.randint(1, top) for top in (4, 3, 4, 40, 3)]
            names = ("inner_x", "inner_y", "outer_x", "vectors", "tiles")
            for name, limit in zip(names, limits, strict=True):
                ctx.set(getattr(dut, name), limit)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for flags, steps in walk(*limits):
                for _ in range(source.choice((0, 0, 0, 2))):
                    await ctx.tick()
                seen = tuple(ctx.get(getattr(dut.position, name)) for name in POSITION_FLAGS)
                assert (seen, ctx.get(dut.steps)) == (flags, steps), f"seed {seed}, {limits}"
                ctx.set(dut.step, 1)
                await ctx.tick()
                ctx.set(dut.step, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("seed", range(6))
def test_strided_address_is_sum_of_iterations_times_strides(seed: int) -> None:
    source = random.Random(seed)
    width, loops = 9, source.randint(1, 5)
    dut = StridedAddress(width=width, loops=loops)
    base = source.getrandbits(width)
    strides = [source.getrandbits(width) for _ in range(loops)]

    async def testbench(ctx):
        ctx.set(dut.base, base)
        for loop, stride in enumerate(strides):
            ctx.set(dut.strides[loop], stride)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        iterations = [0] * loops
        for _ in range(60):
            terms = (count * stride for count, stride in zip(iterations, strides, strict=True))
            assert ctx.get(dut.address) == (base + sum(terms)) % (1 << width), f"seed {seed}"
            loop = source.randrange(-1, loops)
            ctx.set(dut.steps, 1 << loop if loop >= 0 else 0)
            await ctx.tick()
            if loop >= 0:
                iterations[: loop + 1] = [0] * loop + [iterations[loop] + 1]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

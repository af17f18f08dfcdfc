"""Parameter chain: the right words, in time."""

import random

from amaranth.sim import Simulator

from hw.post.parameters import WORDS_PER_ROW, ParameterChain

ROWS, DEPTH = 4, 64
TILE_WORDS = WORDS_PER_ROW * ROWS


def run(testbench) -> None:
    dut = ParameterChain(depth=DEPTH, rows=ROWS)
    source = random.Random(1)
    words = [source.getrandbits(32) for _ in range(DEPTH)]
    assert len(set(words)) == DEPTH  # else a wrong address would not show

    async def loaded(ctx):
        for address, word in enumerate(words):
            ctx.set(dut.write.enable, 1)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, word)
            await ctx.tick()
        ctx.set(dut.write.enable, 0)
        await testbench(ctx, dut, words)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(loaded)
    simulator.run()


async def request(ctx, dut, address: int, tiles: int) -> None:
    ctx.set(dut.requests.payload, {"address": address, "tiles": tiles})
    ctx.set(dut.requests.valid, 1)
    await ctx.tick().until(dut.requests.ready)
    ctx.set(dut.requests.valid, 0)


async def cycles_until_available(ctx, dut) -> int:
    for cycle in range(4 * TILE_WORDS):
        if ctx.get(dut.available):
            return cycle
        await ctx.tick()
    raise AssertionError("the parameters must become available")


async def pulse(ctx, port) -> None:
    ctx.set(port, 1)
    await ctx.tick()
    ctx.set(port, 0)


def expect_tile(ctx, dut, words: list[int], address: int) -> None:
    tile = [words[(address + k) % DEPTH] for k in range(TILE_WORDS)]
    for row in range(ROWS):
        bias, offset, last = tile[WORDS_PER_ROW * row : WORDS_PER_ROW * (row + 1)]
        fields = dut.next[row]
        assert ctx.get(fields.bias) % (1 << 32) == bias
        assert ctx.get(fields.offset) % (1 << 32) == offset
        assert ctx.get(fields.gain) % (1 << 18) == last % (1 << 18)
        assert ctx.get(fields.minimum) == last >> 31


def test_tiles_of_requests_follow_each_other_and_wrap() -> None:
    async def testbench(ctx, dut, words):
        source = random.Random(2)
        for _ in range(6):
            address, tiles = source.randrange(DEPTH), source.randint(1, 3)
            await request(ctx, dut, address, tiles)
            for tile in range(tiles):
                await cycles_until_available(ctx, dut)
                expect_tile(ctx, dut, words, address + tile * TILE_WORDS)
                await pulse(ctx, dut.claim)
                assert not ctx.get(dut.available)
                await ctx.tick().repeat(source.randint(1, 30))
                expect_tile(ctx, dut, words, address + tile * TILE_WORDS)
                await pulse(ctx, dut.release)

    run(testbench)


def test_fetch_takes_fetch_cycles_from_request_and_from_release() -> None:
    async def testbench(ctx, dut, words):
        await request(ctx, dut, 5, 2)
        assert 1 + await cycles_until_available(ctx, dut) == ParameterChain.fetch_cycles(ROWS)
        await pulse(ctx, dut.claim)
        await pulse(ctx, dut.release)
        assert 1 + await cycles_until_available(ctx, dut) == ParameterChain.fetch_cycles(ROWS)

    run(testbench)


def test_request_during_last_tile_leaves_its_words_alone() -> None:
    async def testbench(ctx, dut, words):
        await request(ctx, dut, 3, 1)
        await request(ctx, dut, 40, 1)
        await cycles_until_available(ctx, dut)
        expect_tile(ctx, dut, words, 3)
        await pulse(ctx, dut.claim)
        await pulse(ctx, dut.release)
        await cycles_until_available(ctx, dut)
        expect_tile(ctx, dut, words, 40)

    run(testbench)

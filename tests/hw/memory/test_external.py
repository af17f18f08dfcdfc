"""Block RAM as external memory, alone and behind the arbiter."""

import gc
from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.memory.arbiter import MemoryArbiter
from hw.memory.external import BlockExternalMemory
from hw.payloads import MemoryPortSignature
from hw.stream import connect_checked
from tests.hw.link.peers import simulate

WORDS = 300


class Bench(wiring.Component):
    """Arbiter and memory; the arbiter's requesters are free."""

    fetch: In(MemoryPortSignature())
    dma: In(MemoryPortSignature())
    host: In(MemoryPortSignature())
    abandon: In(1)

    def __init__(self, stall_seed: int | None, latency: int = 0) -> None:
        self.arbiter = MemoryArbiter(WORDS)
        self.external = BlockExternalMemory(WORDS, latency=latency, stall_seed=stall_seed)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = self.arbiter
        m.submodules.external = self.external
        connect_checked(m, arbiter.memory, self.external.port)
        for name in ("fetch", "dma", "host"):
            connect_checked(m, wiring.flipped(getattr(self, name)), getattr(arbiter, name))
        m.d.comb += arbiter.abandon.eq(self.abandon)
        return m


async def request(ctx, port, address: int, length: int, write: int) -> None:
    ctx.set(port.requests.payload, {"address": address, "length": length, "write": write})
    ctx.set(port.requests.valid, 1)
    await ctx.tick().until(port.requests.ready)
    ctx.set(port.requests.valid, 0)


async def write_words(ctx, port, address: int, words: list[int], rng: Random) -> None:
    await request(ctx, port, address, len(words), 1)
    for word in words:
        while rng.random() < 0.3:
            await ctx.tick()
        ctx.set(port.write_data.payload, word)
        ctx.set(port.write_data.valid, 1)
        await ctx.tick().until(port.write_data.ready)
        ctx.set(port.write_data.valid, 0)


async def read_words(ctx, port, address: int, length: int, rng: Random | None) -> list[int]:
    await request(ctx, port, address, length, 0)
    words = []
    while len(words) < length:
        ready = rng is None or rng.random() < 0.6
        ctx.set(port.read_data.ready, ready)
        _, _, valid, word = await ctx.tick().sample(port.read_data.valid, port.read_data.payload)
        if valid and ready:
            words.append(word)
    ctx.set(port.read_data.ready, 0)
    return words


@pytest.mark.parametrize("stall_seed", [None, 1, 4711])
@pytest.mark.parametrize("latency", [0, 5])
def test_words_are_read_back_and_those_beyond_the_memory_are_zero(
    stall_seed: int | None, latency: int
) -> None:
    rng = Random(f"{stall_seed} {latency}")
    dut = BlockExternalMemory(WORDS, latency=latency, stall_seed=stall_seed)
    model: dict[int, int] = {}
    beyond = [0]

    async def requester(ctx):
        expected_beyond = 0
        for _ in range(40):
            length = rng.choice((1, 2, 7, 20))
            address = rng.choice((rng.randrange(WORDS), WORDS - 3, WORDS + 5))
            touched = range(address, address + length)
            expected_beyond += sum(word >= WORDS for word in touched)
            if rng.randrange(2):
                words = [rng.getrandbits(32) for _ in touched]
                await write_words(ctx, dut.port, address, words, rng)
                model.update((a, w) for a, w in zip(touched, words, strict=True) if a < WORDS)
            else:
                words = await read_words(ctx, dut.port, address, length, rng)
                assert words == [model.get(word, 0) for word in touched]
        await ctx.tick()
        assert beyond[0] == expected_beyond

    async def monitor(ctx):
        async for _, _, pulse in ctx.tick().sample(dut.out_of_range):
            beyond[0] += pulse

    simulate(dut, requester, background=[monitor], cycles_maximum=20_000)


def test_a_burst_takes_a_cycle_per_word() -> None:
    dut = BlockExternalMemory(WORDS, latency=3)
    seen = []

    async def requester(ctx):
        await read_words(ctx, dut.port, 0, 50, None)

    async def monitor(ctx):
        cycle = 0
        async for _, _, start, valid in ctx.tick().sample(
            dut.port.requests.valid, dut.port.read_data.valid
        ):
            cycle += 1
            if start or valid:
                seen.append(cycle)

    simulate(dut, requester, background=[monitor], cycles_maximum=200)
    first = seen[1] - seen[0]
    assert first == 3 + 4
    assert seen[1:] == list(range(seen[1], seen[1] + 50))


@pytest.mark.parametrize("stall_seed", [None, 99])
def test_requesters_share_the_port_without_mixing_bursts(stall_seed: int | None) -> None:
    dut = Bench(stall_seed)

    def requester(name: str, base: int):
        rng = Random(f"{name} {stall_seed}")

        async def testbench(ctx):
            port = getattr(dut, name)
            model = [0] * 90
            for _ in range(25):
                first = rng.randrange(80)
                length = rng.randrange(1, 10)
                if name != "fetch" and rng.randrange(2):
                    words = [rng.getrandbits(32) for _ in range(length)]
                    model[first : first + length] = words
                    await write_words(ctx, port, base + first, words, rng)
                else:
                    words = await read_words(ctx, port, base + first, length, rng)
                    assert words == model[first : first + length]

        return testbench

    peers = [requester(name, 100 * place) for place, name in enumerate(("fetch", "dma", "host"))]
    simulate(dut, *peers, cycles_maximum=20_000)


def test_host_and_dma_take_turns() -> None:
    dut = Bench(None)
    order = []

    def requester(name: str):
        async def testbench(ctx):
            for _ in range(5):
                await request(ctx, getattr(dut, name), 0, 2, 0)
                order.append(name)
                ctx.set(getattr(dut, name).read_data.ready, 1)

        return testbench

    simulate(dut, requester("dma"), requester("host"), cycles_maximum=2000)
    assert order == ["dma", "host"] * 5


@pytest.mark.parametrize("write", [0, 1])
@pytest.mark.parametrize("delay", range(0, 14))
def test_an_abandoned_burst_is_completed(write: int, delay: int) -> None:
    dut = Bench(7 if delay % 2 else None)
    rng = Random(delay)

    async def victim(ctx):
        port = dut.dma
        ctx.set(port.requests.payload, {"address": 0, "length": 8, "write": write})
        ctx.set(port.requests.valid, 1)
        ctx.set(port.read_data.ready, 1)
        ctx.set(port.write_data.payload, 5)
        ctx.set(port.write_data.valid, 1)
        for _ in range(delay):
            _, _, ready = await ctx.tick().sample(port.requests.ready)
            if ready:
                ctx.set(port.requests.valid, 0)
        ctx.set(dut.abandon, 1)
        for signal in (port.requests.valid, port.read_data.ready, port.write_data.valid):
            ctx.set(signal, 0)
        await ctx.tick().repeat(4)
        ctx.set(dut.abandon, 0)
        words = [rng.getrandbits(32) for _ in range(8)]
        await write_words(ctx, dut.host, 20, words, rng)
        assert await read_words(ctx, dut.dma, 20, 8, rng) == words
        assert set(await read_words(ctx, dut.fetch, 0, 8, rng)) <= {0, 5}

    simulate(dut, victim, cycles_maximum=2000)


@pytest.mark.parametrize(
    ("name", "address", "length", "is_bad"),
    [
        ("dma", WORDS - 8, 8, False),
        ("dma", WORDS - 8, 9, True),
        ("dma", (1 << 24) - 1, 1, True),
        ("host", WORDS, 1, False),
        ("fetch", WORDS - 1, 16, False),
    ],
)
def test_only_the_dma_engine_must_stay_inside_the_memory(
    name: str, address: int, length: int, is_bad: bool
) -> None:
    dut = Bench(None)
    pulses = []

    async def requester(ctx):
        await read_words(ctx, getattr(dut, name), address, length, None)
        await ctx.tick().repeat(4)

    async def monitor(ctx):
        async for _, _, pulse in ctx.tick().sample(dut.arbiter.bad_address):
            if pulse:
                pulses.append(1)

    simulate(dut, requester, background=[monitor], cycles_maximum=500)
    assert len(pulses) == is_bad


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": 0}, "^external memory words must be 1 to 16777216, not 0$"),
        ({"words": 8, "latency": -1}, "^external memory latency must not be negative, not -1$"),
        ({"words": 8, "stall_seed": 0}, "^external memory stall_seed must be 1 to 65535, not 0$"),
        ({"words": 1 << 17, "init": [1]}, "^external memory init must be empty for 131072 words$"),
    ],
)
def test_impossible_memories_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockExternalMemory(**arguments)
    gc.collect()  # so that the refused object is gone while its warning is ignored

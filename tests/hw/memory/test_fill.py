"""FILL against an oracle that walks the rectangle in Python."""

from dataclasses import dataclass, fields, replace
from random import Random

import pytest

from hw.config import PRESETS, AcceleratorConfig
from hw.isa import Opcode, instruction_layout
from hw.memory.fill import FillEngine
from tests.hw.link.peers import simulate

TINY = PRESETS["tiny"]
SMALL = PRESETS["ulx3s-12f"]
LARGE = PRESETS["ulx3s-85f"]
WIDE = replace(TINY, name="wide", array=replace(TINY.array, rows=32))
COLUMN_DELAY = 3
CONFIGS = {config.name: config for config in (TINY, SMALL, LARGE, WIDE)}


@dataclass(frozen=True, kw_only=True)
class Fill:
    """A FILL instruction's fields."""

    half: int = 0
    image: int = 0
    source: int = 0
    source_stride: int = 0
    top: int = 0
    rows: int = 1
    bottom: int = 0
    left: int = 0
    words: int = 1
    right: int = 0
    kernel: int = 1
    stride: int = 1
    granules: int = 1

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def positions(self) -> int:
        return (self.top + self.rows + self.bottom) * (self.left + self.words + self.right)


def padded_rows(fill: Fill, interior):
    """Rows with ``interior(row, column)`` inside and 0 around."""
    width = fill.left + fill.words + fill.right
    empty = [0] * width
    for _ in range(fill.top):
        yield empty
    for row in range(fill.rows):
        words = [interior(row, column) for column in range(fill.words)]
        yield [0] * fill.left + words + [0] * fill.right
    for _ in range(fill.bottom):
        yield empty


def expected_words(config: AcceleratorConfig, fill: Fill, memory: list[int]) -> list[int]:
    lanes, rows = config.array.word_width, config.array.rows
    if not fill.image:
        cells = padded_rows(fill, lambda y, x: memory[fill.source + y * fill.source_stride + x])
        return [word for row in cells for word in row]
    per_pixel = max(1, 32 // lanes)

    def pixel(y: int, x: int) -> int:
        first = fill.source + y * fill.source_stride + x * per_pixel
        value = sum(memory[first + part] << (lanes * part) for part in range(per_pixel))
        return (value & 0xFFFFFFFF) ^ 0x80808080

    words = []
    for row in padded_rows(fill, pixel):
        for i in range(fill.kernel - 1, len(row), fill.stride):
            for block in range(fill.granules):
                planes = []
                for plane in range(8):
                    granule = 0
                    for lane in range(rows):
                        age, byte = divmod(block * rows + lane, 4)
                        known = age <= i and age < config.datapath.patch_pixels
                        bits = row[i - age] if known else 0
                        granule |= (bits >> (8 * byte + plane) & 1) << lane
                    planes.append(granule)
                for low, high in zip(planes[::2], planes[1::2], strict=True):
                    words.append(low | high << rows)
    return words


def run(config: AcceleratorConfig, fills: list[Fill], memory: list[int], seed: int):
    """The writes, the cycles from acceptance to the last write and to done, per command."""
    rng = Random(seed)
    dut = FillEngine(config, column_delay=COLUMN_DELAY)
    results = []
    state = {"writes": [], "cycle": 0, "last": 0, "settle": 0, "bad": False}

    async def memory_peer(ctx):
        async for _, _, enable, address in ctx.tick().sample(dut.read.enable, dut.read.address):
            value = memory[address] if enable else rng.getrandbits(config.array.word_width)
            ctx.set(dut.read.data, value)

    async def monitor(ctx):
        port = dut.columns
        async for _, _, enable, half, address, word, done, bad in ctx.tick().sample(
            port.enable, port.half, port.address, port.data, dut.done, dut.bad_address
        ):
            state["cycle"] += 1
            if enable:
                state["writes"].append((half, address, word))
                state["last"] = state["cycle"]
            state["bad"] |= bool(bad)
            if done:
                state["settle"] = state["cycle"] - state["last"]

    async def commands(ctx):
        for fill in fills:
            await ctx.tick().repeat(rng.randrange(3) + 1)
            command = instruction_layout(Opcode.FILL).const(fill.as_dict())
            ctx.set(dut.command.payload, command)
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)
            state["writes"], state["bad"], start = [], False, state["cycle"]
            await ctx.tick().until(dut.done)
            await ctx.tick()
            results.append((state["writes"], state["last"] - start, state["settle"], state["bad"]))

    simulate(dut, commands, background=(monitor, memory_peer), cycles_maximum=100_000)
    return results


def memory_of(config: AcceleratorConfig, seed: int) -> list[int]:
    rng = Random(seed)
    return [rng.getrandbits(config.array.word_width) for _ in range(config.memory.activation_words)]


def check(config: AcceleratorConfig, fills: list[Fill], seed: int):
    memory = memory_of(config, seed)
    results = run(config, fills, memory, seed)
    for fill, (writes, cycles, settle, bad_address) in zip(fills, results, strict=True):
        expected = [
            (fill.half, index, word)
            for index, word in enumerate(expected_words(config, fill, memory))
        ]
        room = config.memory.column_granules // 2
        assert writes == expected[:room], f"{fill} seed {seed}"
        assert bad_address == (len(expected) > room), f"{fill} seed {seed}"
        assert settle >= COLUMN_DELAY or not writes
        yield fill, cycles


@pytest.mark.parametrize("name", CONFIGS)
def test_rectangles_are_copied_one_word_per_cycle(name: str) -> None:
    config, seed = CONFIGS[name], 1
    rng = Random(seed)
    fills = [
        Fill(
            half=rng.randrange(2),
            source=rng.randrange(100),
            source_stride=rng.randrange(40),
            top=rng.choice((0, 1, 3)),
            rows=rng.choice((0, 1, 2, 5)),
            bottom=rng.choice((0, 1, 2)),
            left=rng.choice((0, 1, 4)),
            words=rng.choice((0, 1, 3, 8)),
            right=rng.choice((0, 1, 2)),
        )
        for _ in range(25)
    ]
    for fill, cycles in check(config, fills, seed):
        if fill.positions:
            assert cycles == fill.positions + FillEngine.overhead - 1


@pytest.mark.parametrize("name", CONFIGS)
def test_image_rows_become_patches(name: str) -> None:
    config, seed = CONFIGS[name], 2
    rng = Random(seed)
    blocks = -(-config.datapath.patch_pixels * 4 // config.array.rows)
    fills = [
        Fill(
            half=rng.randrange(2),
            image=1,
            source=rng.randrange(100),
            source_stride=rng.randrange(60),
            top=rng.choice((0, 1)),
            rows=rng.choice((1, 3)),
            bottom=rng.choice((0, 1)),
            left=rng.choice((0, 1, 3)),
            words=rng.choice((1, 6, 9)),
            right=rng.choice((0, 1, 2)),
            kernel=rng.choice((1, 2, 3, 5)),
            stride=rng.choice((1, 2, 3)),
            granules=rng.randrange(1, min(blocks, 3) + 1),
        )
        for _ in range(12)
    ]
    for _ in check(config, fills, seed):
        pass


def test_image_patches_follow_without_gaps() -> None:
    fill = Fill(
        image=1, source_stride=8, top=1, rows=4, bottom=1, left=1, words=8, right=1, kernel=3
    )
    memory = memory_of(LARGE, 3)
    ((writes, cycles, _, bad_address),) = run(LARGE, [fill], memory, 3)
    # Four words per patch; per row, two pixels come before the first patch.
    assert len(writes) == 6 * 8 * 4
    assert not bad_address
    assert cycles <= len(writes) + 6 * 2 + FillEngine.overhead + 5


def test_a_source_beyond_the_memory_is_a_bad_address() -> None:
    memory = memory_of(TINY, 4)
    last = TINY.memory.activation_words - 1
    good, bad = Fill(source=last), Fill(source=last, words=2)
    results = run(TINY, [good, bad, good], memory + memory, 4)
    assert [result[-1] for result in results] == [False, True, False]

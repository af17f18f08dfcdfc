"""Packing: planes, single granules, raw items and their addresses."""

import random
from dataclasses import replace

import pytest

from hw.config import PRESETS, AcceleratorConfig
from hw.post.pack import Pack, RawWriter
from tests.hw.post.peers import drive, places, random_vectors

TINY = PRESETS["tiny"]
GRANULES = 2 * TINY.memory.activation_words


def with_rows(rows: int) -> AcceleratorConfig:
    return replace(TINY, array=replace(TINY.array, rows=rows))


class Written:
    """Records the granules that a Pack writes."""

    def __init__(self, dut: Pack, rows: int) -> None:
        self.dut = dut
        self.rows = rows
        self.granules: dict[int, int] = {}
        self.cycles: list[int] = []
        self.finished: list[int] = []

    def observe(self, ctx, cycle: int) -> None:
        write = self.dut.write
        enable, word = ctx.get(write.enable), ctx.get(write.data)
        if enable:
            self.cycles.append(cycle)
        for half in range(2):
            if enable >> half & 1:
                granule = word >> half * self.rows & (1 << self.rows) - 1
                address = 2 * ctx.get(write.address) + half
                assert address not in self.granules, "no granule may be written twice"
                self.granules[address] = granule
        if ctx.get(self.dut.finished):
            self.finished.append(cycle)


@pytest.mark.parametrize("planes", range(1, 17))
def test_plane_j_is_bit_j_of_the_codes(planes: int) -> None:
    source = random.Random(planes)
    rows = TINY.array.rows
    dut = Pack(TINY)
    written = Written(dut, rows)
    tiles, lines, windows = 2, 2, 3
    positions = places(tiles=tiles, rows=lines, windows=windows, window=1)
    codes = [[source.getrandbits(16) for _ in range(rows)] for _ in positions]
    slots = 1 if planes == 1 else (planes + 1) // 2 * 2
    base = 2 * source.randrange(TINY.memory.activation_words) + (planes == 1)
    block, pixel, line = slots, 2 * slots * tiles, 2 * slots * tiles * windows

    def setup(ctx):
        ctx.set(dut.planes, planes)
        ctx.set(dut.base, base)
        ctx.set(dut.stride_tile, block)
        ctx.set(dut.stride_outer_x, pixel)
        ctx.set(dut.stride_outer_y, line)
        ctx.set(dut.start, 1)

    def send(ctx, item):
        ctx.set(dut.start, 0)
        ctx.set(dut.codes.payload.position, item[0])
        ctx.set(dut.codes.payload.codes, item[1])

    pace = (planes + 1) // 2
    first = True

    def gap() -> int:
        nonlocal first
        idle, first = 0 if first else pace - 1 + source.choice((0, 0, 2)), False
        return idle

    sent = drive(
        dut,
        list(zip(positions, codes, strict=True)),
        send=send,
        observe=written.observe,
        setup=setup,
        gap=gap,
        ports=[dut.codes],
    )
    expected = {}
    for index, vector in enumerate(codes):
        tile, rest = divmod(index, lines * windows)
        address = base + tile * block + rest // windows * line + rest % windows * pixel
        for plane in range(planes):
            granule = sum((code >> plane & 1) << row for row, code in enumerate(vector))
            expected[(address + plane) % GRANULES] = granule
    assert written.granules == expected
    assert written.cycles == [c + Pack.LATENCY + k for c in sent for k in range(pace)]
    assert written.finished == written.cycles[-1:]


@pytest.mark.parametrize("rows", [4, 8, 16, 32])
def test_raw_items_follow_each_other_low_part_first(rows: int) -> None:
    source = random.Random(rows)
    config = with_rows(rows)
    lanes = config.array.word_width
    item_cycles = RawWriter.item_cycles(config)
    dut = Pack(config)
    written = Written(dut, rows)
    positions = places(tiles=1, rows=1, windows=2, window=1)
    vectors = random_vectors(source, count=2, rows=rows, width=32)
    items = [
        (position, value, row == 0, row == rows - 1)
        for position, vector in zip(positions, vectors, strict=True)
        for row, value in enumerate(vector)
    ]
    stride = 2 * rows * item_cycles

    def setup(ctx):
        ctx.set(dut.raw, 1)
        ctx.set(dut.planes, 3)
        ctx.set(dut.base, 64)
        ctx.set(dut.stride_outer_x, stride)
        ctx.set(dut.start, 1)

    def send(ctx, item):
        ctx.set(dut.start, 0)
        payload = dut.items.payload
        ctx.set(payload.position, item[0])
        ctx.set(payload.value, item[1])
        ctx.set(payload.first, item[2])
        ctx.set(payload.last, item[3])

    first = True

    def gap() -> int:
        nonlocal first
        idle, first = 0 if first else item_cycles - 1, False
        return idle

    drive(
        dut,
        items,
        send=send,
        observe=written.observe,
        setup=setup,
        gap=gap,
        ports=[dut.items],
    )
    expected = {}
    for index, vector in enumerate(vectors):
        bits = b"".join(
            (value % (1 << 32)).to_bytes(max(4, lanes // 8), "little") for value in vector
        )
        whole = int.from_bytes(bits, "little")
        for k in range(stride):
            expected[64 + index * stride + k] = whole >> k * rows & (1 << rows) - 1
    assert written.granules == expected
    assert written.finished == written.cycles[-1:]

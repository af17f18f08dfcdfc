"""Stream value and its address against the rounding and saturation of the golden model."""

import random

import pytest

from golden.fixed_point import round_shift, saturate
from hw.post.stream_store import StreamStore
from tests.hw.post.peers import drive, places, random_vectors, values_of

ROWS, DEPTH = 4, 64


def edges(shift: int) -> list[int]:
    """Values at which rounding or saturation changes, and their neighbours."""
    centres = {0, 1 << shift, 3 << shift >> 1, 1 << shift >> 1}
    centres |= {
        (1 << 15) << shift,
        ((1 << 15) - 1) << shift,
        (1 << 15 << shift) - (1 << shift >> 1),
    }
    values = {sign * centre + step for centre in centres for sign in (1, -1) for step in (-1, 0, 1)}
    return sorted(value for value in values if -(1 << 31) <= value < 1 << 31)


@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("shift", range(32))
def test_value_is_rounded_and_saturated(shift: int, relu: int) -> None:
    source = random.Random(shift)
    values = edges(shift)
    vectors = [[source.choice(values) for _ in range(ROWS)] for _ in range(20)]
    vectors += [(values + values)[k : k + ROWS] for k in range(0, len(values), ROWS)]
    vectors += random_vectors(source, count=20, rows=ROWS, width=32)
    dut = StreamStore(rows=ROWS, width=32, stream_width=18, depth=DEPTH)
    results = []

    def setup(ctx):
        ctx.set(dut.shift, shift)
        ctx.set(dut.relu, relu)

    def observe(ctx, cycle):
        assert not ctx.get(dut.write.enable)
        if ctx.get(dut.o.valid):
            results.append((cycle, values_of(ctx, dut.o.payload.values, ROWS)))

    sent = drive(
        dut,
        vectors,
        send=lambda ctx, vector: ctx.set(dut.i.payload.values, vector),
        observe=observe,
        setup=setup,
        after=StreamStore.LATENCY + 1,
    )
    floor = 0 if relu else -(1 << 31)
    assert results == [
        (
            cycle + StreamStore.LATENCY,
            [saturate(round_shift(max(v, floor), shift), 18) for v in vector],
        )
        for cycle, vector in zip(sent, vectors, strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_store_address_follows_outer_counts(seed: int) -> None:
    source = random.Random(seed)
    rows, windows, window, tiles = 2, 3, source.randint(1, 2), 2
    positions = places(tiles=tiles, rows=rows, windows=windows, window=window)
    base, stride_x, stride_y = (source.randrange(DEPTH) for _ in range(3))
    vectors = random_vectors(source, count=len(positions), rows=ROWS, width=18)
    dut = StreamStore(rows=ROWS, width=32, stream_width=18, depth=DEPTH)
    writes, finished = [], []

    def setup(ctx):
        ctx.set(dut.store, 1)
        ctx.set(dut.base, base)
        ctx.set(dut.stride_outer_x, stride_x)
        ctx.set(dut.stride_outer_y, stride_y)
        ctx.set(dut.start, 1)

    def send(ctx, item):
        ctx.set(dut.start, 0)
        ctx.set(dut.i.payload.position, item[0])
        ctx.set(dut.i.payload.values, item[1])

    def observe(ctx, cycle):
        if ctx.get(dut.write.enable):
            address = ctx.get(dut.write.address)
            writes.append((address, values_of(ctx, dut.write.data, ROWS)))
        if ctx.get(dut.finished):
            finished.append(len(writes))

    drive(
        dut,
        list(zip(positions, vectors, strict=True)),
        send=send,
        observe=observe,
        setup=setup,
        gap=lambda: source.choice((0, 0, 2)),
    )
    addresses = [
        (base + tile + y * stride_y + x * stride_x) % DEPTH
        for tile in range(tiles)
        for y in range(rows)
        for x in range(windows)
        for _ in range(window)
    ]
    assert writes == list(zip(addresses, vectors, strict=True)), f"seed {seed}"
    assert finished == [len(vectors)]

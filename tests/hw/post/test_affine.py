"""Affine step against integers, on both routes."""

import random

import pytest

from hw.post.affine import Affine
from tests.hw.post.peers import drive, places, random_vectors, values_of

ROWS = 4


def wrap(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


@pytest.mark.parametrize("relu", [0, 1])
def test_gain_and_offset_change_with_the_tile(relu: int) -> None:
    source = random.Random(relu)
    positions = places(tiles=3, rows=1, windows=4, window=1)
    vectors = random_vectors(source, count=len(positions), rows=ROWS, width=18)
    gains = random_vectors(source, count=3, rows=ROWS, width=18)
    offsets = random_vectors(source, count=3, rows=ROWS, width=32)
    dut = Affine(rows=ROWS, width=32, stream_width=18, gain_width=18)
    results = []

    def setup(ctx):
        ctx.set(dut.affine, 1)
        ctx.set(dut.relu, relu)
        ctx.set(dut.direct.valid, 1)
        ctx.set(dut.direct.payload.values, [3, 1, 4, 1])

    def send(ctx, index):
        ctx.set(dut.gain, gains[index // 4])
        ctx.set(dut.offset, offsets[max(index - 1, 0) // 4])
        ctx.set(dut.i.payload.position, positions[index])
        ctx.set(dut.i.payload.values, vectors[index])

    def observe(ctx, cycle):
        if ctx.get(dut.o.valid):
            results.append((cycle, values_of(ctx, dut.o.payload.values, ROWS)))

    sent = drive(dut, range(12), send=send, observe=observe, setup=setup)
    expected = []
    for index, vector in enumerate(vectors):
        rows = zip(vector, gains[index // 4], offsets[index // 4], strict=True)
        value = [wrap(s * gain + offset) for s, gain, offset in rows]
        value = [max(u, 0) for u in value] if relu else value
        expected.append((sent[index] + Affine.LATENCY, value))
    assert results == expected


@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("relu_direct", [0, 1])
def test_direct_route_clips_on_demand(relu: int, relu_direct: int) -> None:
    source = random.Random(5)
    vectors = random_vectors(source, count=20, rows=ROWS, width=32)
    dut = Affine(rows=ROWS, width=32, stream_width=18, gain_width=18)
    results = []

    def setup(ctx):
        ctx.set(dut.relu, relu)
        ctx.set(dut.relu_direct, relu_direct)

    def observe(ctx, cycle):
        if ctx.get(dut.o.valid):
            results.append((cycle, values_of(ctx, dut.o.payload.values, ROWS)))

    sent = drive(
        dut,
        vectors,
        send=lambda ctx, vector: ctx.set(dut.direct.payload.values, vector),
        observe=observe,
        setup=setup,
        ports=[dut.direct],
    )
    floor = 0 if relu or relu_direct else -(1 << 31)
    assert results == [
        (cycle + Affine.DIRECT_LATENCY, [max(value, floor) for value in vector])
        for cycle, vector in zip(sent, vectors, strict=True)
    ]


def test_unused_stream_values_do_not_reach_the_next_command() -> None:
    dut = Affine(rows=ROWS, width=32, stream_width=18, gain_width=18)
    seen = []

    def send(ctx, affine):
        ctx.set(dut.affine, affine)

    def observe(ctx, cycle):
        ctx.set(dut.affine, cycle > 1)
        seen.append(ctx.get(dut.o.valid))

    drive(dut, [0], send=send, observe=observe)
    assert not any(seen)

"""Items of a vector, and the fixed-point codes made of them."""

import random

import pytest

from golden.fixed_point import round_shift, saturate
from hw.post.serialize import FixedPoint, Serializer
from tests.hw.post.peers import drive, random_vectors, values_of

ROWS = 4


@pytest.mark.parametrize("item_cycles", [1, 2, 4])
def test_items_leave_row_by_row(item_cycles: int) -> None:
    source = random.Random(item_cycles)
    vectors = random_vectors(source, count=6, rows=ROWS, width=32)
    dut = Serializer(rows=ROWS, width=32, item_cycles=item_cycles)
    results, first = [], True

    def observe(ctx, cycle):
        if ctx.get(dut.o.valid):
            item = dut.o.payload
            flags = (ctx.get(item.first), ctx.get(item.last))
            results.append((cycle, flags, ctx.get(item.value)))

    def gap() -> int:
        nonlocal first
        idle, first = 0 if first else ROWS * item_cycles - 1 + source.choice((0, 2)), False
        return idle

    sent = drive(
        dut,
        vectors,
        send=lambda ctx, vector: ctx.set(dut.i.payload.values, vector),
        observe=observe,
        setup=lambda ctx: ctx.set(dut.enable, 1),
        gap=gap,
    )
    assert results == [
        (cycle + 1 + row * item_cycles, (int(row == 0), int(row == ROWS - 1)), vector[row])
        for cycle, vector in zip(sent, vectors, strict=True)
        for row in range(ROWS)
    ]


@pytest.mark.parametrize("bits", range(1, 17))
def test_fixed_point_codes_match_golden_model(bits: int) -> None:
    for shift in {0, 1, (5 * bits) % 32, 31}:
        source = random.Random(100 * bits + shift)
        top = 1 << (bits - 1) << shift
        edges = [sign * top + step * (1 << shift >> 1) for sign in (1, -1) for step in (-1, 0, 1)]
        edges += [edge + step for edge in edges for step in (-1, 1)]
        edges = [edge for edge in edges if -(1 << 31) <= edge < 1 << 31] + [0]
        vectors = [[source.choice(edges) for _ in range(ROWS)] for _ in range(6)]
        vectors += random_vectors(source, count=4, rows=ROWS, width=32)
        check_fixed(source, bits, shift, vectors)


def check_fixed(source: random.Random, bits: int, shift: int, vectors: list[list[int]]) -> None:
    dut = FixedPoint(rows=ROWS, width=32, planes=16)
    items = [(value, row == ROWS - 1) for vector in vectors for row, value in enumerate(vector)]
    results = []

    def setup(ctx):
        ctx.set(dut.enable, 1)
        ctx.set(dut.shift, shift)
        ctx.set(dut.bits, bits)

    def send(ctx, item):
        ctx.set(dut.i.payload.value, item[0])
        ctx.set(dut.i.payload.last, item[1])

    def observe(ctx, cycle):
        if ctx.get(dut.o.valid):
            results.append((cycle, values_of(ctx, dut.o.payload.codes, ROWS)))

    sent = drive(
        dut,
        items,
        send=send,
        observe=observe,
        setup=setup,
        gap=lambda: source.choice((0, 0, 0, 1)),
        after=6,
    )
    assert results == [
        (
            cycle + FixedPoint.LATENCY,
            [saturate(round_shift(v, shift), bits) % (1 << 16) for v in vector],
        )
        for cycle, vector in zip(sent[ROWS - 1 :: ROWS], vectors, strict=True)
    ], f"bits {bits}, shift {shift}"

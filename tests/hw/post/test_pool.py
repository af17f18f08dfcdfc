"""Pooling against max, min and sum."""

import random

import pytest

from hw.isa import PoolOperation
from hw.post.pool import Pool
from tests.hw.post.peers import drive, places, random_vectors, values_of

ROWS = 4


@pytest.mark.parametrize("operation", tuple(PoolOperation), ids=lambda operation: operation.name)
@pytest.mark.parametrize("window", [1, 4, 9])
def test_pool_reduces_each_window(operation: PoolOperation, window: int) -> None:
    source = random.Random(f"{operation.name} {window}")
    tiles, windows = 3, 3
    positions = places(tiles=tiles, rows=1, windows=windows, window=window)
    vectors = random_vectors(source, count=len(positions), rows=ROWS, width=32)
    minimum = [source.getrandbits(ROWS) for _ in range(tiles)]
    dut = Pool(rows=ROWS, width=32)
    results = []

    def send(ctx, index):
        position = positions[index]
        ctx.set(dut.minimum, minimum[index // (windows * window)] if position["tile_first"] else 5)
        ctx.set(dut.i.payload.position, position)
        ctx.set(dut.i.payload.values, vectors[index])

    def observe(ctx, cycle):
        if ctx.get(dut.o.valid):
            results.append((cycle, values_of(ctx, dut.o.payload.values, ROWS)))

    sent = drive(
        dut,
        range(len(vectors)),
        send=send,
        observe=observe,
        setup=lambda ctx: ctx.set(dut.operation, operation),
        gap=lambda: source.choice((0, 0, 0, 2)),
    )

    def reduced(row: int, column: list[int], flags: int) -> int:
        if operation is PoolOperation.SUM:
            return (sum(column) + (1 << 31)) % (1 << 32) - (1 << 31)
        return min(column) if flags >> row & 1 else max(column)

    expected = list(zip((cycle + Pool.LATENCY for cycle in sent), vectors, strict=True))
    if operation is not PoolOperation.NONE:
        expected = []
        for start in range(0, len(vectors), window):
            columns = zip(*vectors[start : start + window], strict=True)
            flags = minimum[start // (windows * window)]
            values = [reduced(row, list(column), flags) for row, column in enumerate(columns)]
            expected.append((sent[start + window - 1] + Pool.LATENCY, values))
    assert results == expected

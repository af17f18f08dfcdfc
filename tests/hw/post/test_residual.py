"""Bias and residual against integers."""

import random

import pytest

from hw.isa import ResidualMode
from hw.post.residual import Residual
from hw.post.stream_memory import StreamMemory
from tests.hw.post.peers import drive, places, random_vectors, values_of

ROWS = 4


def wrap(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


@pytest.mark.parametrize("mode", tuple(ResidualMode), ids=lambda mode: mode.name)
@pytest.mark.parametrize("shift", [0, 1, 7, 12, 16, 31])
@pytest.mark.parametrize("array", [0, 1])
def test_residual_matches_integers(mode: ResidualMode, shift: int, array: int) -> None:
    seed = f"{mode.name} {shift} {array}"
    source = random.Random(seed)
    window = 1 if mode is ResidualMode.NONE else 3
    positions = places(tiles=2, rows=2, windows=2, window=window)
    count = len(positions)
    accumulators = random_vectors(source, count=count, rows=ROWS, width=32)
    residuals = random_vectors(source, count=count, rows=ROWS, width=18)
    biases = random_vectors(source, count=2, rows=ROWS, width=32)
    dut = Residual(rows=ROWS, width=32, stream_width=18)
    results, biased = [], []

    def setup(ctx):
        ctx.set(dut.mode, mode)
        ctx.set(dut.shift, shift)
        ctx.set(dut.array, array)

    def send(ctx, index):
        first = positions[index]["tile_first"]
        ctx.set(dut.i.payload.position, positions[index])
        ctx.set(dut.i.payload.values, accumulators[index])
        ctx.set(dut.bias, biases[index * 2 // count] if first else [7] * ROWS)

    current = iter(residuals)
    answers = [[99] * ROWS] * StreamMemory.LATENCY

    def observe(ctx, cycle):
        # The residual memory answers some cycles after the vector.
        ctx.set(dut.residuals, answers.pop(0))
        answers.append(next(current) if ctx.get(dut.i.valid) else [99] * ROWS)
        if ctx.get(dut.biased.valid):
            biased.append(values_of(ctx, dut.biased.payload, ROWS))
        if ctx.get(dut.o.valid):
            flags = ctx.get(dut.o.payload.position)
            results.append((cycle, flags.window_first, values_of(ctx, dut.o.payload.values, ROWS)))

    sent = drive(
        dut,
        range(count),
        send=send,
        observe=observe,
        setup=setup,
        gap=lambda: source.choice((0, 0, 3)),
    )
    summing = mode is ResidualMode.SUM
    expected, expected_biased, total = [], [], [0] * ROWS
    for index, position in enumerate(positions):
        bias = biases[index * 2 // count]
        if position["window_first"] or not summing:
            start = [wrap(a * array + b) for a, b in zip(accumulators[index], bias, strict=True)]
            expected_biased.append(start)
            total = [0] * ROWS
        if mode is not ResidualMode.NONE:
            total = [t + r for t, r in zip(total, residuals[index], strict=True)]
        if position["window_last"] or not summing:
            value = [wrap(s + (t << shift)) for s, t in zip(start, total, strict=True)]
            first = 1 if summing else position["window_first"]
            expected.append((sent[index] + Residual.LATENCY, first, value))
    assert results == expected, f"seed {seed}"
    assert biased == expected_biased, f"seed {seed}"


def test_summed_window_carries_start_of_tile() -> None:
    positions = places(tiles=3, rows=1, windows=2, window=2)
    dut = Residual(rows=ROWS, width=32, stream_width=18)
    seen = []

    def observe(ctx, cycle):
        if ctx.get(dut.o.valid):
            flags = ctx.get(dut.o.payload.position)
            seen.append((flags.tile_first, flags.tile_last, flags.last))

    drive(
        dut,
        positions,
        send=lambda ctx, position: ctx.set(dut.i.payload.position, position),
        observe=observe,
        setup=lambda ctx: ctx.set(dut.mode, ResidualMode.SUM),
    )
    assert seen == [(1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 1)]

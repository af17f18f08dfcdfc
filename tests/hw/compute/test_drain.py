"""The drain: signed sums of weighted dot products, in column order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.compute.drain import Drain
from hw.config import PRESETS
from tests.hw.compute.oracle import wrap

TINY = PRESETS["tiny"]
CONFIGS = [
    replace(TINY, array=replace(TINY.array, rows=4, columns=columns, drain_lanes=lanes))
    for columns, lanes in [(2, 1), (4, 2), (8, 2), (8, 1), (8, 4), (4, 4)]
]


class Schedule:
    """Random passes as what each column and the coefficients show in each cycle."""

    def __init__(self, config, rng: random.Random, strips: int = 12) -> None:
        array = config.array
        limit = 1 << array.count_width
        self.counts, self.ones, self.coefficients, self.control, self.vectors = {}, {}, {}, {}, {}
        cycle = last_final = 0
        for _ in range(strips):
            totals = [[0] * array.rows for _ in range(array.columns)]
            passes = rng.choice([1, 2, 5])
            for index in range(passes):
                final = index == passes - 1
                cycle += array.drain_period + rng.choice([0, 0, 1, 5])
                if final:
                    cycle = max(cycle, last_final + array.columns)
                    last_final = cycle
                coefficients = [rng.randrange(-(1 << 17), 1 << 17) for _ in range(array.rows)]
                self.control[cycle] = (1, final)
                for age in range(array.drain_period):
                    self.coefficients[cycle + Drain.coefficient_delay + age] = coefficients
                for column in range(array.columns):
                    ones = rng.choice([0, limit - 1, rng.randrange(limit)])
                    counts = [rng.choice([0, ones, rng.randint(0, ones)]) for _ in totals[column]]
                    self.counts[cycle + column, column] = counts
                    self.ones[cycle + column, column] = ones
                    for row, (count, coefficient) in enumerate(
                        zip(counts, coefficients, strict=True)
                    ):
                        totals[column][row] += (2 * count - ones) * coefficient
                    if final:
                        vector = [wrap(total) for total in totals[column]]
                        self.vectors[cycle + column + Drain.latency] = vector
        self.cycles = cycle + array.columns + Drain.latency + 1


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: f"{c.array.columns}x{c.array.drain_lanes}"
)
def test_vectors_are_the_sums_over_the_passes_of_a_strip(config):
    array = config.array
    dut = Drain(config)
    schedule = Schedule(config, random.Random(array.columns * array.drain_lanes))
    zeros = [0] * array.rows

    async def testbench(ctx):
        for cycle in range(schedule.cycles):
            last, final = schedule.control.get(cycle, (0, 0))
            ctx.set(dut.last, last)
            ctx.set(dut.final, final)
            for row, value in enumerate(schedule.coefficients.get(cycle, zeros)):
                ctx.set(dut.coefficients[row], value & (1 << 18) - 1)
            for column in range(array.columns):
                ctx.set(dut.ones[column], schedule.ones.get((cycle, column), 0))
                for row, value in enumerate(schedule.counts.get((cycle, column), zeros)):
                    ctx.set(dut.counts[column][row], value)
            vector = [ctx.get(dut.vector[row]) for row in range(array.rows)]
            assert vector == schedule.vectors.get(cycle, zeros), f"cycle {cycle}"
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

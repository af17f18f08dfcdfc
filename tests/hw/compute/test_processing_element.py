"""One processing element on random passes with gaps."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from hw.compute.processing_element import ProcessingElement

LANES = 16
COUNT_WIDTH = 9


@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_held_is_the_count_of_the_pass_for_one_cycle(gaps):
    rng = random.Random(gaps)
    dut = ProcessingElement(LANES, COUNT_WIDTH)
    words, expected = [], []  # (weights, activations, last), one per cycle
    for length in [1, 1, 2, 5, 31, 1, 3]:
        count = 0
        for index in range(length):
            while rng.random() < gaps:
                words.append((rng.getrandbits(LANES), 0, 0))
                expected.append(0)
            weights = rng.choice([rng.getrandbits(LANES), (1 << LANES) - 1])
            activations = rng.choice([rng.getrandbits(LANES), (1 << LANES) - 1])
            count += (weights & activations).bit_count()
            words.append((weights, activations, index == length - 1))
            expected.append(count if index == length - 1 else 0)
    held = []

    async def testbench(ctx):
        control = [0] * dut.count_latency + [word[2] for word in words]
        operands = [word[:2] for word in words] + [(0, 0)] * dut.latency
        control += [0] * (dut.latency - dut.count_latency)
        for (weights, activations), last in zip(operands, control, strict=True):
            ctx.set(dut.weights, weights)
            ctx.set(dut.activations, activations)
            ctx.set(dut.last, last)
            held.append(ctx.get(dut.held))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert held[dut.latency :] == expected

"""All schemes of counting count; what is compared in area must be the same function."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from sim.benchmark_arrays import SCHEMES


@pytest.mark.parametrize("lanes", [5, 16, 32, 40])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_scheme_counts_common_bits(scheme: str, lanes: int) -> None:
    source = random.Random(lanes)
    dut = SCHEMES[scheme](lanes)
    full = (1 << lanes) - 1
    operands = [(full, full), (0, full)]
    operands += [(source.getrandbits(lanes), source.getrandbits(lanes)) for _ in range(60)]
    counts = []

    async def testbench(ctx):
        for weights, activations in operands + [(0, 0)] * dut.latency:
            ctx.set(dut.weights, weights)
            ctx.set(dut.activations, activations)
            counts.append(ctx.get(dut.count))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert counts[dut.latency :] == [(w & a).bit_count() for w, a in operands]

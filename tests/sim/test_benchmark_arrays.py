"""All schemes of counting count; what is compared in area must be the same function."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from sim.benchmark_arrays import SCHEMES, SELECTABLE


@pytest.mark.parametrize("lanes", [5, 16, 32, 40])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_scheme_counts_common_bits(scheme: str, lanes: int) -> None:
    operands, counts = simulate(SCHEMES[scheme](lanes), lanes)
    assert counts == [(w & a).bit_count() for w, a in operands]


@pytest.mark.parametrize("is_xnor", [False, True])
@pytest.mark.parametrize("lanes", [5, 48])
@pytest.mark.parametrize("scheme", SELECTABLE)
def test_selectable_scheme_counts_common_bits_or_equal_bits(
    scheme: str, lanes: int, is_xnor: bool
) -> None:
    operands, counts = simulate(SELECTABLE[scheme](lanes), lanes, is_xnor=is_xnor)
    full = (1 << lanes) - 1
    expected = [(full & ~(w ^ a) if is_xnor else w & a).bit_count() for w, a in operands]
    assert counts == expected


def simulate(
    dut: Any, lanes: int, *, is_xnor: bool | None = None
) -> tuple[list[tuple[int, int]], list[int]]:
    """Random weights and activations, and the count of each pair."""
    source = random.Random(lanes)
    full = (1 << lanes) - 1
    operands = [(full, full), (0, full)]
    operands += [(source.getrandbits(lanes), source.getrandbits(lanes)) for _ in range(60)]
    counts = []

    async def testbench(ctx):
        if is_xnor is not None:
            ctx.set(dut.is_xnor, is_xnor)
        for weights, activations in operands + [(0, 0)] * dut.latency:
            ctx.set(dut.weights, weights)
            ctx.set(dut.activations, activations)
            counts.append(ctx.get(dut.count))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return operands, counts[dut.latency :]

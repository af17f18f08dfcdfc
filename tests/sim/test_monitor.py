"""The monitor follows the ports of the generated top, and says which one is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.design import write_verilog
from sim.monitor import MonitorError, monitor, read_ports, start_always_blocks

VERILOG = """module other(a);
  input [3:0] a;
endmodule

module simulation_top(clk, wide, one
, last);
  input clk;
  wire clk;
  output [31:0] wide;
  reg [31:0] wide = 32'd0;
  output one;
  input signed [6:0] last;
endmodule
"""


def test_ports_of_the_top_are_read_with_their_widths() -> None:
    assert read_ports(VERILOG) == {
        "clk": ("input", 1),
        "wide": ("output", 32),
        "one": ("output", 1),
        "last": ("input", 7),
    }


def test_verilog_without_the_top_is_refused() -> None:
    with pytest.raises(MonitorError, match="^generated Verilog must have the module simulation_t"):
        read_ports("module x(); endmodule")


def test_missing_ports_are_named() -> None:
    with pytest.raises(MonitorError, match=re.escape("must have the ports busy, request__address")):
        monitor(VERILOG)


class Adder(wiring.Component):
    def __init__(self) -> None:
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.i[0]):
            m.d.comb += self.o.eq(self.i + 1)
        return m


def test_combinational_blocks_get_an_event_at_the_start(tmp_path: Path) -> None:
    """On what yosys writes, so that another form of its text is noticed."""
    write_verilog(Adder(), "top", tmp_path / "top.v")
    text = (tmp_path / "top.v").read_text()
    (trigger,) = re.findall(r"^  reg (\\\S+ ) = 0;$", text, re.MULTILINE)
    assert text.count("always @*") == text.count(f"if ({trigger}) begin end") == 1
    started = start_always_blocks(text)
    assert f"  reg {trigger};\n  initial {trigger} <= 0;\n" in started
    assert f"{trigger} = 0" not in started

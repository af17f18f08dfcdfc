"""The monitor follows the ports of the generated top, and says which one is missing."""

from __future__ import annotations

import re

import pytest

from sim.monitor import MonitorError, monitor, read_ports

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

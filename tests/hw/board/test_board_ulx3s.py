import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.board.ulx3s import BOARDS, LEDS, UlxTop, board
from hw.config import PRESETS, ConfigError, preset


class Blinker(wiring.Component):
    """Stand-in for the accelerator: echoes the line and counts on the LEDs."""

    rx: In(1)
    tx: Out(1)
    leds: Out(LEDS)

    def elaborate(self, platform):
        m = Module()
        counter = Signal(24)
        m.d.sync += [counter.eq(counter + 1), self.tx.eq(self.rx), self.leds.eq(counter[-LEDS:])]
        return m


def test_every_board_has_a_preset_that_fits_its_multipliers():
    for entry in BOARDS.values():
        assert entry.preset in PRESETS
        assert preset(entry.preset).multipliers <= entry.multipliers


def test_short_name_is_the_largest_board():
    assert board("ulx3s").device == "LFE5U-85F"


def test_unknown_board_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"^board must be one of ulx3s-12f, .*, not 'arty'$"):
        board("arty")


@pytest.mark.parametrize("name", BOARDS)
def test_platform_needs_no_programmer(name):
    platform = board(name).make_platform()
    assert "openFPGALoader" not in platform.required_tools
    assert platform.device == board(name).device


def test_top_uses_clock_serial_line_and_all_leds():
    platform = board("ulx3s-12f").make_platform()
    plan = platform.prepare(UlxTop(Blinker(), clock_mhz=50), "top", emit_src=False)
    constraints = plan.files["top.lpf"]
    text = constraints.decode() if isinstance(constraints, bytes) else constraints
    sites = set(re.findall(r'SITE "(\w+)"', text))
    assert sites == {"G2", "M1", "L4", "B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"}
    assert re.search(r'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ', text)

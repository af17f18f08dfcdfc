"""Pads of the board's SDRAM: a register at every pin, and the clock of the part."""

from amaranth.hdl import Const, Module, Value
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from hw.memory.sdram_pins import SdramPinsSignature

__all__ = ["SdramPads"]


class SdramPads(wiring.Component):
    """One cycle from the controller to the pins, one back (``hw.memory.sdram.PAD_CYCLES``).

    The part gets the inverted clock: it samples a pin half a cycle after it has changed, and what
    it sends has the rest of a cycle to come back. That holds up to about 60 MHz.
    """

    #: From the controller.
    pins: In(SdramPinsSignature())

    def elaborate(self, platform):
        m = Module()
        port = platform.request("sdram", 0, dir="-")

        def output(name: str, pad: io.PortLike, value: Value) -> None:
            m.submodules[name] = buffer = io.FFBuffer("o", pad)
            m.d.comb += buffer.o.eq(value)

        # The pins are active low, and so are the bits of a command: the port inverts once.
        row, column, write = (~self.pins.command.as_value()[bit] for bit in (2, 1, 0))
        output("ras", port.ras, row)
        output("cas", port.cas, column)
        output("we", port.we, write)
        output("cs", port.cs, Const(1))
        output("clk_en", port.clk_en, Const(1))
        output("dqm", port.dqm, Const(0, 2))
        output("ba", port.ba, self.pins.bank)
        output("a", port.a, self.pins.address)
        m.submodules.dq = data = io.FFBuffer("io", port.dq)
        m.submodules.clk = clock = io.DDRBuffer("o", port.clk)
        m.d.comb += [
            data.o.eq(self.pins.dq_o),
            data.oe.eq(self.pins.dq_oe),
            self.pins.dq_i.eq(data.i),
            # First half of a cycle low, second half high.
            clock.o[0].eq(0),
            clock.o[1].eq(1),
        ]
        return m

"""What the SDRAM controller remembers of the banks: open rows, and how long ago something was."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .sdram_part import SdramPart, SdramTiming

__all__ = ["SdramBanks"]


class SdramBanks(wiring.Component):
    """The open row of each bank, and whether the rules allow to open or close rows now.

    Times count from the last event in any bank, which is the safe side: a row is opened or closed
    every few hundred cycles. Inputs take effect in the next cycle.

    Parameters
    ----------
    part
        Sizes.
    timing
        Rules in cycles of the domain ``sync``.
    """

    def __init__(self, part: SdramPart, timing: SdramTiming) -> None:
        self._banks = 1 << part.bank_bits
        self._timing = timing
        super().__init__(
            {
                "bank": In(part.bank_bits),  # that is looked at
                "row": In(part.row_bits),  # that is wanted
                "activated": In(1),  # `row` of `bank` is being opened
                "closed": In(1),  # the row of `bank` is being closed
                "all_closed": In(1),  # all rows are being closed
                "written": In(1),  # the last half of a word is being written
                "is_open": Out(1),  # `bank` has an open row
                "hit": Out(1),  # and it is `row`
                "can_activate": Out(1),
                "can_close": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        timing = self._timing
        opened = Array(Signal(name=f"open_{bank}") for bank in range(self._banks))
        rows = Array(Signal.like(self.row, name=f"row_{bank}") for bank in range(self._banks))
        activate_age = self._age(m, self.activated, max(timing.rc, timing.rrd, timing.ras))
        write_age = self._age(m, self.written, timing.wr)

        m.d.comb += [
            self.is_open.eq(opened[self.bank]),
            self.hit.eq(self.is_open & (rows[self.bank] == self.row)),
            self.can_activate.eq(activate_age >= max(timing.rc, timing.rrd)),
            self.can_close.eq((activate_age >= timing.ras) & (write_age >= timing.wr)),
        ]
        with m.If(self.activated):
            m.d.sync += [opened[self.bank].eq(1), rows[self.bank].eq(self.row)]
        with m.If(self.closed):
            m.d.sync += opened[self.bank].eq(0)
        with m.If(self.all_closed):
            m.d.sync += [is_open.eq(0) for is_open in opened]
        return m

    @staticmethod
    def _age(m: Module, event: Signal, limit: int) -> Signal:
        """Cycles since ``event``, up to ``limit``; ``limit`` after a reset."""
        age = Signal(range(limit + 1), init=limit, name=f"{event.name}_age")
        with m.If(event):
            m.d.sync += age.eq(1)
        with m.Elif(age != limit):
            m.d.sync += age.eq(age + 1)
        return age

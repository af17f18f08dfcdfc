"""The SDRAM's controller (``hw/memory/sdram.py``): when each word of a burst moves."""

from __future__ import annotations

from hw.memory.sdram import PAD_CYCLES
from hw.memory.sdram_part import SdramPart

__all__ = ["BEGIN", "SdramTimeline"]

BEGIN = -5
"""Cycle in which ``busy`` rises: all rows are closed and refreshed then."""
NEVER = -(1 << 40)
"""A cycle long before the first one."""


class SdramTimeline:
    """The states of the controller, burst by burst and word by word.

    Cycles are those of the instruction fetch, whose first one is 0. Bursts must be asked for in
    order, each when the one before has moved its last word.

    Parameters
    ----------
    part
        Sizes and rules.
    clock_mhz
        Of the accelerator.
    """

    def __init__(self, part: SdramPart, clock_mhz: float) -> None:
        self._part = part
        self._timing = timing = part.timing(clock_mhz)
        self._activate_distance = max(timing.rc, timing.rrd)
        self._arrival = 3 + part.cas_latency + PAD_CYCLES
        """From a READ that is issued to its word at the port."""
        self._rows: dict[int, int] = {}
        self._activated = self._written = NEVER
        self._ready = NEVER
        """First cycle in which the last command lets another one follow."""
        self._due = BEGIN + 1
        """First cycle in which the next refresh is due."""
        self._turns = 0
        """Intervals of the refresh timer that have passed before ``_due``."""
        self._state_from = BEGIN
        """First cycle of the present state: of IDLE between bursts."""
        self._address = self._left = 0
        self._is_open = False

    def begin(self, cycle: int, address: int, length: int) -> int:
        """A request from ``cycle`` on; returns the cycle in which it is taken."""
        while self._due <= max(cycle, self._state_from):
            self._refresh(max(self._due, self._state_from))
        taken = max(cycle, self._state_from)
        self._address, self._left = address, length
        self._state_from = taken + 1
        self._is_open = False
        return taken

    def read(self, room: int = NEVER) -> int:
        """The cycle in which the next word of a read burst is at the port; the queue behind the
        pins has room for it from cycle ``room`` on."""
        return self._word(room) + self._arrival

    def write(self, offered: int) -> int:
        """The cycle in which the next word of a write burst, offered so early, is taken."""
        cycle = self._word(offered)
        self._written = cycle + 1
        return cycle

    def _word(self, offered: int) -> int:
        """State TRANSFER: the cycle in which the next word's command is issued."""
        while True:
            if not self._is_open:
                self._open()
            cycle = max(self._state_from, self._ready, offered)
            if self._due > cycle:
                break
            self._refresh(max(self._due, self._state_from))
            self._is_open = False
        self._address += 1
        self._left -= 1
        self._state_from = cycle + 2
        if not self._left or not self._address % self._part.page_words:
            self._is_open = False
        return cycle

    def _open(self) -> None:
        """State OPEN, until the row of the next word is open."""
        page = self._address // self._part.page_words
        bank = page % (1 << self._part.bank_bits)
        row = page >> self._part.bank_bits & ((1 << self._part.row_bits) - 1)
        while True:
            is_hit = self._rows.get(bank) == row
            if is_hit:
                cycle = self._state_from
            elif bank in self._rows:
                cycle = max(self._state_from, self._ready, self._closable())
            else:
                ready = self._activated + self._activate_distance
                cycle = max(self._state_from, self._ready, ready)
            if self._due <= cycle:
                self._refresh(max(self._due, self._state_from))
                continue
            self._state_from = cycle + 1
            if is_hit:
                break
            if bank in self._rows:
                del self._rows[bank]
                self._ready = cycle + self._timing.rp
                continue
            self._rows[bank] = row
            self._activated = cycle
            self._ready = cycle + self._timing.rcd
            break
        self._is_open = True

    def _closable(self) -> int:
        return max(self._activated + self._timing.ras, self._written + self._timing.wr)

    def _refresh(self, seen: int) -> None:
        """A refresh that is due is seen in cycle ``seen``: states CLOSE and REFRESH."""
        close = max(seen + 1, self._ready, self._closable())
        refresh = close + self._timing.rp
        self._rows.clear()
        self._ready = refresh + self._timing.rfc
        self._state_from = refresh + 1
        # The timer wins over a refresh in the same cycle.
        while BEGIN + self._turns * self._timing.refi < refresh:
            self._turns += 1
        self._due = BEGIN + self._turns * self._timing.refi + 1

"""Model of an SDRAM for simulations: stores data, and watches over every rule of the part."""

import math

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import enum, memory, wiring
from amaranth.lib.wiring import In, Out

from ..delay import delayed
from .external import is_preloaded, word_ports
from .sdram_part import DATA_BITS, SdramPart
from .sdram_pins import (
    PRECHARGE_ALL,
    SdramAddress,
    SdramCommand,
    SdramPinsSignature,
    mode_register,
)

__all__ = ["SdramModel", "SdramRule"]

POSTPONED_MAXIMUM = 8
"""Refreshes that may be postponed."""


class SdramRule(enum.Enum, shape=5):
    """What a controller can break. Names as in data sheets."""

    NONE = 0
    POWER_UP = 1
    """A command in the pause after power-up."""
    INITIALISATION = 2
    """A row is opened before precharge, two refreshes and mode register."""
    MODE = 3
    """Another mode than bursts of two and the latency of the part, or set with open rows."""
    T_MRD = 4
    BANK_OPEN = 5
    """ACTIVATE of a bank whose row is open, or REFRESH with open rows."""
    BANK_CLOSED = 6
    """READ or WRITE without an open row."""
    T_RP = 7
    T_RC = 8
    T_RRD = 9
    T_RFC = 10
    T_RCD = 11
    T_RAS = 12
    T_WR = 13
    BURST = 14
    """A burst is cut by another command, or begins within a word, or precharges by itself."""
    BUS = 15
    """Data pins are driven from both sides, or from none when they must be."""
    REFRESH = 16
    """More refreshes were postponed than may be."""


class SdramModel(wiring.Component):
    """A part at its pins, in the domain ``sync``; ``broken`` keeps the first rule that was broken.

    The part's clock is inverted, so it sees the pins in the middle of a cycle: what is on them in a
    cycle p takes effect in that cycle, and the first data of a READ are on the pins in the cycle
    p + CAS latency - 1, to be sampled at its end.

    Parameters
    ----------
    part
        Sizes and rules.
    clock_mhz
        Of the domain ``sync``.
    """

    #: Pins, from the part's viewpoint.
    pins: In(SdramPinsSignature())
    #: The first rule that was broken, for ever.
    broken: Out(SdramRule)

    def __init__(self, part: SdramPart, *, clock_mhz: float) -> None:
        self._part = part
        self._clock_mhz = clock_mhz
        #: Contents by word; a testbench may look at ``data``. None in a module in Verilog.
        self.memory: memory.Memory | None = None
        if not is_preloaded(part.words):
            self.memory = memory.Memory(shape=unsigned(32), depth=part.words, init=[])
        super().__init__()

    def _cycles(self, nanoseconds: float) -> int:
        """Fewest whole cycles that last so long."""
        return math.ceil(nanoseconds * self._clock_mhz / 1000 - 1e-9)

    def elaborate(self, platform):
        m = Module()
        checks: list[tuple[Value, SdramRule]] = []
        commands = {command: self.pins.command == command for command in SdramCommand}
        active = Array(Signal(name=f"open_{bank}") for bank in range(1 << self._part.bank_bits))
        row = Array(Signal(self._part.row_bits, name=f"row_{bank}") for bank in range(len(active)))
        bank = self.pins.bank[: self._part.bank_bits]
        with m.If(commands[SdramCommand.ACTIVATE]):
            m.d.sync += [active[bank].eq(1), row[bank].eq(self.pins.address)]
        with m.If(commands[SdramCommand.PRECHARGE]):
            with m.If(self.pins.address & PRECHARGE_ALL):
                m.d.sync += [is_open.eq(0) for is_open in active]
            with m.Else():
                m.d.sync += active[bank].eq(0)

        any_open = Signal()
        m.d.comb += any_open.eq(Cat(*active).any())
        checks += self._start_checks(m, commands, any_open)
        checks += self._row_checks(m, commands, bank, active, any_open)
        checks += self._data(m, commands, bank, active, row)
        checks += self._refresh_checks(m, commands)
        for happens, rule in checks:
            with m.If(happens & (self.broken == SdramRule.NONE)):
                m.d.sync += self.broken.eq(rule)
        return m

    def _age(self, m: Module, event: Value, name: str) -> Signal:
        """Cycles since ``event``; the highest number if that is long ago."""
        age = Signal(12, init=(1 << 12) - 1, name=f"age_{name}")
        with m.If(event):
            m.d.sync += age.eq(1)
        with m.Elif(~age.all()):
            m.d.sync += age.eq(age + 1)
        return age

    def _start_checks(
        self, m: Module, commands: dict[SdramCommand, Value], any_open: Value
    ) -> list[tuple[Value, SdramRule]]:
        part = self._part
        pause = self._cycles(part.power_up_us * 1000)
        up = Signal(range(pause + 1))
        refreshes = Signal(2)
        precharged, mode_set = Signal(), Signal()
        with m.If(up != pause):
            m.d.sync += up.eq(up + 1)
        with m.If(commands[SdramCommand.PRECHARGE] & self.pins.address[10]):
            m.d.sync += precharged.eq(1)
        with m.If(commands[SdramCommand.REFRESH] & ~refreshes.all()):
            m.d.sync += refreshes.eq(refreshes + 1)
        with m.If(commands[SdramCommand.MODE]):
            m.d.sync += mode_set.eq(1)
        mode_age = self._age(m, commands[SdramCommand.MODE], "mode")
        is_command = self.pins.command != SdramCommand.NOP
        begun = precharged & (refreshes >= 2) & mode_set
        is_mode = self.pins.address == mode_register(part)
        return [
            (is_command & (up != pause), SdramRule.POWER_UP),
            (commands[SdramCommand.ACTIVATE] & ~begun, SdramRule.INITIALISATION),
            (commands[SdramCommand.MODE] & (~is_mode | any_open), SdramRule.MODE),
            (is_command & (mode_age < 2), SdramRule.T_MRD),
        ]

    def _row_checks(
        self,
        m: Module,
        commands: dict[SdramCommand, Value],
        bank: Value,
        active: Array,
        any_open: Value,
    ) -> list[tuple[Value, SdramRule]]:
        """Rules of opening, closing and refreshing rows, bank by bank."""
        part, cycles = self._part, self._cycles
        activate, precharge = commands[SdramCommand.ACTIVATE], commands[SdramCommand.PRECHARGE]
        refresh = commands[SdramCommand.REFRESH]
        access = commands[SdramCommand.READ] | commands[SdramCommand.WRITE]
        every = self.pins.address[10]
        any_activate = self._age(m, activate, "activate")
        refresh_age = self._age(m, refresh, "refresh")
        checks = [
            (activate & active[bank], SdramRule.BANK_OPEN),
            (refresh & any_open, SdramRule.BANK_OPEN),
            (access & ~active[bank], SdramRule.BANK_CLOSED),
            (activate & (any_activate < cycles(part.rrd_ns)), SdramRule.T_RRD),
            ((activate | refresh) & (refresh_age < cycles(part.rfc_ns)), SdramRule.T_RFC),
        ]
        written = delayed(m, commands[SdramCommand.WRITE], name="written")
        written_bank = delayed(m, bank, name="written_bank")
        for index in range(len(active)):
            here = bank == index
            closes = precharge & (here | every)
            activated = self._age(m, activate & here, f"activate_{index}")
            # Of an idle bank, a PRECHARGE does nothing, and takes no time.
            closed = self._age(m, closes & active[index], f"precharge_{index}")
            # The second half of a word is on the pins in the cycle after its WRITE.
            written_age = self._age(m, written & (written_bank == index), f"write_{index}")
            is_open = active[index]
            checks += [
                (((activate & here) | refresh) & (closed < cycles(part.rp_ns)), SdramRule.T_RP),
                (activate & here & (activated < cycles(part.rc_ns)), SdramRule.T_RC),
                (access & here & (activated < cycles(part.rcd_ns)), SdramRule.T_RCD),
                (closes & is_open & (activated < cycles(part.ras_ns)), SdramRule.T_RAS),
                (closes & is_open & (written_age < cycles(part.wr_ns)), SdramRule.T_WR),
            ]
        return checks

    def _data(
        self,
        m: Module,
        commands: dict[SdramCommand, Value],
        bank: Value,
        active: Array,
        row: Array,
    ) -> list[tuple[Value, SdramRule]]:
        """Reads and writes of whole words, and the rules of the data pins."""
        part, pins = self._part, self.pins
        read, write = commands[SdramCommand.READ], commands[SdramCommand.WRITE]
        address = Signal(SdramAddress(part))
        m.d.comb += [
            address.column.eq(pins.address[1 : part.column_bits]),
            address.bank.eq(bank),
            address.row.eq(row[bank]),
        ]
        write_port, read_port = word_ports(m, self.memory, part.words)
        second_write = delayed(m, write, name="second_write")
        m.d.comb += [
            read_port.addr.eq(address),
            read_port.en.eq(1),
            write_port.addr.eq(delayed(m, address.as_value(), name="write_address")),
            write_port.data.eq(delayed(m, pins.dq_o, name="first_half") | pins.dq_o << DATA_BITS),
            write_port.en.eq(second_write),
        ]
        extra = part.cas_latency - 2
        first = delayed(m, read, 1 + extra, name="first")
        second = delayed(m, first, name="second")
        word = delayed(m, read_port.data, extra, name="word")
        late_half = delayed(m, word[DATA_BITS:], name="late_half")
        with m.If(first):
            m.d.comb += pins.dq_i.eq(word[:DATA_BITS])
        with m.Elif(second):
            m.d.comb += pins.dq_i.eq(late_half)
        access = read | write
        busy = delayed(m, access, name="second_half")
        return [
            (access & (pins.address[0] | pins.address[10]), SdramRule.BURST),
            ((pins.command != SdramCommand.NOP) & busy, SdramRule.BURST),
            (pins.dq_oe & (first | second), SdramRule.BUS),
            (pins.dq_oe != (write | second_write), SdramRule.BUS),
        ]

    def _refresh_checks(
        self, m: Module, commands: dict[SdramCommand, Value]
    ) -> list[tuple[Value, SdramRule]]:
        """The refreshes that were due but did not come."""
        interval = math.floor(
            self._part.refresh_ms * self._clock_mhz * 1000 / (1 << self._part.row_bits)
        )
        elapsed = Signal(range(interval))
        owed = Signal(8)
        begun = Signal()
        turn = elapsed == interval - 1
        refresh = commands[SdramCommand.REFRESH]
        with m.If(refresh):
            m.d.sync += begun.eq(1)
        with m.If(begun):
            m.d.sync += elapsed.eq(Mux(turn, 0, elapsed + 1))
        with m.If(turn & ~refresh & ~owed.all()):
            m.d.sync += owed.eq(owed + 1)
        with m.Elif(refresh & ~turn & (owed != 0)):
            m.d.sync += owed.eq(owed - 1)
        return [(owed > POSTPONED_MAXIMUM, SdramRule.REFRESH)]

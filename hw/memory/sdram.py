"""Controller of an SDRAM with 16 data pins behind the external memory port."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..delay import delayed
from ..payloads import MemoryPortSignature, MemoryRequest
from ..stream import StreamQueue
from .sdram_banks import SdramBanks
from .sdram_part import DATA_BITS, SdramPart
from .sdram_pins import (
    PRECHARGE_ALL,
    SdramAddress,
    SdramCommand,
    SdramPinsSignature,
    mode_register,
)

__all__ = ["PAD_CYCLES", "QUEUE_WORDS", "SdramController"]

PAD_CYCLES = 2
"""Registers at the pins of a board: one on the way out, one on the way in."""
QUEUE_WORDS = 64
"""Words of the queue behind the data pins: a burst waits for a reader that is so far behind."""
INITIAL_REFRESHES = 8


class SdramController(wiring.Component):
    """One burst at a time, a 32-bit word in two cycles while it stays in an open row.

    Every bank keeps its row open until another row of it is wanted or a refresh is due, which may
    come between two words. A burst in an open row gives its first word ``first_word_cycles`` after
    its request was taken, the others every two cycles; it writes its first word two cycles after
    the request. Opening a row costs ``timing.rcd - 1`` cycles more, closing one before that
    ``timing.rp``.

    The part samples the pins in the middle of a cycle: its clock is the inverted one. There are
    ``pad_cycles`` registers between this component and the pins, both ways together.

    Addresses beyond the part alias to lower ones; the arbiter reports them.

    Parameters
    ----------
    part
        Sizes and rules.
    clock_mhz
        Of the domain ``sync``.
    pad_cycles
        Registers between this component and the pins, out and in.
    """

    #: The port, from the requester's viewpoint flipped.
    port: In(MemoryPortSignature())
    #: Pins.
    pins: Out(SdramPinsSignature())
    #: A run is under way. Its begin closes and refreshes all rows, so that all runs are alike.
    busy: In(1)
    #: The part has been initialised.
    ready: Out(1)

    def __init__(self, part: SdramPart, *, clock_mhz: float, pad_cycles: int = 0) -> None:
        self._part = part
        self._pad_cycles = pad_cycles
        #: Rules in cycles.
        self.timing = part.timing(clock_mhz)
        super().__init__()

    @property
    def first_word_cycles(self) -> int:
        """From a request that is taken to its first word, if its row is open."""
        return 5 + self._part.cas_latency + self._pad_cycles

    def elaborate(self, platform):
        m = Module()
        request = Signal(MemoryRequest)
        address = Signal(SdramAddress(self._part))
        m.submodules.banks = banks = SdramBanks(self._part, self.timing)
        wait = Signal(range(max(self.timing.power_up, self.timing.rfc) + 1))
        reading, has_room, is_empty = self._read_path(m)
        refreshed = Signal()
        due = self._refresh_timer(m, refreshed)

        m.d.comb += [banks.bank.eq(address.bank), banks.row.eq(address.row)]
        m.d.sync += [self.pins.command.eq(SdramCommand.NOP), self.pins.dq_oe.eq(0)]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.FSM():
            self._initialise(m, wait)
            self._refresh(m, wait, banks, refreshed, request)
            with m.State("IDLE"):
                m.d.comb += self.port.requests.ready.eq(~due & is_empty)
                m.d.sync += [
                    self.ready.eq(1),
                    request.eq(self.port.requests.payload),
                    address.eq(self.port.requests.payload.address),
                ]
                with m.If(due):
                    m.d.sync += request.length.eq(0)
                    m.next = "CLOSE"
                with m.Elif(self.port.requests.valid & is_empty):
                    m.next = "OPEN"
            with m.State("OPEN"):
                self._open(m, wait, banks, due, address)
            self._transfer(m, wait, banks, due, request, address, (reading, has_room))
        return m

    def _issue(self, m: Module, command: SdramCommand, *, bank: Value | int = 0) -> None:
        m.d.sync += [self.pins.command.eq(command), self.pins.bank.eq(bank)]

    def _initialise(self, m: Module, wait: Signal) -> None:
        """Pause, precharge, refreshes, mode register."""
        timing = self.timing
        waited = Signal()
        refreshes = Signal(range(INITIAL_REFRESHES))
        with m.State("POWER_UP"):
            m.d.sync += [wait.eq(timing.power_up), waited.eq(1)]
            with m.If(waited):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    self._issue(m, SdramCommand.PRECHARGE)
                    m.d.sync += [self.pins.address.eq(PRECHARGE_ALL), wait.eq(timing.rp - 1)]
                    m.next = "INITIAL_REFRESH"
        with m.State("INITIAL_REFRESH"), m.If(wait == 0):
            self._issue(m, SdramCommand.REFRESH)
            m.d.sync += [wait.eq(timing.rfc - 1), refreshes.eq(refreshes + 1)]
            with m.If(refreshes == INITIAL_REFRESHES - 1):
                m.next = "MODE"
        with m.State("MODE"), m.If(wait == 0):
            self._issue(m, SdramCommand.MODE)
            m.d.sync += [
                self.pins.address.eq(mode_register(self._part)),
                wait.eq(timing.mrd - 1),
            ]
            m.next = "IDLE"

    def _refresh_timer(self, m: Module, refreshed: Signal) -> Signal:
        """1 while a refresh is due."""
        left = Signal(range(self.timing.refi), init=self.timing.refi - 1)
        due = Signal()
        begins = self.busy & ~delayed(m, self.busy, name="busy")
        m.d.sync += left.eq(Mux((left == 0) | begins, self.timing.refi - 1, left - 1))
        with m.If(refreshed):
            m.d.sync += due.eq(0)
        with m.If((left == 0) | begins):
            m.d.sync += due.eq(1)
        return due

    def _refresh(
        self,
        m: Module,
        wait: Signal,
        banks: SdramBanks,
        refreshed: Signal,
        request: Signal,
    ) -> None:
        """Close all rows, refresh, and go on with the rest of the burst, if there is one."""
        with m.State("CLOSE"), m.If(banks.can_close & (wait == 0)):
            self._issue(m, SdramCommand.PRECHARGE)
            m.d.sync += [self.pins.address.eq(PRECHARGE_ALL), wait.eq(self.timing.rp - 1)]
            m.d.comb += banks.all_closed.eq(1)
            m.next = "REFRESH"
        with m.State("REFRESH"), m.If(wait == 0):
            self._issue(m, SdramCommand.REFRESH)
            m.d.sync += wait.eq(self.timing.rfc - 1)
            m.d.comb += refreshed.eq(1)
            with m.If(request.length == 0):
                m.next = "IDLE"
            with m.Else():
                m.next = "OPEN"

    def _open(
        self, m: Module, wait: Signal, banks: SdramBanks, due: Signal, address: Signal
    ) -> None:
        """Make the row of the next word the open one of its bank."""
        with m.If(due):
            m.next = "CLOSE"
        with m.Elif(banks.hit):
            m.next = "TRANSFER"
        with m.Elif(banks.is_open & (wait == 0) & banks.can_close):
            self._issue(m, SdramCommand.PRECHARGE, bank=address.bank)
            m.d.sync += [self.pins.address.eq(0), wait.eq(self.timing.rp - 1)]
            m.d.comb += banks.closed.eq(1)
        with m.Elif(~banks.is_open & (wait == 0) & banks.can_activate):
            self._issue(m, SdramCommand.ACTIVATE, bank=address.bank)
            m.d.sync += [self.pins.address.eq(address.row), wait.eq(self.timing.rcd - 1)]
            m.d.comb += banks.activated.eq(1)
            m.next = "TRANSFER"

    def _transfer(
        self,
        m: Module,
        wait: Signal,
        banks: SdramBanks,
        due: Signal,
        request: Signal,
        address: Signal,
        read: tuple[Signal, Value],
    ) -> None:
        """Words of the open row, two cycles each."""
        reading, has_room = read
        write_data = self.port.write_data
        late_half = Signal(DATA_BITS)
        with m.State("TRANSFER"):
            go = Signal()
            m.d.comb += go.eq(~due & (wait == 0) & Mux(request.write, write_data.valid, has_room))
            m.d.sync += [
                self.pins.address.eq(address.column << 1),
                self.pins.dq_o.eq(write_data.payload[:DATA_BITS]),
                late_half.eq(write_data.payload[DATA_BITS:]),
            ]
            with m.If(due):
                m.next = "CLOSE"
            with m.Elif(go):
                m.d.comb += [reading.eq(~request.write), write_data.ready.eq(request.write)]
                m.d.sync += self.pins.dq_oe.eq(request.write)
                with m.If(request.write):
                    self._issue(m, SdramCommand.WRITE, bank=address.bank)
                with m.Else():
                    self._issue(m, SdramCommand.READ, bank=address.bank)
                m.next = "HALF"
        with m.State("HALF"):
            m.d.comb += banks.written.eq(request.write)
            m.d.sync += [
                self.pins.dq_o.eq(late_half),
                self.pins.dq_oe.eq(request.write),
                address.eq(address.as_value() + 1),
                request.length.eq(request.length - 1),
            ]
            with m.If(request.length == 1):
                m.next = "IDLE"
            with m.Elif(address.column.all()):
                m.next = "OPEN"
            with m.Else():
                m.next = "TRANSFER"

    def _read_path(self, m: Module) -> tuple[Signal, Value, Value]:
        """From the pins to the port.

        Returns a signal to set when a READ is issued, whether the queue has room for its word, and
        whether no word is on its way or waits.
        """
        m.submodules.words = words = StreamQueue(unsigned(32), depth=QUEUE_WORDS)
        reading = Signal()
        room = Signal(range(QUEUE_WORDS + 1), init=QUEUE_WORDS)
        sampled = Signal(DATA_BITS)
        early_half = Signal(DATA_BITS)
        arrival = 2 + self._part.cas_latency + self._pad_cycles
        wiring.connect(m, words.o, wiring.flipped(self.port.read_data))
        taken = words.o.valid & words.o.ready
        m.d.comb += [
            words.i.valid.eq(delayed(m, reading, arrival, name="reading")),
            words.i.payload.eq(Cat(early_half, sampled)),
        ]
        m.d.sync += [
            sampled.eq(self.pins.dq_i),
            early_half.eq(sampled),
            room.eq(room - reading + taken),
        ]
        return reading, room != 0, room == QUEUE_WORDS

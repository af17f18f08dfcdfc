"""Serial line, 8 data bits, no parity, 1 stop bit, at any rate up to an eighth of the clock."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTiming", "UartTransmitter"]

PHASE_WIDTH = 20
CYCLES_PER_BIT_MINIMUM = 8
SYMBOL_BITS = 10


@dataclass(frozen=True, kw_only=True)
class UartTiming:
    """Rate of a serial line and its realisation by a phase accumulator.

    ``PHASE_WIDTH`` bits of phase advance by ``increment`` per cycle; one turn is one bit. Bits are
    therefore a whole number of cycles long, and only their average is exact: an edge is up to one
    cycle early or late, without accumulating.
    """

    clock_frequency: float
    """In Hz."""

    baud_rate: float
    """In bits per second."""

    def __post_init__(self) -> None:
        if self.baud_rate <= 0:
            raise ValueError(f"baud rate must be positive, not {self.baud_rate}")
        if self.cycles_per_bit < CYCLES_PER_BIT_MINIMUM:
            raise ValueError(
                f"baud rate must be at most 1/{CYCLES_PER_BIT_MINIMUM} of the clock frequency "
                f"{self.clock_frequency:g}, not {self.baud_rate:g}"
            )
        if abs(self.rate_error) > 0.01:
            raise ValueError(
                f"baud rate must be within 1 % of a multiple of the clock frequency "
                f"{self.clock_frequency:g} / {1 << PHASE_WIDTH}, not {self.baud_rate:g}"
            )

    @property
    def cycles_per_bit(self) -> float:
        return self.clock_frequency / self.baud_rate

    @property
    def increment(self) -> int:
        """Phase per cycle."""
        return max(1, round((1 << PHASE_WIDTH) / self.cycles_per_bit))

    @property
    def rate_error(self) -> float:
        """Relative error of the rate that the accumulator produces."""
        return self.increment * self.cycles_per_bit / (1 << PHASE_WIDTH) - 1


class UartReceiver(wiring.Component):
    """Serial line to bytes.

    The line passes a two-stage synchroniser and a majority vote over three cycles, which hides
    pulses of one cycle. The falling edge of the start bit sets the phase; bits are taken in their
    middle. The receiver looks for the next start bit from the middle of the stop bit on, so it
    takes back-to-back bytes from a sender that is up to 2.5 % faster or slower.

    A byte is offered 4 cycles after the middle of its stop bit. It must be taken before the next
    one is complete, that is within ten bit times; else the new one is lost and ``overrun`` tells.

    Parameters
    ----------
    timing
        Clock and baud rate.
    """

    #: Serial line, asynchronous; 1 when idle.
    rx: In(1)
    #: Received bytes.
    o: Out(stream.Signature(unsigned(8)))
    #: One cycle: a stop bit was 0 and its byte was dropped. A held-low line gives one pulse.
    frame_error: Out(1)
    #: One cycle: a byte was dropped because the one before was not taken.
    overrun: Out(1)

    def __init__(self, timing: UartTiming) -> None:
        self._timing = timing
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        line = self._filtered_line(m)
        phase = Signal(PHASE_WIDTH)
        next_phase = Signal(PHASE_WIDTH + 1)
        sample = next_phase[-1]
        bits = Signal(8)
        # A one enters at the top with the first data bit and arrives at the bottom with the last.
        marker = Signal(8)

        m.d.comb += next_phase.eq(phase + self._timing.increment)
        m.d.sync += phase.eq(next_phase)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                # Half a turn from the edge is the middle of the start bit. Seeing the edge and
                # rounding up to whole cycles each cost half a cycle on average: start ahead by one.
                m.d.sync += phase.eq((1 << (PHASE_WIDTH - 1)) + self._timing.increment)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += marker.eq(1 << 7)
                with m.If(sample):
                    with m.If(line):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "DATA"
            with m.State("DATA"):
                with m.If(sample):
                    m.d.sync += [bits.eq(Cat(bits[1:], line)), marker.eq(marker >> 1)]
                    with m.If(marker[0]):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(sample):
                    self._finish(m, bits, line)
                    # After a good stop bit the next start bit may be on the line already.
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "RELEASE"
            with m.State("RELEASE"):
                with m.If(line):
                    m.next = "IDLE"

        return m

    def _filtered_line(self, m: Module) -> Signal:
        synchronised = Signal(init=1)
        history = Signal(2, init=0b11)
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, synchronised, init=1)
        m.d.sync += [
            history.eq(Cat(synchronised, history[0])),
            line.eq(
                (synchronised & history[0]) | (synchronised & history[1]) | history.all(),
            ),
        ]
        return line

    def _finish(self, m: Module, bits: Signal, line: Signal) -> None:
        with m.If(~line):
            m.d.comb += self.frame_error.eq(1)
        with m.Elif(self.o.valid & ~self.o.ready):
            m.d.comb += self.overrun.eq(1)
        with m.Else():
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(bits)]


class UartTransmitter(wiring.Component):
    """Bytes to serial line.

    The start bit begins one cycle after a byte is taken. The next byte is taken in the last cycle
    of the stop bit, so bytes that are always available leave back to back: ten bit times each.

    Parameters
    ----------
    timing
        Clock and baud rate.
    """

    #: Bytes to send.
    i: In(stream.Signature(unsigned(8)))
    #: Serial line; 1 when idle.
    tx: Out(1, init=1)

    def __init__(self, timing: UartTiming) -> None:
        self._timing = timing
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        phase = Signal(PHASE_WIDTH)
        next_phase = Signal(PHASE_WIDTH + 1)
        bit_done = next_phase[-1]
        # Bits after the one on the line, lowest first; ones fill in behind as stop bit.
        bits = Signal(SYMBOL_BITS - 1)
        bits_left = Signal(range(SYMBOL_BITS + 1))

        m.d.comb += [
            next_phase.eq(phase + self._timing.increment),
            self.i.ready.eq((bits_left == 0) | ((bits_left == 1) & bit_done)),
        ]
        with m.If(bits_left == 0):
            m.d.sync += phase.eq(0)
        with m.Else():
            m.d.sync += phase.eq(next_phase)
            with m.If(bit_done):
                m.d.sync += [Cat(self.tx, bits).eq(Cat(bits, 1)), bits_left.eq(bits_left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.tx.eq(0),
                bits.eq(Cat(self.i.payload, 1)),
                bits_left.eq(SYMBOL_BITS),
            ]

        return m

"""The whole design of a board without its chip: from the serial pins to the external memory."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator
from hw.board.ulx3s import BAUD_RATE, LEDS
from hw.config import AcceleratorConfig
from hw.link.link import Link
from hw.link.protocol import LinkIdentity
from hw.memory.external import BlockExternalMemory
from hw.memory.sdram import PAD_CYCLES, SdramController
from hw.memory.sdram_pins import SdramPinsSignature
from hw.stream import connect_checked

__all__ = ["BoardCore"]

PULSE_SECONDS = 0.05


class BoardCore(wiring.Component):
    """Serial pins, link, accelerator and external memory: block RAM, or the controller of an SDRAM.

    It has nothing of the chip: a simulation talks to it through the serial pins as the host talks
    to the board.

    LEDs, from the lowest: power; busy; done; trapped; good frame; damaged frame. The last two
    stay lit for ``PULSE_SECONDS`` after each frame.

    Parameters
    ----------
    config
        Accelerator.
    clock_frequency
        Of the ``sync`` domain in Hz; ``config.clock_mhz`` if None.
    baud_rate
        Of the serial line.
    build
        32-bit hash that HELLO reports.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        clock_frequency: float | None = None,
        baud_rate: float = BAUD_RATE,
        build: int = 0,
    ) -> None:
        self._config = config
        self._clock_frequency = clock_frequency or config.clock_mhz * 1e6
        self._baud_rate = baud_rate
        self._identity = LinkIdentity(
            preset=config.name,
            fingerprint=config.fingerprint,
            build=build,
            rows=config.array.rows,
            columns=config.array.columns,
            lanes=config.array.lanes,
        )
        super().__init__(
            {
                # Serial line from the host, asynchronous.
                "rx": In(1, init=1),
                # Serial line to the host.
                "tx": Out(1, init=1),
                # Lamps, 1 = lit.
                "leds": Out(LEDS),
                # Pins of the SDRAM, behind a register each way; if the configuration has one.
                **({} if config.sdram is None else {"sdram": Out(SdramPinsSignature())}),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.link = link = Link(
            self._identity, clock_frequency=self._clock_frequency, baud_rate=self._baud_rate
        )
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        connect_checked(m, link.host_requests, accelerator.host_requests)
        connect_checked(m, accelerator.host_responses, link.host_responses)
        connect_checked(m, accelerator.memory, self._external(m, accelerator).port)
        lamps = Cat(
            Const(1),
            accelerator.busy,
            accelerator.done,
            accelerator.trapped,
            self._stretched(m, link.frame_accepted),
            self._stretched(m, link.frame_rejected),
        )
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        m.d.sync += self.leds.eq(lamps)

        return m

    def _external(self, m: Module, accelerator: Accelerator) -> wiring.Component:
        part = self._config.sdram_part
        if part is None:
            m.submodules.external = block = BlockExternalMemory(self._config.memory.external_words)
            return block
        clock_mhz = self._clock_frequency / 1e6
        m.submodules.external = sdram = SdramController(
            part, clock_mhz=clock_mhz, pad_cycles=PAD_CYCLES
        )
        connect_checked(m, sdram.pins, wiring.flipped(self.sdram))
        m.d.comb += sdram.busy.eq(accelerator.busy)
        return sdram

    def _stretched(self, m: Module, pulse: Signal) -> Signal:
        """One for ``PULSE_SECONDS`` after a pulse."""
        cycles = max(1, round(PULSE_SECONDS * self._clock_frequency))
        remaining = Signal(range(cycles + 1))
        lit = Signal()
        m.d.comb += lit.eq(remaining != 0)
        with m.If(pulse):
            m.d.sync += remaining.eq(cycles)
        with m.Elif(lit):
            m.d.sync += remaining.eq(remaining - 1)
        return lit

"""The whole host link, from the serial pins to the accelerator's host port."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.bridge import LinkBridge
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.frame import FrameReceiver, FrameTransmitter
from hw.link.host_port import HOST_REQUESTS, HOST_RESPONSES
from hw.link.protocol import LinkIdentity
from hw.link.silence import SilenceDelimiter
from hw.link.uart import UartReceiver, UartTiming, UartTransmitter

__all__ = ["Link"]

SILENCE_SECONDS = 2e-3


class Link(wiring.Component):
    """Serial pins to host port, by the protocol of ``hw.link.protocol``.

        rx -> UartReceiver -> SilenceDelimiter -> CobsDecoder -> FrameReceiver
                                                                  | frames, rejects
        host_requests, host_responses <-------------------->  LinkBridge
                                                                  | replies
        tx <- UartTransmitter <------------------ CobsEncoder <- FrameTransmitter

    Both directions run at once and back to back. The line is the limit: a WRITE of 59 words is 250
    bytes on the line, so writes carry 94.4 % of the line's byte rate (283 kB/s at 3 Mbaud) when
    the host keeps more than one under way, and so do reads.

    Parameters
    ----------
    identity
        Answer to HELLO.
    clock_frequency
        Of the ``sync`` domain, in Hz; at least 8 times the baud rate.
    baud_rate
        Of both directions, in bits per second.
    silence_cycles
        Longest pause within a frame; ``SILENCE_SECONDS`` if None.
    """

    #: Serial line from the host, asynchronous.
    rx: In(1)
    #: Serial line to the host.
    tx: Out(1, init=1)
    #: Accesses of the accelerator's memory and registers.
    host_requests: Out(HOST_REQUESTS)
    #: Words read.
    host_responses: In(HOST_RESPONSES)
    #: One cycle for each good frame received; registered.
    frame_accepted: Out(1)
    #: One cycle for each damaged frame and each byte that the serial receiver lost; registered.
    frame_rejected: Out(1)

    def __init__(
        self,
        identity: LinkIdentity,
        *,
        clock_frequency: float,
        baud_rate: float = 3e6,
        silence_cycles: int | None = None,
    ) -> None:
        self._identity = identity
        self._timing = UartTiming(clock_frequency=clock_frequency, baud_rate=baud_rate)
        if silence_cycles is None:
            silence_cycles = round(SILENCE_SECONDS * clock_frequency)
        self._silence_cycles = silence_cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        m.submodules.uart_receiver = uart_receiver = UartReceiver(self._timing)
        m.submodules.silence = silence = SilenceDelimiter(self._silence_cycles)
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.bridge = bridge = LinkBridge(self._identity)
        m.submodules.transmitter = transmitter = FrameTransmitter()
        m.submodules.encoder = encoder = CobsEncoder()
        m.submodules.uart_transmitter = uart_transmitter = UartTransmitter(self._timing)

        wiring.connect(m, uart_receiver.o, silence.i)
        wiring.connect(m, silence.o, decoder.i)
        wiring.connect(m, decoder.o, receiver.i)
        wiring.connect(m, receiver.frames, bridge.frames)
        wiring.connect(m, receiver.rejects, bridge.rejects)
        wiring.connect(m, bridge.replies, transmitter.i)
        wiring.connect(m, transmitter.o, encoder.i)
        wiring.connect(m, encoder.o, uart_transmitter.i)
        wiring.connect(m, bridge.host_requests, wiring.flipped(self.host_requests))
        wiring.connect(m, wiring.flipped(self.host_responses), bridge.host_responses)
        m.d.comb += [
            uart_receiver.rx.eq(self.rx),
            self.tx.eq(uart_transmitter.tx),
        ]
        m.d.sync += [
            self.frame_accepted.eq(receiver.accepted),
            self.frame_rejected.eq(
                receiver.rejected | uart_receiver.frame_error | uart_receiver.overrun
            ),
        ]

        return m

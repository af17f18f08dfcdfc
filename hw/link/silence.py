"""Silence on the line ends a frame, so that a lost byte never holds up the frames after it."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SilenceDelimiter"]


class SilenceDelimiter(wiring.Component):
    """Passes bytes on, and adds a zero byte when a frame stops in the middle.

    If no byte comes for ``cycles`` cycles after one that was not zero, the sender has stopped or
    bytes were lost. The zero byte that is added then makes the blocks behind judge what has
    arrived and start afresh. Bytes pass combinationally, one per cycle.

    Parameters
    ----------
    cycles
        Longest silence within a frame.
    """

    #: Bytes from the line.
    i: In(stream.Signature(unsigned(8)))
    #: The same bytes and the added zeros.
    o: Out(stream.Signature(unsigned(8)))

    def __init__(self, cycles: int) -> None:
        if cycles < 1:
            raise ValueError(f"cycles must be at least 1, not {cycles}")
        self._cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        in_frame = Signal()
        elapsed = Signal(range(self._cycles + 1))
        # Once offered, the zero byte stays until it is taken, whatever arrives meanwhile.
        is_silent = elapsed == self._cycles

        m.d.comb += [
            self.o.payload.eq(Mux(is_silent, 0, self.i.payload)),
            self.o.valid.eq(self.i.valid | is_silent),
            self.i.ready.eq(self.o.ready & ~is_silent),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [in_frame.eq(self.o.payload != 0), elapsed.eq(0)]
        with m.Elif(in_frame & ~self.o.valid):
            m.d.sync += elapsed.eq(elapsed + 1)

        return m

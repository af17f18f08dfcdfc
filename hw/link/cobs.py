"""Consistent overhead byte stuffing: frames without zero bytes, ended by a zero byte.

A frame is cut at its zero bytes, an imagined one after its end included. Each piece is sent as a
code, its length plus one, and its bytes. A piece of 254 bytes or more is cut after the 254th; the
code 255 says so: no zero follows.
"""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CobsDecoder", "CobsEncoder", "DecodedSymbol", "FrameByte"]

BLOCK_BYTES_MAXIMUM = 254
CODE_NO_ZERO = 255


class DecodedSymbol(data.Struct):
    """A byte of a decoded frame, or the end of the frame."""

    #: Byte; without meaning at the end.
    data: 8
    #: The frame is over; this symbol carries no byte.
    end: 1
    #: With ``end``: a piece was shorter than its code, so bytes are missing.
    error: 1


class FrameByte(data.Struct):
    """A byte of a frame that is to be encoded."""

    data: 8
    #: The last byte of the frame.
    last: 1


class CobsDecoder(wiring.Component):
    """Bytes from the line to decoded frames.

    Each input byte gives at most one symbol, in the same cycle (combinational): one byte per
    cycle. Zero bytes in a row give an ``end`` each, of empty frames.
    """

    #: Bytes from the line.
    i: In(stream.Signature(unsigned(8)))
    #: Frames: their bytes, then an end.
    o: Out(stream.Signature(DecodedSymbol))

    def elaborate(self, platform):
        m = Module()

        # Bytes until the next code; a code is due when it is zero.
        left = Signal(8)
        # The code that is due stands for a zero byte too. Not so for the first one.
        zero_due = Signal()

        is_end = self.i.payload == 0
        is_code = ~is_end & (left == 0)
        has_symbol = ~is_code | zero_due

        m.d.comb += [
            self.o.payload.data.eq(Mux(is_code, 0, self.i.payload)),
            self.o.payload.end.eq(is_end),
            self.o.payload.error.eq(is_end & (left != 0)),
            self.o.valid.eq(self.i.valid & has_symbol),
            self.i.ready.eq(self.o.ready | ~has_symbol),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(is_end):
                m.d.sync += [left.eq(0), zero_due.eq(0)]
            with m.Elif(is_code):
                m.d.sync += [
                    left.eq(self.i.payload - 1),
                    zero_due.eq(self.i.payload != CODE_NO_ZERO),
                ]
            with m.Else():
                m.d.sync += left.eq(left - 1)

        return m


class CobsEncoder(wiring.Component):
    """Frames to bytes for the line, with the zero byte after each frame.

    A code comes before the bytes that it counts, so the encoder first collects a piece in a block
    RAM, one byte per cycle, and then emits it, one byte per cycle; a piece of n bytes takes
    2 n + 1 cycles, the end of a frame one or two more. That is far faster than a serial line, which
    therefore sees only its first byte of a frame delayed.
    """

    #: Frames of at least one byte.
    i: In(stream.Signature(FrameByte))
    #: Bytes for the line.
    o: Out(stream.Signature(unsigned(8)))

    def elaborate(self, platform):
        m = Module()

        m.submodules.piece = piece = memory.Memory(shape=8, depth=256, init=[])
        write = piece.write_port()
        read = piece.read_port()

        count = Signal(range(BLOCK_BYTES_MAXIMUM + 1))
        index = Signal(range(BLOCK_BYTES_MAXIMUM + 1))
        next_index = Signal.like(index)
        # Why the piece in the memory was closed.
        closed_by_zero = Signal()
        closed_by_end = Signal()

        is_zero = self.i.payload.data == 0
        is_full = count == BLOCK_BYTES_MAXIMUM - 1

        m.d.comb += [
            write.addr.eq(count),
            write.data.eq(self.i.payload.data),
            next_index.eq(index),
            read.addr.eq(next_index),
        ]

        def next_piece() -> None:
            """Go where a piece that has been emitted leaves off."""
            m.d.sync += count.eq(0)
            with m.If(~closed_by_end):
                m.next = "COLLECT"
            with m.Elif(closed_by_zero):
                # The frame ends in a zero byte: an empty piece comes after it.
                m.d.sync += closed_by_zero.eq(0)
                m.next = "CODE"
            with m.Else():
                m.next = "END"

        with m.FSM():
            with m.State("COLLECT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.comb += write.en.eq(~is_zero)
                    m.d.sync += [
                        closed_by_zero.eq(is_zero),
                        closed_by_end.eq(self.i.payload.last),
                        count.eq(count + ~is_zero),
                        index.eq(0),
                    ]
                    with m.If(is_zero | is_full | self.i.payload.last):
                        m.next = "CODE"
            with m.State("CODE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(count + 1)]
                with m.If(self.o.ready):
                    with m.If(count == 0):
                        next_piece()
                    with m.Else():
                        m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(read.data)]
                with m.If(self.o.ready):
                    m.d.comb += next_index.eq(index + 1)
                    m.d.sync += index.eq(next_index)
                    with m.If(next_index == count):
                        next_piece()
                        m.d.sync += index.eq(0)
            with m.State("END"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(0)]
                with m.If(self.o.ready):
                    m.next = "COLLECT"

        return m

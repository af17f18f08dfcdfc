"""Frames on their way in and out: buffering, CRC-32, and the payloads that cross these blocks."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

from hw.delay import data_register
from hw.link.cobs import DecodedSymbol, FrameByte
from hw.link.protocol import (
    FRAME_BYTES_MAXIMUM,
    FRAME_BYTES_MINIMUM,
    PAYLOAD_WORDS_MAXIMUM,
    RECEIVE_SLOTS,
    NackReason,
)

__all__ = ["FrameHeader", "FrameReceiver", "FrameTransmitter", "FrameWord", "RejectedFrame"]

WORD_BYTES = 4
SLOT_WORDS = 64


class FrameHeader(data.Struct):
    """First word of a frame."""

    #: A ``FrameType``, or any other value in a request of a later protocol.
    kind: 8
    #: Number that ties the answer to the request.
    sequence: 8
    #: Words that are accessed, or words of data in an ACK.
    count: 8
    #: A ``NackReason``; zero except in a NACK.
    reason: 8


class FrameWord(data.Struct):
    """A word of a frame, without its CRC."""

    #: ``FrameHeader`` in the first word of a frame, payload after that.
    data: 32
    #: Words of this frame that follow this one; zero in the last.
    remaining: range(PAYLOAD_WORDS_MAXIMUM + 1)


class RejectedFrame(data.Struct):
    """What is known of a frame that was not accepted."""

    #: Sequence number as received, possibly damaged.
    sequence: 8
    #: ``NackReason.BAD_CRC`` or ``NackReason.BUSY``.
    reason: 8


class FrameReceiver(wiring.Component):
    """Buffers a frame in block RAM, checks it, and only then releases it.

    A frame is good if it has between ``FRAME_BYTES_MINIMUM`` and ``FRAME_BYTES_MAXIMUM`` bytes in
    whole words, all of its bytes arrived, and its CRC matches. Its first word is offered two
    cycles after the end symbol was taken, then one word every three cycles.

    Symbols are always taken, one per cycle: the receiver never stalls the line. It holds
    ``RECEIVE_SLOTS`` frames; one slot is free again when the last word of its frame is taken. A
    frame that finds no slot free is rejected as BUSY.

    A bad frame of at least ``FRAME_BYTES_MINIMUM`` bytes is offered on ``rejects``. While one waits
    there, further ones are only counted by ``rejected``: one hint to repeat is enough, and a flood
    of noise cannot cause a flood of answers.
    """

    #: Decoded bytes and ends of frames; always ready.
    i: In(stream.Signature(DecodedSymbol))
    #: Good frames without their CRC.
    frames: Out(stream.Signature(FrameWord))
    #: Frames to be answered by a NACK.
    rejects: Out(stream.Signature(RejectedFrame))
    #: One cycle for each good frame.
    accepted: Out(1)
    #: One cycle for each bad frame of any length, the empty one excepted.
    rejected: Out(1)

    def elaborate(self, platform):
        m = Module()

        m.submodules.words = words = memory.Memory(
            shape=32, depth=RECEIVE_SLOTS * SLOT_WORDS, init=[]
        )
        # Counters with one more bit than a slot number: equal means empty.
        write_slot = Signal(range(2 * RECEIVE_SLOTS))
        read_slot = Signal(range(2 * RECEIVE_SLOTS))
        # Payload words in each slot.
        lengths = Array(
            Signal(range(PAYLOAD_WORDS_MAXIMUM + 1), name=f"length_{slot}")
            for slot in range(RECEIVE_SLOTS)
        )
        is_full = (write_slot ^ read_slot) == RECEIVE_SLOTS

        byte_count = self._collect(m, words.write_port(), write_slot, is_full)
        with m.If(self.accepted):
            m.d.sync += [
                write_slot.eq(write_slot + 1),
                lengths[write_slot[:-1]].eq(byte_count[2:] - FRAME_BYTES_MINIMUM // WORD_BYTES),
            ]
        self._release(m, words.read_port(), read_slot, write_slot, lengths[read_slot[:-1]])

        return m

    def _collect(self, m: Module, write, write_slot: Signal, is_full) -> Signal:
        """Store the bytes of a frame and judge it at its end; returns the number of bytes."""
        symbol = self.i.payload
        byte_count = Signal(range(FRAME_BYTES_MAXIMUM + 1))
        earlier_bytes = Signal(24)
        sequence = Signal(8)
        too_long = Signal()
        no_slot = Signal()

        m.submodules.crc = crc = CRC32_ETHERNET().create()
        is_byte = self.i.valid & ~symbol.end
        is_end = self.i.valid & symbol.end

        m.d.comb += [
            self.i.ready.eq(1),
            crc.start.eq(byte_count == 0),
            crc.valid.eq(is_byte),
            crc.data.eq(symbol.data),
            write.addr.eq(Cat(byte_count[2:], write_slot[:-1])),
            write.data.eq(Cat(earlier_bytes, symbol.data)),
            write.en.eq(is_byte & (byte_count[:2] == WORD_BYTES - 1) & ~is_full & ~too_long),
        ]
        with m.If(is_byte):
            m.d.sync += [earlier_bytes.eq(Cat(earlier_bytes[8:], symbol.data)), too_long.eq(1)]
            m.d.sync += no_slot.eq(no_slot | is_full)
            with m.If(byte_count != FRAME_BYTES_MAXIMUM):
                m.d.sync += [byte_count.eq(byte_count + 1), too_long.eq(0)]
            with m.If(byte_count == 1):
                m.d.sync += sequence.eq(symbol.data)
        with m.If(is_end):
            m.d.sync += [byte_count.eq(0), too_long.eq(0), no_slot.eq(0)]

        is_complete = (
            ~symbol.error & ~too_long & (byte_count[:2] == 0) & (byte_count >= FRAME_BYTES_MINIMUM)
        )
        is_intact = is_complete & crc.match_detected
        m.d.comb += [
            self.accepted.eq(is_end & is_intact & ~no_slot),
            self.rejected.eq(is_end & (byte_count != 0) & ~self.accepted),
        ]
        self._reject(m, self.rejected & (byte_count >= FRAME_BYTES_MINIMUM), sequence, is_intact)
        return byte_count

    def _reject(self, m: Module, is_answered, sequence: Signal, is_intact) -> None:
        with m.If(self.rejects.ready):
            m.d.sync += self.rejects.valid.eq(0)
        with m.If(is_answered & (~self.rejects.valid | self.rejects.ready)):
            m.d.sync += [
                self.rejects.valid.eq(1),
                self.rejects.payload.sequence.eq(sequence),
                self.rejects.payload.reason.eq(Mux(is_intact, NackReason.BUSY, NackReason.BAD_CRC)),
            ]

    def _release(self, m: Module, read, read_slot: Signal, write_slot: Signal, length) -> None:
        """Offer the words of the oldest frame, then free its slot."""
        # Word zero is the header, so the words that follow number index up to the length.
        index = Signal(range(SLOT_WORDS))
        reading = Signal()  # the word of a new address is on its way through the memory
        data = data_register(m, self.frames.payload.data, name="data")
        remaining = data_register(m, self.frames.payload.remaining, name="remaining")

        m.d.comb += read.addr.eq(Cat(index, read_slot[:-1]))
        m.d.sync += [data.eq(read.data), remaining.eq(length - index), reading.eq(0)]
        with m.If(self.frames.valid & self.frames.ready):
            m.d.sync += [self.frames.valid.eq(0), reading.eq(1), index.eq(index + 1)]
            with m.If(remaining == 0):
                m.d.sync += [index.eq(0), read_slot.eq(read_slot + 1)]
        with m.Elif(~reading & (read_slot != write_slot)):
            m.d.sync += self.frames.valid.eq(1)


class FrameTransmitter(wiring.Component):
    """Words of a frame to bytes, with the CRC at the end.

    Combinational from input to output, one byte per cycle: a frame of n words takes 4 n + 4 cycles.
    """

    #: Frames without CRC.
    i: In(stream.Signature(FrameWord))
    #: Frames for the encoder.
    o: Out(stream.Signature(FrameByte))

    def elaborate(self, platform):
        m = Module()

        m.submodules.crc = crc = CRC32_ETHERNET().create()
        byte = Signal(range(WORD_BYTES))
        is_last_byte = byte == WORD_BYTES - 1
        is_first_word = Signal(init=1)
        is_sent = self.o.valid & self.o.ready

        with m.If(is_sent):
            m.d.sync += byte.eq(byte + 1)

        with m.FSM():
            with m.State("WORDS"):
                m.d.comb += [
                    self.o.payload.data.eq(self.i.payload.data.word_select(byte, 8)),
                    self.o.valid.eq(self.i.valid),
                    self.i.ready.eq(self.o.ready & is_last_byte),
                    crc.start.eq(is_first_word & (byte == 0)),
                    crc.data.eq(self.o.payload.data),
                    crc.valid.eq(is_sent),
                ]
                with m.If(is_sent & is_last_byte):
                    m.d.sync += is_first_word.eq(0)
                    with m.If(self.i.payload.remaining == 0):
                        m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [
                    self.o.payload.data.eq(crc.crc.word_select(byte, 8)),
                    self.o.payload.last.eq(is_last_byte),
                    self.o.valid.eq(1),
                ]
                with m.If(is_sent & is_last_byte):
                    m.d.sync += is_first_word.eq(1)
                    m.next = "WORDS"

        return m

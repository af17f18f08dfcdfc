"""Fetches instructions in order from the external memory."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.control.queue import FetchedInstruction
from hw.isa import INSTRUCTION_WIDTH, INSTRUCTION_WORDS
from hw.payloads import MemoryPortSignature
from hw.stream import StreamQueue

__all__ = ["InstructionFetch"]

BURST_WORDS = 4 * INSTRUCTION_WORDS
BUFFER_WORDS = 2 * BURST_WORDS


class InstructionFetch(wiring.Component):
    """Reads ahead by up to eight instructions; gives one per ``INSTRUCTION_WORDS`` cycles at best.

    A burst is asked for only when there is room for all of it, so the memory never waits. The
    reads may run beyond the program, even beyond the memory (which then gives zeros).
    """

    #: One cycle: fetch from ``start_address`` on. Only after a reset.
    start: In(1)
    #: External memory word of the first instruction.
    start_address: In(24)
    #: Level: ask for no more bursts.
    stop: In(1)
    #: External memory; only read.
    memory: Out(MemoryPortSignature())
    #: Instructions in order.
    instructions: Out(stream.Signature(FetchedInstruction))
    #: A burst is under way.
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = StreamQueue(unsigned(32), depth=BUFFER_WORDS)
        active = Signal()
        address = Signal(24)
        left = Signal(range(BURST_WORDS + 1))
        request = self.memory.requests

        m.d.comb += [
            request.payload.address.eq(address),
            request.payload.length.eq(BURST_WORDS),
            buffer.i.payload.eq(self.memory.read_data.payload),
            buffer.i.valid.eq(self.memory.read_data.valid),
            self.memory.read_data.ready.eq(buffer.i.ready),
            self.busy.eq(request.valid | (left != 0)),
        ]
        with m.If(self.start):
            m.d.sync += [active.eq(1), address.eq(self.start_address)]
        with m.If(self.memory.read_data.valid & self.memory.read_data.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(request.valid), m.If(request.ready):
            m.d.sync += [
                request.valid.eq(0),
                address.eq(address + BURST_WORDS),
                left.eq(BURST_WORDS),
            ]
        with m.Elif(active & ~self.stop & (left == 0)):
            m.d.sync += request.valid.eq(buffer.level <= BUFFER_WORDS - BURST_WORDS)
        self._assemble(m, buffer)
        return m

    def _assemble(self, m: Module, buffer: StreamQueue) -> None:
        """Words enter a shift register at the top."""
        output = self.instructions
        bits = Signal(INSTRUCTION_WIDTH)
        place = Signal(range(INSTRUCTION_WORDS))
        m.d.comb += [
            output.payload.instruction.eq(bits),
            buffer.o.ready.eq(~output.valid),
        ]
        with m.If(self.start):
            m.d.sync += output.payload.address.eq(self.start_address)
        with m.If(buffer.o.valid & buffer.o.ready):
            m.d.sync += [
                bits.eq(Cat(bits[32:], buffer.o.payload)),
                place.eq(place + 1),
                output.valid.eq(place == INSTRUCTION_WORDS - 1),
            ]
        with m.If(output.valid & output.ready):
            m.d.sync += [
                output.valid.eq(0),
                output.payload.address.eq(output.payload.address + INSTRUCTION_WORDS),
            ]

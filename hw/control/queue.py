"""Instruction queues: one per engine, as wide as the engine's instructions."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.isa import HEADER_FIELDS, INSTRUCTION_FIELDS, INSTRUCTION_WIDTH, Engine, Opcode
from hw.stream import StreamQueue

__all__ = ["ENGINE_OPCODES", "QUEUE_DEPTH", "FetchedInstruction", "InstructionQueue"]

QUEUE_DEPTH = 16
"""Instructions per engine: what one cell of distributed memory holds."""

ENGINE_OPCODES: dict[Engine, tuple[Opcode, ...]] = {
    Engine.DMA: (Opcode.DMA,),
    Engine.FILL: (Opcode.FILL,),
    Engine.COMPUTE: (Opcode.COMPUTE,),
    Engine.POST: (Opcode.POST_CONFIG, Opcode.POST),
}
"""What each engine executes; every queue also holds SYNC."""


class FetchedInstruction(data.Struct):
    """An instruction and where it was."""

    instruction: INSTRUCTION_WIDTH
    #: External memory word.
    address: 24


class InstructionQueue(wiring.Component):
    """First-in-first-out queue of the instructions of one engine; latency 1 cycle.

    Only the bits that the engine's instructions use are stored; the others are read as zero,
    which is what they must be in memory.

    Parameters
    ----------
    engine
        The engine that is served.
    """

    #: From the dispatcher.
    i: In(stream.Signature(FetchedInstruction))
    #: To the engine's gate.
    o: Out(stream.Signature(FetchedInstruction))

    def __init__(self, engine: Engine) -> None:
        fields = [INSTRUCTION_FIELDS[opcode] for opcode in ENGINE_OPCODES[engine]]
        fields.append(INSTRUCTION_FIELDS[Opcode.SYNC])
        #: Bits that are stored of an instruction.
        self.width = max(sum(field.width for field in HEADER_FIELDS + part) for part in fields)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout({"instruction": unsigned(self.width), "address": 24})
        m.submodules.queue = queue = StreamQueue(layout, depth=QUEUE_DEPTH)
        m.d.comb += [
            queue.i.payload.instruction.eq(self.i.payload.instruction),
            queue.i.payload.address.eq(self.i.payload.address),
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
            self.o.payload.instruction.eq(queue.o.payload.instruction),
            self.o.payload.address.eq(queue.o.payload.address),
            self.o.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.o.ready),
        ]
        return m

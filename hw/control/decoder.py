"""Decides whether 256 bits are an instruction, and whose."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.control.queue import ENGINE_OPCODES
from hw.isa import (
    INSTRUCTION_FIELDS,
    INSTRUCTION_WIDTH,
    DmaTarget,
    Engine,
    Field,
    Opcode,
    instruction_layout,
)

__all__ = ["InstructionDecoder"]


class InstructionDecoder(wiring.Component):
    """Total: every pattern is legal or not. Outputs belong to the input of 2 cycles before.

    Legal is an instruction whose opcode exists, whose enumerated fields hold one of their values,
    whose unused bits are zero, and which, if it is a DMA that stores or has several runs, has
    activations or streams as its target.

    Parameters
    ----------
    streams
        Whether the DMA engine moves streams; else that is not legal.
    """

    #: The pattern.
    instruction: In(INSTRUCTION_WIDTH)
    #: It is an instruction.
    legal: Out(1)
    #: The engine that executes it, or whose queue holds it (SYNC).
    engine: Out(Engine)
    #: It ends the program.
    is_end: Out(1)

    def __init__(self, *, streams: bool = True) -> None:
        self._streams = streams
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        opcode = Signal(4)
        sync_engine = Signal(Engine)
        m.d.sync += [
            opcode.eq(self.instruction[:4]),
            sync_engine.eq(self._view(Opcode.SYNC).engine),
        ]
        # Both the legality under each opcode and the opcode are registered, then combined.
        faults = {}
        for name in Opcode:
            fault = Signal(name=f"fault_{name.name.lower()}")
            m.d.sync += fault.eq(Cat(self._faults(name)).any())
            faults[name] = fault

        m.d.sync += [self.legal.eq(0), self.is_end.eq(opcode == Opcode.END.value)]
        owners = {name: engine for engine, names in ENGINE_OPCODES.items() for name in names}
        with m.Switch(opcode):
            for name in Opcode:
                with m.Case(name.value):
                    engine = owners.get(name, sync_engine)
                    m.d.sync += [self.legal.eq(~faults[name]), self.engine.eq(engine)]
        return m

    def _view(self, opcode: Opcode) -> data.View:
        return data.View(instruction_layout(opcode), self.instruction)

    def _faults(self, opcode: Opcode) -> list[Value]:
        """Conditions under which the bits are not an instruction of this opcode."""
        view = self._view(opcode)
        faults: list[Value] = [Const(0, 1)]
        for field in INSTRUCTION_FIELDS[opcode]:
            if not isinstance(field.shape, int):
                faults += _illegal_values(field, Value.cast(view[field.name]))
        if "unused" in view.shape().members:
            faults.append(view.unused.any())
        if opcode == Opcode.DMA:
            needs_tensor = view.store | view.runs.any() | view.rows.any()
            is_streams = view.target == DmaTarget.STREAMS
            is_tensor = is_streams | (view.target == DmaTarget.ACTIVATIONS)
            faults.append(needs_tensor & ~is_tensor)
            if not self._streams:
                faults.append(is_streams)
        return faults


def _illegal_values(field: Field, value: Value) -> list[Value]:
    legal = {member.value for member in field.shape}
    return [value == number for number in range(1 << field.width) if number not in legal]

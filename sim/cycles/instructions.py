"""Instructions as the cycle model reads them: decoded field by field, when it is asked for."""

from __future__ import annotations

from hw.control.queue import ENGINE_OPCODES
from hw.isa import (
    HEADER_FIELDS,
    INSTRUCTION_FIELDS,
    INSTRUCTION_WIDTH,
    INSTRUCTION_WORDS,
    SEMAPHORES,
    Opcode,
)

__all__ = ["SEMAPHORES_OF", "CycleError", "Instruction", "fetch_instruction"]


class CycleError(RuntimeError):
    """A program whose cycles cannot be told: the accelerator would trap on it or never end."""


def _places(opcode: Opcode) -> dict[str, tuple[int, int]]:
    """Shift and mask of every field."""
    places, position = {}, 0
    for field in HEADER_FIELDS + INSTRUCTION_FIELDS[opcode]:
        places[field.name] = (position, (1 << field.width) - 1)
        position += field.width
    return places


_HEADER = _places(Opcode.END)
_OPCODE_MASK = _HEADER["opcode"][1]
_LAYER, _WAIT, _SIGNAL = (_HEADER[name] for name in ("layer", "wait", "signal"))
_HEAD_MASK = (1 << sum(field.width for field in HEADER_FIELDS)) - 1
_ENGINES: dict[Opcode, int] = {
    opcode: engine.value for engine, opcodes in ENGINE_OPCODES.items() for opcode in opcodes
}
_OPCODES = {opcode.value: (opcode, _places(opcode), _ENGINES.get(opcode)) for opcode in Opcode}

SEMAPHORES_OF: tuple[tuple[int, ...], ...] = tuple(
    tuple(index for index in range(SEMAPHORES) if mask >> index & 1)
    for mask in range(1 << SEMAPHORES)
)
"""The semaphores that a mask selects."""


class Instruction:
    """One instruction of a program."""

    __slots__ = (
        "_places",
        "_word",
        "available",
        "done",
        "engine",
        "layer",
        "opcode",
        "signal",
        "wait",
    )

    def __init__(self, word: int) -> None:
        head = word & _HEAD_MASK
        number = head & _OPCODE_MASK
        if number not in _OPCODES:
            raise CycleError(f"opcode must be 1 to {len(_OPCODES)}, not {number}")
        self.opcode, self._places, engine = _OPCODES[number]
        self._word = word
        self.engine = self["engine"] if self.opcode is Opcode.SYNC else engine
        """Number of the engine in whose queue it goes; END goes in none."""
        self.layer = head >> _LAYER[0] & _LAYER[1]
        self.wait = head >> _WAIT[0] & _WAIT[1]
        """Mask of semaphores, like ``signal``."""
        self.signal = head >> _SIGNAL[0] & _SIGNAL[1]
        self.available = 0
        """Cycle from which on the instruction can be seen at the end of its queue."""
        self.done = 0
        """Cycle in which it is complete and signals."""

    def __getitem__(self, name: str) -> int:
        shift, mask = self._places[name]
        return self._word >> shift & mask


def fetch_instruction(memory: bytes, address: int) -> Instruction:
    """The instruction at word ``address`` of the external memory's contents."""
    start = 4 * address
    content = memory[start : start + INSTRUCTION_WIDTH // 8]
    if len(content) < 4 * INSTRUCTION_WORDS:
        raise CycleError(f"instruction at word {address} must lie inside the program's memory")
    return Instruction(int.from_bytes(content, "little"))

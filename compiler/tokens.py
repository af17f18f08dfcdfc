"""Instruction emission and the bookkeeping of semaphores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hw import isa

__all__ = ["InstructionList", "TokenCounter"]


class InstructionList:
    """Instructions of one run, in program order."""

    def __init__(self) -> None:
        self.instructions: list[tuple[isa.Opcode, dict[str, int]]] = []

    def append(self, opcode: isa.Opcode, layer: int, fields: Mapping[str, int]) -> dict[str, int]:
        """Add an instruction; returns its fields, whose wait and signal masks may still grow."""
        instruction = {"layer": layer, "wait": 0, "signal": 0, **fields}
        self.instructions.append((opcode, instruction))
        return instruction

    def words(self) -> np.ndarray:
        """uint32 [instructions * 8]; raises ``IsaError`` for a field out of range."""
        mask = 0xFFFFFFFF
        return np.array(
            [
                (encoded >> 32 * index) & mask
                for opcode, fields in self.instructions
                for encoded in (isa.encode(opcode, fields),)
                for index in range(isa.INSTRUCTION_WORDS)
            ],
            np.uint32,
        )


class TokenCounter:
    """One semaphore between a producer and a consumer engine.

    Producers finish in order, so "event k has happened" is the same as "k + 1 tokens were
    taken". :meth:`require` makes the consumer take as many as are still missing, with SYNC
    instructions in front when one wait is not enough.
    """

    def __init__(self, semaphore: isa.Semaphore, consumer: isa.Engine) -> None:
        self.semaphore = semaphore
        self.consumer = consumer
        self.signalled = 0
        self.taken = 0

    def signal(self, instruction: dict[str, int]) -> int:
        """Make an instruction signal; returns the token count after it."""
        instruction["signal"] |= 1 << self.semaphore
        self.signalled += 1
        return self.signalled

    def require(self, count: int, program: InstructionList, layer: int) -> int:
        """Wait mask of the consumer's next instruction so that ``count`` tokens are taken."""
        missing = count - self.taken
        if missing <= 0:
            return 0
        bit = 1 << self.semaphore
        for _ in range(missing - 1):
            program.append(isa.Opcode.SYNC, layer, {"engine": self.consumer.value, "wait": bit})
        self.taken = count
        return bit

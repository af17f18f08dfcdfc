"""READY: which rows of the plane tensors on chip are written."""

from __future__ import annotations

from collections.abc import Mapping

from hw import isa

from .tokens import InstructionList, TokenCounter

__all__ = ["READY_SIGNALS", "Readiness"]

READY_SIGNALS = 24
"""Most READY tokens per layer."""
READY_OUTSTANDING = 40
"""Most READY tokens that FILL leaves waiting; one more layer's must still fit a semaphore."""


class Readiness:
    """Tokens of the instructions that finish rows, and those that a FILL needs.

    Args:
        parts: Of each concatenation.
        program: Where instructions are appended.
    """

    def __init__(self, parts: Mapping[str, tuple[str, ...]], program: InstructionList) -> None:
        self.counter = TokenCounter(isa.Semaphore.READY, isa.Engine.FILL)
        self._parts = parts
        self._program = program
        self._tokens: dict[str, list[tuple[int, int]]] = {}
        """Per plane tensor: (rows finished, READY tokens that say so), ascending."""

    def mark_there(self, tensor: str, height: int) -> None:
        """All rows of the tensor, or of its parts, are there before the first instruction."""
        for part in self._parts.get(tensor, (tensor,)):
            self._tokens[part] = [(height, 0)]

    def signal(self, tensor: str, rows: int, instruction: dict[str, int], layer: int) -> None:
        """The first ``rows`` rows of a tensor are written when the instruction has finished."""
        counter = self.counter
        self._tokens.setdefault(tensor, []).append((rows, counter.signal(instruction)))
        if counter.signalled - counter.taken > READY_OUTSTANDING:
            # Branches may go on long before FILL reads them: let it collect the older half.
            wait = counter.require(counter.signalled - READY_OUTSTANDING // 2, self._program, layer)
            self._program.append(
                isa.Opcode.SYNC, layer, {"engine": isa.Engine.FILL.value, "wait": wait}
            )

    def needed(self, tensor: str, rows: int) -> int:
        """READY tokens that say that the first ``rows`` rows of a tensor are there."""
        return max(
            next(count for finished, count in self._tokens[part] if finished >= rows)
            for part in self._parts.get(tensor, (tensor,))
        )

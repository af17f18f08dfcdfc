"""Stages of loading: the resident tables, cut into memory images that fit the external memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hw import isa
from hw.config import AcceleratorConfig

from .loads import Load
from .program import Stage
from .tokens import InstructionList

__all__ = ["cut_stages"]


def cut_stages(loads: Iterable[Load], config: AcceleratorConfig) -> tuple[Stage, ...]:
    """Fill one stage after the other; a load that does not fit the rest of a stage is cut.

    Raises ``IsaError`` for a field out of range.
    """
    stages: list[Stage] = []
    parts: list[Load] = []
    room = empty = config.memory.external_words - isa.INSTRUCTION_WORDS  # END
    for load in loads:
        rest = load
        while len(rest.words):
            pieces = max(0, room - isa.INSTRUCTION_WORDS) // rest.words.shape[1]
            if pieces == 0:
                # Ends: the smallest external memory holds any piece and two instructions.
                stages.append(_stage(parts))
                parts, room = [], empty
                continue
            part, rest = rest.cut(pieces)
            parts.append(part)
            room -= isa.INSTRUCTION_WORDS + part.words.size
    if parts:
        stages.append(_stage(parts))
    return tuple(stages)


def _stage(parts: list[Load]) -> Stage:
    """The words of all parts, then the instructions that load them."""
    program = InstructionList()
    external = 0
    for part in parts:
        program.append(isa.Opcode.DMA, part.tag, part.fields(external))
        external += part.words.size
    program.append(isa.Opcode.END, 0, {})
    words = [part.words.ravel() for part in parts]
    return Stage(entry=external, memory=np.concatenate([*words, program.words()]))

"""Tests of compiler.tokens."""

from __future__ import annotations

import pytest

from compiler.tokens import InstructionList, TokenCounter
from hw import isa


def test_missing_tokens_are_taken_by_syncs_in_front() -> None:
    program = InstructionList()
    counter = TokenCounter(isa.Semaphore.READY, isa.Engine.FILL)
    for _ in range(5):
        counter.signal({"signal": 0})
    assert counter.require(3, program, 1) == 1 << isa.Semaphore.READY
    assert [opcode for opcode, _ in program.instructions] == [isa.Opcode.SYNC] * 2
    assert all(
        fields["engine"] == isa.Engine.FILL.value and fields["wait"] == 1 << isa.Semaphore.READY
        for _, fields in program.instructions
    )
    assert counter.require(3, program, 1) == 0
    assert counter.require(4, program, 1) == 1 << isa.Semaphore.READY
    assert len(program.instructions) == 2


def test_words_decode_to_the_same_instructions() -> None:
    program = InstructionList()
    program.append(isa.Opcode.SYNC, 9, {"engine": 2, "wait": 5})
    program.append(isa.Opcode.END, 0, {})
    words = [int(word) for word in program.words()]
    assert len(words) == 2 * isa.INSTRUCTION_WORDS
    first = sum(word << 32 * i for i, word in enumerate(words[: isa.INSTRUCTION_WORDS]))
    assert isa.decode(first) == (
        isa.Opcode.SYNC,
        {"layer": 9, "wait": 5, "signal": 0, "engine": 2},
    )


def test_a_field_out_of_range_is_refused() -> None:
    program = InstructionList()
    program.append(isa.Opcode.SYNC, 256, {"engine": 0})
    with pytest.raises(isa.IsaError, match=r"^SYNC.layer must be 0 to 255, not 256$"):
        program.words()

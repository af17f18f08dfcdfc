"""Readable listing of a program."""

from __future__ import annotations

import numpy as np

from hw import isa

from .program import Program

__all__ = ["disassemble"]

ENUMERATIONS = {
    field.name: field.shape
    for fields in isa.INSTRUCTION_FIELDS.values()
    for field in fields
    if not isinstance(field.shape, int)
}


def _semaphores(mask: int) -> str:
    return "+".join(s.name for s in isa.Semaphore if mask >> s & 1)


def _instruction(word: int, names: dict[int, str]) -> str:
    opcode, fields = isa.decode(word)
    tag, wait, signal = fields.pop("layer"), fields.pop("wait"), fields.pop("signal")
    parts = [f"{opcode.name.lower():<12}", f"{names.get(tag, str(tag)):<24}"]
    for name, value in fields.items():
        if value == 0:
            continue
        enumeration = ENUMERATIONS.get(name)
        parts.append(f"{name}={enumeration(value).name.lower() if enumeration else value}")
    if wait:
        parts.append(f"wait={_semaphores(wait)}")
    if signal:
        parts.append(f"signal={_semaphores(signal)}")
    return " ".join(parts).rstrip()


def _listing(memory: np.ndarray, entry: int, names: dict[int, str]) -> list[str]:
    lines, address = [], entry
    while True:
        words = memory[address : address + isa.INSTRUCTION_WORDS]
        word = sum(int(value) << 32 * index for index, value in enumerate(words))
        lines.append(f"{address:06x}  {_instruction(word, names)}")
        if isa.Opcode(word & 0xF) is isa.Opcode.END:
            return lines
        address += isa.INSTRUCTION_WORDS


def disassemble(program: Program) -> str:
    """Header, tensor map and instructions as text; fields that are zero are left out."""
    names = {layer.tag: layer.name for layer in program.layers}
    lines = [
        (
            f"network {program.network} for preset {program.preset} "
            f"(fingerprint {program.fingerprint:08x}), {program.load_words} words to load"
        ),
        (
            f"{program.images} image(s) at {program.image_address:06x}, shape "
            f"{program.image_shape}; {program.result_count} results of each at "
            f"{program.result_address:06x}"
        ),
        "",
        "tensors:",
    ]
    for tensor in program.tensors:
        shape = f"{tensor.height} x {tensor.width} x {tensor.channels}"
        lines.append(
            f"  {tensor.name:<32} {tensor.kind:<7} {shape:<16} {tensor.planes:>2} bits "
            f"at {tensor.base}"
        )
    for number, stage in enumerate(program.stages, 1):
        title = f"stage {number} of {len(program.stages)}, {len(stage.memory)} words:"
        lines += ["", title, *_listing(stage.memory, stage.entry, names)]
    title = f"image, {len(program.memory)} words:"
    lines += ["", title, *_listing(program.memory, program.image_entry, names)]
    return "\n".join(lines) + "\n"

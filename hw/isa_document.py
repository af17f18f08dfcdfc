"""Generates ``docs/isa.md`` from :mod:`hw.isa`.

python -m hw.isa_document > docs/isa.md
"""

import inspect
import re
import textwrap
from collections.abc import Iterable
from enum import Enum

from hw import isa
from hw.isa import Field

__all__ = ["document"]

INTRODUCTION = (
    "Generated from `hw/isa.py` by `python -m hw.isa_document`; what the instructions do is in "
    "[architecture.md](architecture.md)."
)
ENUMERATIONS = (
    isa.Opcode,
    isa.Engine,
    isa.Semaphore,
    isa.DmaTarget,
    isa.ResidualMode,
    isa.PoolOperation,
    isa.OutputKind,
)
HOST_ENUMERATIONS = (isa.Register, isa.Status, isa.Trap, isa.Counter)


def document() -> str:
    """The whole document, with a final newline."""
    parts = [
        "# Instruction set",
        INTRODUCTION,
        _body(isa),
        f"There are {isa.SEMAPHORES} semaphores, which count to {(1 << isa.SEMAPHORE_WIDTH) - 1}.",
        "## Header",
        "These fields start every instruction.",
        _field_table(isa.HEADER_FIELDS, 0),
        "## Instructions",
        "Bits that no field uses must be zero.",
    ]
    header = sum(field.width for field in isa.HEADER_FIELDS)
    for opcode, fields in isa.INSTRUCTION_FIELDS.items():
        parts.append(f"### {opcode.name} ({opcode.value})")
        parts.append(_field_table(fields, header) if fields else "No fields.")
    parts.append("## Enumerations")
    parts += _enumerations(ENUMERATIONS)
    parts.append("## Host port")
    parts += _enumerations(HOST_ENUMERATIONS)
    return "\n\n".join(parts) + "\n"


def _body(thing: object) -> str:
    """A docstring without its first sentence's line, in Markdown."""
    text = inspect.getdoc(thing) or ""
    return _markdown(text.partition("\n\n")[2])


def _markdown(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def _field_table(fields: Iterable[Field], position: int) -> str:
    rows = ["| Bits | Width | Field | Meaning |", "| --- | --- | --- | --- |"]
    for field in fields:
        last = position + field.width - 1
        bits = f"{position}" if field.width == 1 else f"{last}:{position}"
        kind = "" if isinstance(field.shape, int) else f" ({field.shape.__name__})"
        rows.append(f"| {bits} | {field.width} | `{field.name}` | {_markdown(field.text)}{kind} |")
        position = last + 1
    return "\n".join(rows)


def _enumerations(enumerations: Iterable[type[Enum]]) -> list[str]:
    parts = []
    for enumeration in enumerations:
        texts = _member_texts(enumeration)
        rows = ["| Value | Name | Meaning |", "| --- | --- | --- |"]
        rows += [
            f"| {member.value} | {member.name} | {texts.get(member.name, '')} |"
            for member in enumeration
        ]
        parts.append(f"### {enumeration.__name__}")
        text = inspect.getdoc(enumeration)
        if text and enumeration.__dict__.get("__doc__"):
            parts.append(_markdown(" ".join(text.split())))
        parts.append("\n".join(rows))
    return parts


def _member_texts(enumeration: type[Enum]) -> dict[str, str]:
    """The strings under the members, which Python itself forgets."""
    source = textwrap.dedent(inspect.getsource(enumeration))
    found = re.findall(r'^    (\w+) = \d+\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    return {name: _markdown(" ".join(text.split())) for name, text in found}


if __name__ == "__main__":
    print(document(), end="")

"""The instruction set's encoder, decoder, layouts and document agree."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw import isa
from hw.isa import HEADER_FIELDS, INSTRUCTION_FIELDS, IsaError, Opcode
from hw.isa_document import document

FIELDS = {opcode: (*HEADER_FIELDS[1:], *INSTRUCTION_FIELDS[opcode]) for opcode in Opcode}


def random_fields(rng: Random, opcode: Opcode) -> dict[str, int]:
    return {field.name: rng.getrandbits(field.width) for field in FIELDS[opcode]}


@given(st.sampled_from(Opcode), st.integers(0, 1 << 64))
def test_decoding_inverts_encoding(opcode: Opcode, seed: int) -> None:
    fields = random_fields(Random(seed), opcode)
    assert isa.decode(isa.encode(opcode, fields)) == (opcode, fields)


@given(st.sampled_from(Opcode), st.integers(0, 1 << 64))
def test_layout_has_the_fields_where_the_encoder_puts_them(opcode: Opcode, seed: int) -> None:
    fields = random_fields(Random(seed), opcode)
    word = isa.encode(opcode, fields)
    layout = isa.instruction_layout(opcode)
    assert layout.size == isa.INSTRUCTION_WIDTH
    for name, value in fields.items():
        part = layout[name]
        assert (word >> part.offset) & ((1 << part.width) - 1) == value


@given(st.integers(0, (1 << isa.INSTRUCTION_WIDTH) - 1))
def test_decoding_is_total(word: int) -> None:
    try:
        opcode, fields = isa.decode(word)
    except IsaError:
        return
    assert isa.encode(opcode, fields) == word


@pytest.mark.parametrize("opcode", Opcode)
def test_a_value_that_does_not_fit_is_refused(opcode: Opcode) -> None:
    rng = Random(opcode.name)
    for field in FIELDS[opcode]:
        for value in (-1, 1 << field.width):
            fields = random_fields(rng, opcode) | {field.name: value}
            with pytest.raises(
                IsaError, match=rf"^{opcode.name}\.{field.name} must be 0 to \d+, not {value}$"
            ):
                isa.encode(opcode, fields)


def test_missing_and_unknown_fields_are_refused() -> None:
    with pytest.raises(IsaError, match="^SYNC must have the field engine$"):
        isa.encode(Opcode.SYNC, {})
    with pytest.raises(IsaError, match="^END must not have the field engine$"):
        isa.encode(Opcode.END, {"engine": 0})


@pytest.mark.parametrize("code", [0, *range(8, 16)])
def test_unknown_opcodes_are_refused(code: int) -> None:
    with pytest.raises(IsaError, match=rf"^opcode must be 1 to 7, not {code}$"):
        isa.decode(code)


def test_bits_above_the_fields_are_refused() -> None:
    with pytest.raises(IsaError, match="^END must have zeros above bit 31$"):
        isa.decode(isa.encode(Opcode.END, {}) | 1 << 32)


def test_every_field_is_documented() -> None:
    for opcode in Opcode:
        for field in FIELDS[opcode]:
            assert field.text, f"{opcode.name}.{field.name}"
            assert f"| `{field.name}` | " in document()


def test_the_document_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "docs" / "isa.md"
    assert path.read_text() == document(), "run: python -m hw.isa_document > docs/isa.md"

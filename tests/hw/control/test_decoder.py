"""The decoder against ``isa.decode`` and the rules for enumerated fields."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from hw import isa
from hw.control.decoder import InstructionDecoder
from hw.isa import DmaTarget, Engine, IsaError, Opcode, PoolOperation, ResidualMode
from tests.hw.link.peers import simulate

OWNERS = {
    Opcode.DMA: Engine.DMA,
    Opcode.FILL: Engine.FILL,
    Opcode.COMPUTE: Engine.COMPUTE,
    Opcode.POST_CONFIG: Engine.POST,
    Opcode.POST: Engine.POST,
}


def owner(word: int) -> Engine | Opcode | None:
    """The engine of an instruction, END, or None if it is illegal."""
    try:
        opcode, fields = isa.decode(word)
    except IsaError:
        return None
    legal = True
    if opcode == Opcode.DMA:
        legal = fields["target"] in {target.value for target in DmaTarget}
        is_plain = not (fields["store"] or fields["runs"] or fields["rows"])
        legal &= is_plain or fields["target"] == DmaTarget.ACTIVATIONS.value
    if opcode == Opcode.POST_CONFIG:
        legal = fields["residual"] in {mode.value for mode in ResidualMode}
        legal &= fields["pool"] in {operation.value for operation in PoolOperation}
    if not legal:
        return None
    if opcode == Opcode.SYNC:
        return Engine(fields["engine"])
    return OWNERS.get(opcode, opcode)


def check(words: list[int]) -> None:
    dut = InstructionDecoder()

    async def testbench(ctx):
        for word in words:
            ctx.set(dut.instruction, word)
            await ctx.tick().repeat(2)
            expected = owner(word)
            assert ctx.get(dut.legal) == (expected is not None), f"{word:#x}"
            if expected is not None:
                assert ctx.get(dut.is_end) == (expected == Opcode.END), f"{word:#x}"
            if isinstance(expected, Engine):
                assert ctx.get(dut.engine) == expected, f"{word:#x}"

    simulate(dut, testbench, cycles_maximum=100_000)


def plausible_word(rng: Random) -> int:
    """Random fields of a real instruction, sometimes with one bit changed anywhere."""
    opcode = rng.choice(list(Opcode))
    fields = {
        field.name: rng.getrandbits(field.width)
        for field in (*isa.HEADER_FIELDS[1:], *isa.INSTRUCTION_FIELDS[opcode])
    }
    word = isa.encode(opcode, fields)
    return word ^ (rng.randrange(2) << rng.randrange(isa.INSTRUCTION_WIDTH))


def test_instructions_are_told_from_patterns_that_are_none() -> None:
    rng = Random(1)
    words = [plausible_word(rng) for _ in range(3000)]
    assert 500 < sum(owner(word) is None for word in words) < 2500
    check(words)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, (1 << isa.INSTRUCTION_WIDTH) - 1), min_size=1, max_size=50))
def test_decoding_is_total(words: list[int]) -> None:
    check(words)


def test_every_opcode_and_enumerated_value_is_decoded() -> None:
    words = list(range(16))
    words += [isa.encode(Opcode.DMA, dma_fields(target, 0)) for target in range(16)]
    words += [isa.encode(Opcode.DMA, dma_fields(target, 1)) for target in range(16)]
    for runs, rows in ((0, 0), (1, 0), (0, 1)):
        fields = dma_fields(DmaTarget.WEIGHTS.value, 0) | {"runs": runs, "rows": rows}
        words.append(isa.encode(Opcode.DMA, fields))
    words += [isa.encode(Opcode.SYNC, {"engine": engine}) for engine in range(4)]
    check(words)


def dma_fields(target: int, store: int) -> dict[str, int]:
    return {"store": store, "target": target, "address": 0, "external": 0, "count": 0}

"""Entries out of a stream of words, for items of every width that an array can have."""

from random import Random

import pytest

from hw.isa import DmaTarget
from hw.memory.packing import EntryFormat, bit_items
from hw.memory.unpacker import EntryUnpacker
from tests.hw.link.peers import simulate

WIDTHS = [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 64, 72, 80, 96, 112, 144, 240]
PASSES = EntryFormat(depth=64, rows=1, words=2)
WINDOWS = EntryFormat(depth=64, rows=1, words=5)


def item(width: int) -> EntryFormat:
    return EntryFormat(depth=64, rows=4, **bit_items(width))


@pytest.mark.parametrize("width", WIDTHS)
def test_items_fill_the_fewest_words_without_gaps(width: int) -> None:
    form = item(width)
    assert form.width == width
    for count in range(20):
        assert form.words_of(count) == -(-count * width // 32)
    ends = [(number + 1) * width for number in range(form.entries)]
    assert ends[-1] == 32 * form.words
    assert all(end % 32 for end in ends[:-1])
    assert form.completed == tuple(
        sum(32 * word < end <= 32 * word + 32 for end in ends) for word in range(form.words)
    )


def unpacked(
    forms: dict[DmaTarget, EntryFormat],
    commands: list[tuple[DmaTarget, int]],
    seed: int,
    activity: float,
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Entries of each command (target, count) that were put in and that came out, and the cycles.

    ``activity`` is how often words are offered and entries taken. Cycles count from the first word.
    """
    dut = EntryUnpacker(forms)
    rng = Random(seed)
    sent = [[rng.getrandbits(forms[t].width) for _ in range(count)] for t, count in commands]
    came: list[list[int]] = []
    cycles: list[int] = []

    async def testbench(ctx):
        for (target, count), values in zip(commands, sent, strict=True):
            form = forms[target]
            bits = sum(value << number * form.width for number, value in enumerate(values))
            words = [bits >> 32 * w & 0xFFFFFFFF for w in range(form.words_of(count))]
            ctx.set(dut.target, target)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick()
            found: list[int] = []
            cycle = position = 0
            while len(found) < count:
                is_offered = position < len(words) and rng.random() < activity
                if is_offered:
                    ctx.set(dut.words.payload, words[position])
                ctx.set(dut.words.valid, is_offered)
                ctx.set(dut.entries.ready, rng.random() < activity)
                moved = is_offered and ctx.get(dut.words.ready)
                if ctx.get(dut.entries.valid) and ctx.get(dut.entries.ready):
                    found.append(ctx.get(dut.entry(target)))
                await ctx.tick()
                position += moved
                cycle += 1
            assert position == len(words)
            ctx.set(dut.words.valid, 0)
            ctx.set(dut.entries.ready, 0)
            came.append(found)
            cycles.append(cycle)

    simulate(dut, testbench, cycles_maximum=10_000)
    return sent, came, cycles


@pytest.mark.parametrize("width", WIDTHS)
def test_entries_come_as_they_lie_in_the_words(width: int) -> None:
    forms = {
        DmaTarget.WEIGHTS: item(width),
        DmaTarget.ACTIVATIONS: item(8 if width < 32 else 64),
        DmaTarget.PASSES: PASSES,
        DmaTarget.WINDOWS: WINDOWS,
    }
    rng = Random(width)
    commands = [(rng.choice(list(forms)), rng.randrange(1, 12)) for _ in range(12)]
    commands += [(DmaTarget.WEIGHTS, 2 * forms[DmaTarget.WEIGHTS].entries + 1)] * 2
    sent, came, _ = unpacked(forms, commands, seed=width, activity=0.6)
    assert came == sent


@pytest.mark.parametrize("width", WIDTHS)
def test_a_word_takes_a_cycle_or_one_for_each_entry_that_ends_in_it(width: int) -> None:
    forms = {DmaTarget.WEIGHTS: item(width), DmaTarget.PASSES: PASSES}
    count = 3 * forms[DmaTarget.WEIGHTS].entries
    _, _, (cycles,) = unpacked(forms, [(DmaTarget.WEIGHTS, count)], seed=1, activity=1.0)
    assert cycles == 1 + max(count, forms[DmaTarget.WEIGHTS].words_of(count))

"""Between 32-bit words of the external memory and entries of the on-chip memories."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil, gcd

from hw.config import AcceleratorConfig
from hw.isa import DmaTarget
from hw.payloads import threshold_group

__all__ = ["WORD", "EntryFormat", "bit_items", "entry_formats"]

WORD = 32
"""Bits of an external memory word."""


@dataclass(frozen=True, kw_only=True)
class EntryFormat:
    """How the entries of one target lie in the external memory: without gaps, low bits first.

    Each DMA instruction begins with a word of its own, so the pattern of entries and words is the
    same after every ``words`` words.
    """

    depth: int
    """Entries of the target (per row)."""
    rows: int
    """Memories that are loaded in turns, rows innermost."""
    words: int
    """Words that ``entries`` entries fill."""
    entries: int = 1
    """Fewest entries that fill whole words: a power of two."""

    @property
    def width(self) -> int:
        """Bits of an entry, with its padding."""
        return WORD * self.words // self.entries

    @property
    def step(self) -> int:
        """Fewest addresses whose entries, those of all rows, fill whole words."""
        return max(1, self.entries // self.rows)

    @cached_property
    def completed(self) -> tuple[int, ...]:
        """How many entries end in each of ``words`` words."""
        ends = [WORD * word // self.width for word in range(self.words + 1)]
        return tuple(after - before for before, after in zip(ends, ends[1:], strict=False))

    def words_of(self, count: int) -> int:
        """Words that ``count`` entries take."""
        return -(-count * self.words // self.entries)


def bit_items(width: int) -> dict[str, int]:
    """Words and entries of items of ``width`` bits."""
    common = gcd(width, WORD)
    return {"words": width // common, "entries": WORD // common}


@lru_cache(maxsize=64)
def entry_formats(config: AcceleratorConfig) -> Mapping[DmaTarget, EntryFormat]:
    """The formats of ``docs/architecture.md``, section Data formats."""
    lanes, rows, sizes = config.array.lanes, config.array.rows, config.memory
    comparators = config.datapath.comparators
    assert threshold_group(config).length == comparators
    streams = {
        DmaTarget.STREAMS: EntryFormat(
            depth=sizes.stream_vectors,
            rows=1,
            words=ceil(rows * config.datapath.stream_width / WORD),
        )
    }
    return {
        **(streams if sizes.spill_vectors else {}),
        DmaTarget.WEIGHTS: EntryFormat(depth=sizes.weight_words, rows=rows, **bit_items(lanes)),
        DmaTarget.COEFFICIENTS: EntryFormat(depth=sizes.coefficient_words, rows=rows, words=1),
        DmaTarget.PARAMETERS: EntryFormat(depth=sizes.parameter_words, rows=1, words=1),
        DmaTarget.WINDOWS: EntryFormat(
            depth=sizes.window_entries,
            rows=1,
            words=ceil(config.array.granules / 2) + ceil(lanes / WORD),
        ),
        DmaTarget.PASSES: EntryFormat(depth=sizes.pass_entries, rows=1, words=2),
        DmaTarget.THRESHOLDS: EntryFormat(
            depth=sizes.threshold_groups, rows=1, words=2 * comparators
        ),
        DmaTarget.ACTIVATIONS: EntryFormat(
            depth=sizes.activation_words, rows=1, **bit_items(config.array.word_width)
        ),
    }

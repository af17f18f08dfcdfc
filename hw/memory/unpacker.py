"""External memory words to entries of the on-chip memories."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.isa import DmaTarget
from hw.memory.packing import WORD, EntryFormat

__all__ = ["EntryUnpacker"]


class EntryUnpacker(wiring.Component):
    """Collects the words of an entry, or takes several entries out of a word.

    Words enter a shift register at the top, so the entry of a target with n words is in its
    upper n words (:meth:`entry_bits`). One word or one entry per cycle, whichever is more.

    Parameters
    ----------
    formats
        Formats by target.
    """

    def __init__(self, formats: dict[DmaTarget, EntryFormat]) -> None:
        self._formats = formats
        self._words = max(form.words for form in formats.values())
        self._shares = sorted({form.entries for form in formats.values()})
        super().__init__(
            {
                # One cycle: forget what is left of the last command.
                "start": In(1),
                # Format; stands still from `start` to the last entry.
                "target": In(DmaTarget),
                # External memory words.
                "words": In(stream.Signature(unsigned(WORD))),
                # Shift register with the entry.
                "entries": Out(stream.Signature(unsigned(WORD * self._words))),
            }
        )

    def entry_bits(self, target: DmaTarget) -> slice:
        """Where ``target`` has its entry in the shift register; its word 0 comes first."""
        return slice(WORD * (self._words - self._formats[target].words), WORD * self._words)

    def elaborate(self, platform):
        m = Module()
        words, entries = self.words, self.entries
        word_last_index = Signal(range(self._words))
        entry_last_index = Signal(range(self._shares[-1]))
        word_index = Signal(range(self._words))
        entry_index = Signal.like(entry_last_index)
        entry_last = Signal()

        with m.Switch(self.target):
            for target, form in self._formats.items():
                with m.Case(target):
                    m.d.sync += [
                        word_last_index.eq(form.words - 1),
                        entry_last_index.eq(form.entries - 1),
                    ]
        m.d.comb += [
            entry_last.eq(entry_index == entry_last_index),
            words.ready.eq(~entries.valid | (entries.ready & entry_last)),
        ]
        with m.If(entries.valid & entries.ready):
            m.d.sync += entry_index.eq(Mux(entry_last, 0, entry_index + 1))
            self._shift_entry(m, entry_last_index)
            with m.If(entry_last):
                m.d.sync += entries.valid.eq(0)
        with m.If(words.valid & words.ready):
            is_last = word_index == word_last_index
            m.d.sync += [
                entries.payload.eq(Cat(entries.payload[WORD:], words.payload)),
                entries.valid.eq(is_last),
                word_index.eq(Mux(is_last, 0, word_index + 1)),
            ]
        with m.If(self.start):
            m.d.sync += [entries.valid.eq(0), word_index.eq(0), entry_index.eq(0)]
        return m

    def _shift_entry(self, m: Module, last_index: Signal) -> None:
        """The next of several entries of the newest word moves to the bottom of that word."""
        newest = self.entries.payload[-WORD:]
        with m.Switch(last_index):
            for entries in self._shares:
                if entries > 1:
                    with m.Case(entries - 1):
                        m.d.sync += newest.eq(newest >> (WORD // entries))

"""External memory words to entries of the on-chip memories."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.isa import DmaTarget
from hw.memory.packing import WORD, EntryFormat

__all__ = ["EntryUnpacker"]


class EntryUnpacker(wiring.Component):
    """Finds the entries in a stream of words, in which they lie one behind the other.

    Words enter a shift register at the top. An entry ends in the newest word, at one of ``entries``
    places of its format, so a multiplexer of so many inputs takes it out (:meth:`entry`). One word
    or one entry per cycle, whichever is more.

    Parameters
    ----------
    formats
        Formats by target.
    """

    def __init__(self, formats: dict[DmaTarget, EntryFormat]) -> None:
        self._formats = formats
        self._words = max(
            -(-(gap + form.width) // WORD) for form in formats.values() for gap in _gaps(form)
        )
        places = max(form.entries for form in formats.values())
        super().__init__(
            {
                # One cycle: forget what is left of the last command.
                "start": In(1),
                # Format; stands still from `start` to the last entry.
                "target": In(DmaTarget),
                # External memory words.
                "words": In(stream.Signature(unsigned(WORD))),
                # Shift register with an entry.
                "entries": Out(stream.Signature(unsigned(WORD * self._words))),
                # Number of the entry, modulo the entries that fill whole words.
                "place": Out(max(1, exact_log2(places))),
            }
        )

    def entry(self, target: DmaTarget) -> Value:
        """The entry, if ``target`` is the target of the command."""
        form = self._formats[target]
        end = WORD * self._words
        found = [self.entries.payload[end - gap - form.width : end - gap] for gap in _gaps(form)]
        if len(found) == 1:
            return found[0]
        return Array(found)[self.place[: exact_log2(form.entries)]]

    def elaborate(self, platform):
        m = Module()
        words, entries = self.words, self.entries
        word_index = Signal(range(max(form.words for form in self._formats.values())))
        word_last_index = Signal.like(word_index)
        # An entry ends in the word that comes; no other one ends in the newest word.
        ends_entry = Signal()
        ends_word = Signal()

        is_last = word_index == word_last_index
        m.d.comb += [
            ends_entry.eq(is_last),
            ends_word.eq(1),
            words.ready.eq(~entries.valid | (entries.ready & ends_word)),
        ]
        with m.Switch(self.target):
            for target, form in self._formats.items():
                with m.Case(target):
                    m.d.sync += word_last_index.eq(form.words - 1)
                    if form.entries > 1:
                        place = self.place[: exact_log2(form.entries)]
                        within = [word for word, ends in enumerate(form.completed) if not ends]
                        followed = [n for n, gap in enumerate(_gaps(form)) if gap >= form.width]
                        m.d.comb += [
                            ends_entry.eq(~word_index.matches(*within)),
                            ends_word.eq(~place.matches(*followed)),
                        ]
        with m.If(entries.valid & entries.ready):
            m.d.sync += self.place.eq(self.place + 1)
            with m.If(ends_word):
                m.d.sync += entries.valid.eq(0)
        with m.If(words.valid & words.ready):
            m.d.sync += [
                entries.payload.eq(Cat(entries.payload[WORD:], words.payload)),
                entries.valid.eq(ends_entry),
                word_index.eq(Mux(is_last, 0, word_index + 1)),
            ]
        with m.If(self.start):
            m.d.sync += [entries.valid.eq(0), word_index.eq(0), self.place.eq(0)]
        return m


def _gaps(form: EntryFormat) -> list[int]:
    """Bits of the newest word above each entry."""
    return [-(number + 1) * form.width % WORD for number in range(form.entries)]

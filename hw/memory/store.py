"""Words of the activation memory to words of the external memory."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.memory.packing import WORD

__all__ = ["ActivationStore"]


class ActivationStore(wiring.Component):
    """Reads ``count`` activation words and packs them like a load of activations unpacks them.

    A word is read while the one before is sent: an activation word takes 2 cycles, or as many as it
    has external words if they are more; the first one is offered 4 cycles after ``start`` at the
    earliest. The rest of the last external word is zero.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._depth = config.memory.activation_words
        self._word_width = config.array.word_width
        super().__init__(
            {
                # One cycle: begin.
                "start": In(1),
                # First activation word and their number (at least 1), at `start`.
                "address": In(16),
                "count": In(20),
                # Reads of the activation memory; the word comes one cycle after the transfer.
                "read": Out(stream.Signature(unsigned(exact_log2(self._depth)))),
                "data": In(self._word_width),
                # External words.
                "words": Out(stream.Signature(unsigned(WORD))),
                # One cycle: the last external word has been taken.
                "done": Out(1),
                # One cycle: a word beyond the activation memory was read.
                "bad_address": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        items = max(1, WORD // self._word_width)
        parts = max(1, self._word_width // WORD)
        address = Signal(17)
        left = Signal(20)
        fetching, assembled = Signal(), Signal()
        item = Signal(range(items + 1))
        part = Signal(range(parts + 1))
        assembly, buffer = Signal(WORD * parts), Signal(WORD * parts)
        taken = Signal()

        m.d.comb += [
            # What is assembled can move on, or will have moved when the next word comes.
            self.read.valid.eq((left != 0) & ~fetching & ~(assembled & self.words.valid)),
            self.read.payload.eq(address),
            self.words.payload.eq(buffer[:WORD]),
            taken.eq(self.words.valid & self.words.ready & (part == parts - 1)),
            self.done.eq(taken & (left == 0) & ~fetching & ~assembled),
        ]
        m.d.sync += fetching.eq(0)
        with m.If(self.read.valid & self.read.ready):
            m.d.comb += self.bad_address.eq(address >= self._depth)
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), fetching.eq(1)]
        with m.If(self.words.valid & self.words.ready):
            m.d.sync += [buffer.eq(buffer >> WORD), part.eq(part + 1)]
        with m.If(taken):
            m.d.sync += [self.words.valid.eq(0), part.eq(0)]
        with m.If(assembled & (~self.words.valid | taken)):
            m.d.sync += [
                buffer.eq(assembly),
                self.words.valid.eq(1),
                assembled.eq(0),
                assembly.eq(0),
                item.eq(0),
            ]
        with m.If(fetching):
            m.d.sync += [
                assembly.word_select(item, self._word_width).eq(self.data),
                item.eq(item + 1),
                assembled.eq((item == items - 1) | (left == 0)),
            ]
        with m.If(self.start):
            m.d.sync += [address.eq(self.address), left.eq(self.count)]
        return m

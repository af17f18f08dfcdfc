"""Spilled stream vectors to words of the external memory."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.memory.packing import WORD

__all__ = ["VectorStore"]


class VectorStore(wiring.Component):
    """Reads ``count`` spilled vectors and sends each as words, lowest bits first.

    The first word is offered 3 cycles after ``start``; from then on one word per cycle, across
    vectors as well. The rest of a vector's last word is zero.

    Parameters
    ----------
    config
        Sizes; with ``spill_vectors``.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._depth = config.memory.spill_vectors
        self._width = config.array.rows * config.datapath.stream_width
        super().__init__(
            {
                # One cycle: begin.
                "start": In(1),
                # First vector and their number (at least 1), at `start`.
                "address": In(16),
                "count": In(20),
                # Vector that is read; it comes one cycle later.
                "read": Out(range(self._depth)),
                "data": In(self._width),
                # External words.
                "words": Out(stream.Signature(unsigned(WORD))),
                # One cycle: the last word has been taken.
                "done": Out(1),
                # One cycle: a vector beyond the spilled ones was read.
                "bad_address": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        parts = -(-self._width // WORD)
        address = Signal(17)
        left = Signal(20)
        part = Signal(range(parts))
        advance = Signal()
        vector = Signal(parts * WORD)

        m.d.comb += [
            vector.eq(self.data),
            self.words.payload.eq(vector.word_select(part, WORD)),
            # The next vector is read while the last word of this one is taken.
            self.read.eq(Mux(advance, address + 1, address)[: ceil_log2(self._depth)]),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [address.eq(self.address), left.eq(self.count), part.eq(0)]
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.words.valid.eq(1)
                with m.If(self.words.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == parts - 1):
                        m.d.comb += [
                            advance.eq(1),
                            self.bad_address.eq(address >= self._depth),
                        ]
                        m.d.sync += [
                            part.eq(0),
                            address.eq(address + 1),
                            left.eq(left - 1),
                        ]
                        with m.If(left == 1):
                            m.d.comb += self.done.eq(1)
                            m.next = "IDLE"
        return m

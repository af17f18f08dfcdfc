"""Queue of accumulator vectors between the array and the post engine."""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register

__all__ = ["VectorQueue"]


class VectorQueue(wiring.Component):
    """First-in first-out queue whose writer knows that there is room.

    A wide and shallow queue: distributed RAM, and a register in front of the output. An item is
    offered ``latency`` cycles after its write at the earliest; throughput is one per cycle.

    Parameters
    ----------
    shape
        Shape of an item.
    depth
        Items that can wait besides the one at the output; a power of two.
    """

    #: Cycles from a write into the empty queue to its offer.
    latency = 2

    def __init__(self, shape: ShapeLike, *, depth: int) -> None:
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "write": In(1),  # take `data`; there must be room
                "data": In(shape),
                "popped": Out(1),  # one of the `depth` places became free
                "empty": Out(1),  # nothing waits and nothing is offered
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self._shape, depth=self._depth, init=[]
        )
        write, read = storage.write_port(), storage.read_port(domain="comb")
        level = Signal(range(self._depth + 1))
        waiting = Signal()
        offered = data_register(m, self.o.payload, name="offered")

        m.d.comb += [
            write.en.eq(self.write),
            write.data.eq(self.data),
            waiting.eq(level != 0),
            self.popped.eq(waiting & (~self.o.valid | self.o.ready)),
            self.empty.eq(~waiting & ~self.o.valid),
        ]
        m.d.sync += level.eq(level + self.write - self.popped)
        with m.If(self.write):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(self.popped):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(waiting), offered.eq(read.data)]
        return m

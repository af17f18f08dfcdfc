"""Threshold memory, read in a circle: the groups of a tensor, over and over."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..delay import data_register
from ..payloads import TableWriteSignature

__all__ = ["ThresholdReader"]


class ThresholdReader(wiring.Component):
    """Offers the groups ``base`` to ``base + groups - 1`` in turn, a new one in every cycle.

    The groups that follow wait in the block RAM's output and its address: all move when
    ``advance`` is set, so the next group is there without latency. The first group is there
    ``ThresholdReader.START_CYCLES`` cycles after ``start``. Addresses wrap. A group that is written
    while it is read is undefined.

    Parameters
    ----------
    depth
        Groups of the memory.
    shape
        Layout of a group.

    Members
    -------
    write : In(TableWriteSignature(depth=depth, width=...))
        Port that loads the memory. A command's groups must be written before ``start``.
    start : In(1)
        A command begins.
    base : In(range(depth))
        First group; stable during a command, like ``groups``.
    groups : In(range(1, depth + 1))
        Number of groups.
    advance : In(1)
        Go on to the next group.
    group : Out(shape)
        The current group. A register.
    """

    START_CYCLES = 4

    def __init__(self, *, depth: int, shape: data.Layout) -> None:
        self.depth = depth
        self.shape = shape
        super().__init__(
            {
                "write": In(TableWriteSignature(depth=depth, width=shape.size)),
                "start": In(1),
                "base": In(range(depth)),
                "groups": In(range(depth + 1)),
                "advance": In(1),
                "group": Out(shape),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.shape.size, depth=self.depth, init=[], attrs={"no_rw_check": 1}
        )
        write = store.write_port()
        read = store.read_port()
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
        ]

        filling = Signal(range(self.START_CYCLES))
        move = Signal()
        group = data_register(m, self.group, name="group")
        index = Signal(ceil_log2(self.depth))
        last = index == (self.groups - 1)[: len(index)]
        m.d.comb += [
            move.eq(self.advance | (filling != 0)),
            read.en.eq(move),
        ]
        with m.If(self.start):
            m.d.sync += [filling.eq(2), index.eq(0), read.addr.eq(self.base)]
        with m.Elif(move):
            m.d.sync += [
                filling.eq(Mux(filling == 0, 0, filling - 1)),
                index.eq(Mux(last, 0, index + 1)),
                read.addr.eq(Mux(last, self.base, read.addr + 1)),
                group.as_value().eq(read.data),
            ]
        return m

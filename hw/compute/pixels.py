"""Pixel counters: where the input window of each output pixel starts."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa import INSTRUCTION_FIELDS, Opcode

__all__ = ["PixelCounters", "pixel_order"]

LOOPS = ("inner_x", "inner_y", "outer_x", "outer_y")


def pixel_order() -> data.StructLayout:
    """Counts and strides of the pixel order, as in the COMPUTE instruction."""
    widths = {field.name: field.width for field in INSTRUCTION_FIELDS[Opcode.COMPUTE]}
    members = {name: widths[name] for name in LOOPS[:-1]}
    members |= {f"stride_{name}": widths[f"stride_{name}"] for name in LOOPS}
    return data.StructLayout(members)


class PixelCounters(wiring.Component):
    """Base addresses of the pixels of a strip, one per cycle, in the order of four nested loops.

    ``start`` begins a strip: ``base`` belongs to its pixel c, ``latency + c`` cycles later, for
    all ``columns`` pixels. The next strip goes on from there, or from pixel 0 with base 0 and a
    new ``order`` if ``restart`` comes with its ``start``. Strips must be at least ``columns``
    cycles apart. Counts of zero are not allowed.

    Each loop keeps the base at which its current turn began: a pixel adds a stride to that of the
    innermost loop that goes on, and the loops inside it restart from there.

    Parameters
    ----------
    depth
        Granules of a column buffer half; bases wrap there.
    columns
        Pixels of a strip.
    """

    #: Cycles from `start` to the base of the strip's first pixel.
    latency = 1

    def __init__(self, *, depth: int, columns: int) -> None:
        self._columns = columns
        super().__init__(
            {
                "start": In(1),  # a strip begins
                "restart": In(1),  # with `start`: it is the first one of a tile
                "order": In(pixel_order()),  # with `restart`
                "base": Out(range(depth)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self._columns + 1))
        with m.If(self.start):
            m.d.sync += left.eq(self._columns)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)

        order = Signal(pixel_order())
        level = self._count(m, left != 0, order)
        bases = [Signal.like(self.base, name=f"base_{name}") for name in LOOPS]
        strides = [order[f"stride_{name}"] for name in LOOPS]
        base = Signal.like(self.base)
        m.d.comb += [
            base.eq(Array(bases)[level] + Array(strides)[level]),
            self.base.eq(bases[0]),
        ]
        with m.If(left != 0):
            for index, register in enumerate(bases):
                with m.If(level >= index):
                    m.d.sync += register.eq(base)
        with m.If(self.restart):
            m.d.sync += order.eq(self.order)
            m.d.sync += [register.eq(0) for register in bases]
        return m

    def _count(self, m: Module, step: Value, order: data.View) -> Signal:
        """Counters of the inner loops; returns the number of the loop that goes on next."""
        level = Signal(range(len(LOOPS)))
        ends = [Signal(name=f"end_{name}") for name in LOOPS[:-1]]
        m.d.comb += level.eq(Mux(~ends[0], 0, Mux(~ends[1], 1, Mux(~ends[2], 2, 3))))
        for index, (name, end) in enumerate(zip(LOOPS, ends, strict=False)):
            left = Signal.like(order[name], name=f"left_{name}")
            with m.If(step & (level == index)):
                m.d.sync += [left.eq(left - 1), end.eq(left == 2)]
            with m.If(step & (level > index)):
                m.d.sync += [left.eq(order[name]), end.eq(order[name] == 1)]
            with m.If(self.restart):
                m.d.sync += [left.eq(self.order[name]), end.eq(self.order[name] == 1)]
        return level

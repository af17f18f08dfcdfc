"""Nested counters: the order of vectors, and the strided addresses that follow it."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .position import Position

__all__ = ["LoopCounter", "NestedCounter", "StridedAddress"]


class LoopCounter(wiring.Component):
    """Counts the iterations of one loop; knows the last one from a register.

    Parameters
    ----------
    width
        Bits of the iteration count.

    Members
    -------
    limit : In(width)
        Iterations, at least 1; stable except in the cycles before ``restart``.
    restart : In(1)
        Start with the first iteration in the next cycle.
    step : In(1)
        Go on to the next iteration; ignored in a cycle with ``restart``.
    last : Out(1)
        The current iteration is the last one. A register.
    """

    def __init__(self, width: int) -> None:
        super().__init__({"limit": In(width), "restart": In(1), "step": In(1), "last": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        remaining = Signal.like(self.limit)
        with m.If(self.restart):
            m.d.sync += [remaining.eq(self.limit), self.last.eq(self.limit == 1)]
        with m.Elif(self.step):
            m.d.sync += [remaining.eq(remaining - 1), self.last.eq(remaining == 2)]
        return m


class NestedCounter(wiring.Component):
    """Walks tiles, and in each tile ``vectors`` vectors in windows, rows and an open-ended loop.

    The loops are, innermost first: ``inner_x``, ``inner_y`` (a window), ``outer_x`` (a row of
    windows), rows until ``vectors`` have passed, tiles. The end of a tile ends its row and window
    even when these are not complete. All counts are at least 1. ``position`` is made of registers
    and one level of logic, and holds the first vector from the cycle after ``start``.
    """

    #: Load all counts: the next cycle's position is that of the first vector.
    start: In(1)
    #: Go on to the next vector.
    step: In(1)
    #: Counts, stable from ``start`` to the last step.
    inner_x: In(4)
    inner_y: In(4)
    outer_x: In(10)
    vectors: In(16)
    tiles: In(8)
    #: Position of the current vector.
    position: Out(Position)
    #: One bit per loop (inner_x, inner_y, outer_x, rows, tiles): the one that steps next.
    steps: Out(5)

    def elaborate(self, platform) -> Module:
        m = Module()
        limits = (self.inner_x, self.inner_y, self.outer_x, self.vectors, self.tiles)
        m.submodules.inner_x = inner_x = LoopCounter(len(self.inner_x))
        m.submodules.inner_y = inner_y = LoopCounter(len(self.inner_y))
        m.submodules.outer_x = outer_x = LoopCounter(len(self.outer_x))
        m.submodules.vectors = vectors = LoopCounter(len(self.vectors))
        m.submodules.tiles = tiles = LoopCounter(len(self.tiles))
        for limit, counter in zip(limits, (inner_x, inner_y, outer_x, vectors, tiles), strict=True):
            m.d.comb += counter.limit.eq(limit)

        position = self.position
        line_last = inner_x.last | vectors.last
        m.d.comb += [
            position.window_last.eq(inner_x.last & inner_y.last | vectors.last),
            position.row_last.eq(inner_x.last & inner_y.last & outer_x.last | vectors.last),
            position.tile_last.eq(vectors.last),
            position.last.eq(vectors.last & tiles.last),
            self.steps[0].eq(~line_last),
            self.steps[1].eq(line_last & ~position.window_last),
            self.steps[2:].eq(position.outer_steps()),
        ]
        for counter, ends in (
            (inner_x, line_last),
            (inner_y, position.window_last),
            (outer_x, position.row_last),
            (vectors, position.tile_last),
            (tiles, 0),
        ):
            m.d.comb += counter.restart.eq(self.start | self.step & ends)
        m.d.comb += [
            inner_x.step.eq(self.step),
            inner_y.step.eq(self.step & line_last),
            outer_x.step.eq(self.step & position.window_last),
            vectors.step.eq(self.step),
            tiles.step.eq(self.step & position.tile_last),
        ]
        with m.If(self.start | self.step):
            m.d.sync += [
                position.tile_first.eq(self.start | position.tile_last),
                position.window_first.eq(self.start | position.window_last),
            ]
        return m


class StridedAddress(wiring.Component):
    """Address of nested loops: ``base`` + sum over the loops of iteration * stride.

    Keeps the address at which each loop began its current iteration, so a step is one addition:
    the loop that steps adds its stride to its own start, and all loops inside begin there.
    Addresses wrap at ``width`` bits. One step per cycle; ``address`` is a register.

    Parameters
    ----------
    width
        Bits of the address; strides are taken modulo ``2 ** width``.
    loops
        Number of loops, innermost first.

    Members
    -------
    start : In(1)
        Load ``base``: the next cycle's ``address``. Not together with a step.
    base : In(width)
        Address of the first iteration of all loops.
    steps : In(loops)
        At most one bit set: the loop that steps, all loops inside it start anew.
    strides : In(ArrayLayout(width, loops))
        Stable from ``start`` to the last step.
    address : Out(width)
        Address of the current iteration.
    """

    def __init__(self, *, width: int, loops: int) -> None:
        self.loops = loops
        super().__init__(
            {
                "start": In(1),
                "base": In(width),
                "steps": In(loops),
                "strides": In(data.ArrayLayout(width, loops)),
                "address": Out(width),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        starts = [self.address] + [
            Signal.like(self.address, name=f"start_{loop}") for loop in range(1, self.loops)
        ]
        # Without a step the sum is the base: so `start` selects nothing, it only enables.
        start, stride = Signal.like(self.address), Signal.like(self.address)
        m.d.comb += start.eq(self.base)
        for loop in range(self.loops):
            with m.If(self.steps[loop]):
                m.d.comb += [start.eq(starts[loop]), stride.eq(self.strides[loop])]
        target = Signal.like(self.address)
        m.d.comb += target.eq(start + stride)
        for loop in range(self.loops):
            with m.If(self.start | Cat(self.steps[loop:]).any()):
                m.d.sync += starts[loop].eq(target)
        return m

"""Walks a rectangle with a margin, one position per cycle."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RectangleShape", "RectangleStep", "RectangleWalker"]

COUNT_WIDTH = 13
"""Widest row or column: margins and interior together."""


class RectangleShape(data.Struct):
    """What is walked: interior positions with addresses, and a margin without."""

    source: 16
    stride: 16
    item: 3
    top: 8
    rows: 12
    bottom: 8
    left: 10
    words: 12
    right: 10


class RectangleStep(data.Struct):
    """One position."""

    #: 1: the position has the address, 0: it lies in the margin.
    interior: 1
    #: Source word.
    address: 17
    #: First position of a row.
    row_first: 1
    #: Last position of all.
    last: 1


class Counters(data.Struct):
    """Position in the rectangle, with the tests that are known one step ahead."""

    x: COUNT_WIDTH
    y: COUNT_WIDTH
    x_left: signed(COUNT_WIDTH + 1)
    y_left: signed(COUNT_WIDTH + 1)


class RectangleWalker(wiring.Component):
    """Rectangle to steps, row by row, margins included.

    After ``start`` the steps come at one per cycle without gaps, also between rows, and stop
    while ``steps.ready`` is 0. The first comes 5 cycles after ``start``. The shape must stand
    still from ``start`` to the last step. A rectangle without positions gives no step but one
    pulse of ``empty``, 2 cycles after ``start``.

    Interior addresses are ``source + stride * row + item * column``, 17 bits wide so that the
    reader sees when they leave the memory.

    Counters count up for the comparison with the margins (one pipeline stage later) and down for
    the end of a row and of the rectangle, which then is a sign bit.
    """

    #: One cycle: begin.
    start: In(1)
    #: What to walk; ``item`` is the distance of addresses along a row.
    shape: In(RectangleShape)
    #: The positions.
    steps: Out(stream.Signature(RectangleStep))
    #: One cycle: there are no positions.
    empty: Out(1)

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        right_edge = Signal(COUNT_WIDTH)
        bottom_edge = Signal(COUNT_WIDTH)
        width_left = Signal(signed(COUNT_WIDTH + 1))
        height_left = Signal(signed(COUNT_WIDTH + 1))
        counters = Signal(Counters)
        walking = Signal()
        advance = Signal()

        m.d.comb += advance.eq(~self.steps.valid | self.steps.ready)
        m.d.sync += [
            right_edge.eq(shape.left + shape.words),
            bottom_edge.eq(shape.top + shape.rows),
            width_left.eq(right_edge + shape.right - 2),
            height_left.eq(bottom_edge + shape.bottom - 2),
        ]
        # The sizes settle for two cycles after the start. What is left of a row or of the rows
        # runs from size - 2 to -1; an empty size would start at -2.
        settle = Signal(2)
        is_empty = (width_left == -2) | (height_left == -2)
        m.d.sync += settle.eq((settle << 1) | self.start)
        m.d.comb += self.empty.eq(settle[1] & is_empty)
        with m.If(settle[1] & ~is_empty):
            m.d.sync += [
                walking.eq(1),
                counters.x.eq(0),
                counters.y.eq(0),
                counters.x_left.eq(width_left),
                counters.y_left.eq(height_left),
            ]
        with m.Elif(walking & advance):
            with m.If(counters.x_left < 0):
                m.d.sync += [
                    counters.x.eq(0),
                    counters.x_left.eq(width_left),
                    counters.y.eq(counters.y + 1),
                    counters.y_left.eq(counters.y_left - 1),
                    walking.eq(~(counters.y_left < 0)),
                ]
            with m.Else():
                m.d.sync += [
                    counters.x.eq(counters.x + 1),
                    counters.x_left.eq(counters.x_left - 1),
                ]
        self._emit(m, counters, walking, advance, right_edge, bottom_edge)
        return m

    def _emit(
        self,
        m: Module,
        counters: Signal,
        walking: Signal,
        advance: Signal,
        right_edge: Signal,
        bottom_edge: Signal,
    ) -> None:
        """Two stages: comparison with the margins, then the address."""
        shape = self.shape
        compared = Signal(
            data.StructLayout(
                {
                    "valid": 1,
                    "inside_x": 1,
                    "inside_y": 1,
                    "interior_first": 1,
                    "row_first": 1,
                    "last": 1,
                }
            )
        )
        row_address = Signal(17)
        address = Signal(17)
        step = self.steps.payload
        with m.If(self.start):
            m.d.sync += row_address.eq(shape.source)
        with m.If(advance):
            m.d.sync += [
                compared.valid.eq(walking),
                compared.inside_x.eq((counters.x >= shape.left) & (counters.x < right_edge)),
                compared.inside_y.eq((counters.y >= shape.top) & (counters.y < bottom_edge)),
                compared.interior_first.eq(counters.x == shape.left),
                compared.row_first.eq(counters.x == 0),
                compared.last.eq((counters.x_left < 0) & (counters.y_left < 0)),
                self.steps.valid.eq(compared.valid),
                step.interior.eq(compared.inside_x & compared.inside_y),
                step.row_first.eq(compared.row_first),
                step.last.eq(compared.last),
            ]
            with m.If(compared.valid & compared.inside_x & compared.inside_y):
                m.d.sync += address.eq(address + shape.item)
                with m.If(compared.interior_first):
                    m.d.sync += [
                        address.eq(row_address),
                        row_address.eq(row_address + shape.stride),
                    ]
        m.d.comb += step.address.eq(address)

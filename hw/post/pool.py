"""Pooling: the largest, smallest or summed value of each window."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register
from ..isa import PoolOperation
from .position import positioned_stream

__all__ = ["Pool"]


class Pool(wiring.Component):
    """Reduces the vectors of a window to one; windows run across strips of the array.

    Latency ``Pool.LATENCY`` from the last vector of a window, one vector per cycle.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of a value; sums are modulo ``2 ** width``.

    Members
    -------
    i : In(positioned_stream(width, rows))
        Vectors.
    operation : In(PoolOperation)
        NONE passes every vector. Stable during a command.
    minimum : In(rows)
        Rows that take the minimum instead of the maximum; copied with the first vector of a tile.
    o : Out(positioned_stream(width, rows))
        One vector per window, with the position of the window's last vector.
    """

    LATENCY = 1

    def __init__(self, *, rows: int, width: int) -> None:
        self.rows = rows
        super().__init__(
            {
                "i": In(positioned_stream(width, rows)),
                "operation": In(PoolOperation),
                "minimum": In(rows),
                "o": Out(positioned_stream(width, rows)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        position = self.i.payload.position
        pooled, summed = Signal(), Signal()
        m.d.comb += [
            pooled.eq(self.operation != PoolOperation.NONE),
            summed.eq(self.operation == PoolOperation.SUM),
        ]
        # The first vector of a tile begins a window, so it needs no comparison yet.
        minimum = Signal.like(self.minimum, reset_less=True)
        results = data_register(m, self.o.payload, name="results")
        with m.If(self.i.valid & position.tile_first):
            m.d.sync += minimum.eq(self.minimum)

        fresh, taken = Signal(), Signal()
        m.d.comb += [
            fresh.eq(position.window_first | ~pooled),
            taken.eq(self.i.valid & (fresh | summed)),
        ]
        for row in range(self.rows):
            value, best = self.i.payload.values[row], results.values[row]
            better = (value < best) ^ ~minimum[row]
            with m.If(taken | self.i.valid & better):
                m.d.sync += best.eq(Mux(summed & ~fresh, best + value, value))
        m.d.sync += [
            self.o.valid.eq(self.i.valid & (position.window_last | ~pooled)),
            results.position.eq(position),
        ]
        return m

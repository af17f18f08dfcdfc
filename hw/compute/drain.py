"""The drain: counts become signed dot products, are weighted, and summed over the passes."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import AcceleratorConfig
from ..delay import data_register, delayed, hops
from ..payloads import accumulator_vector

__all__ = ["Drain", "DrainLane"]


class DrainLane(wiring.Component):
    """Multiplier and accumulators of one row in ``columns`` consecutive columns.

    Takes the count P and the count of ones A of one column per cycle, in column order; forms
    ``(2P - A) * coefficient`` and adds it to the accumulator of the column. The accumulators are
    a ring of registers that turns by one column per active cycle, so that they need neither
    addresses nor multiplexers. In the final pass the sum leaves by ``total`` and the accumulator
    restarts from zero.

    Parameters
    ----------
    columns
        Columns that share the lane.
    count_width, coefficient_width, accumulator_width
        Widths of P and A, of the coefficient (signed) and of the accumulators (signed, they wrap).
    """

    #: Cycles from the counts to `total`.
    latency = 4
    #: Cycles from the counts to their `coefficient`.
    coefficient_delay = 2
    #: Cycles from the counts to their `active` and `final`.
    control_delay = 2

    def __init__(
        self,
        columns: int,
        *,
        count_width: int,
        coefficient_width: int,
        accumulator_width: int,
    ) -> None:
        self._columns = columns
        self._count_width = count_width
        self._accumulator_width = accumulator_width
        super().__init__(
            {
                "counts": In(count_width).array(columns),  # P; zero but in the column's cycle
                "ones": In(count_width),  # A, one cycle after its P
                "coefficient": In(signed(coefficient_width)),  # `coefficient_delay` after P
                # P was that of a finished pass. Both 1 for `columns` cycles clear the lane.
                "active": In(1),
                "final": In(1),  # with `active`: it was the last pass of the strip
                "total": Out(signed(accumulator_width)),  # in the final pass, otherwise zero
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = Signal(self._count_width, reset_less=True)
        difference = Signal(signed(self._count_width + 1), reset_less=True)
        product = Signal(signed(len(difference) + len(self.coefficient)), reset_less=True)
        ring = [
            Signal(signed(self._accumulator_width), name=f"accumulator_{i}", reset_less=True)
            for i in range(self._columns)
        ]
        total = Signal(signed(self._accumulator_width))
        leaving = data_register(m, self.total, name="leaving")

        m.d.comb += total.eq(ring[-1] + product)
        m.d.sync += [
            count.eq(reduce(or_, self.counts)),
            difference.eq((count << 1) - self.ones),
            product.eq(difference * self.coefficient),
            leaving.eq(0),
        ]
        # Registers of the lane's own: each enables the flip-flops of one ring.
        active = delayed(m, self.active, name="active")
        final = delayed(m, self.final, name="final")
        with m.If(active):
            m.d.sync += [new.eq(old) for new, old in zip(ring[1:], ring, strict=False)]
            m.d.sync += ring[0].eq(total)
            with m.If(final):
                m.d.sync += [ring[0].eq(0), leaving.eq(total)]
        return m


class Drain(wiring.Component):
    """``drain_lanes`` lanes per row; a lane serves ``drain_period`` consecutive columns.

    The wave of a pass reaches one column per cycle, so a lane needs no column select: the counts
    of its columns are zero but for the cycle of each, and are combined by OR. Passes must be at
    least ``drain_period`` cycles apart. Coefficients hop from lane to lane with the wave. The
    accumulators of a strip leave as one vector per cycle, in column order: the final passes of
    two strips must be at least ``columns`` cycles apart.

    The vector of column c is in ``vector`` ``latency + c`` cycles after the counts of column 0;
    in cycles without a vector it is zero.

    The accumulators have no reset: ``last`` and ``final`` must be 1 in a few cycles after one.

    Parameters
    ----------
    config
        Uses the sizes of the array and the widths of the datapath.
    """

    #: Cycles from the counts of a column to its `vector`.
    latency = DrainLane.latency + 1
    #: Cycles from the counts of column 0 to `coefficients`.
    coefficient_delay = DrainLane.coefficient_delay

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        array, datapath = config.array, config.datapath
        counts = data.ArrayLayout(data.ArrayLayout(array.count_width, array.rows), array.columns)
        coefficients = data.ArrayLayout(datapath.coefficient_width, array.rows)
        super().__init__(
            {
                "counts": In(counts),  # column c: c cycles later; zero otherwise
                "ones": In(data.ArrayLayout(array.count_width, array.columns)),  # likewise
                "last": In(1),  # with the counts of column 0
                "final": In(1),  # with `last`: last pass of the strip
                "coefficients": In(coefficients),  # `coefficient_delay` later, drain_period cycles
                "vector": Out(accumulator_vector(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        array = self._config.array
        period = array.drain_period
        # Control of a column, when its counts are registered by the lane.
        last = delayed(m, self.last, name="last")
        final = delayed(m, self.final, name="final")
        lasts = hops(m, last, array.columns, name="last")
        finals = hops(m, final, array.columns, name="final")
        coefficients = self.coefficients
        vectors = []
        for index in range(array.drain_lanes):
            columns = range(index * period, (index + 1) * period)
            if index:
                coefficients = self._hop_coefficients(m, coefficients, lasts[columns[0]], index)
            active = Signal(name=f"active_{index}")
            final = Signal(name=f"final_{index}")
            ones = Signal(array.count_width, name=f"ones_{index}", reset_less=True)
            m.d.sync += [
                active.eq(reduce(or_, (lasts[c] for c in columns))),
                final.eq(reduce(or_, (finals[c] for c in columns))),
                ones.eq(reduce(or_, (self.ones[c] for c in columns))),
            ]
            vectors.append(self._lanes(m, index, columns, ones, coefficients, (active, final)))
        combined = data_register(m, self.vector, name="combined")
        for row in range(array.rows):
            m.d.sync += combined[row].eq(reduce(or_, (vector[row] for vector in vectors)))
        return m

    @staticmethod
    def _hop_coefficients(
        m: Module, coefficients: data.View, enable: Signal, index: int
    ) -> data.View:
        """Coefficients of the next lane: taken over in the last cycle of the lane before."""
        taken = Signal(coefficients.shape(), name=f"coefficients_{index}", reset_less=True)
        with m.If(enable):
            m.d.sync += taken.eq(coefficients)
        return taken

    def _lanes(
        self,
        m: Module,
        index: int,
        columns: range,
        ones: Signal,
        coefficients: data.View,
        control: tuple[Signal, Signal],
    ) -> list[Signal]:
        """The lanes of all rows for ``columns``; returns their totals."""
        array, datapath = self._config.array, self._config.datapath
        totals = []
        for row in range(array.rows):
            lane = DrainLane(
                len(columns),
                count_width=array.count_width,
                coefficient_width=datapath.coefficient_width,
                accumulator_width=datapath.accumulator_width,
            )
            m.submodules[f"lane_{index}_{row}"] = lane
            m.d.comb += [
                lane.ones.eq(ones),
                lane.coefficient.eq(coefficients[row].as_signed()),
                lane.active.eq(control[0]),
                lane.final.eq(control[1]),
            ]
            m.d.comb += [
                port.eq(self.counts[column][row])
                for port, column in zip(lane.counts, columns, strict=True)
            ]
            totals.append(lane.total)
        return totals

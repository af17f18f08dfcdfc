"""One binary dot product of the array: a weight row against an activation column."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register
from .popcount import Popcount

__all__ = ["ACCUMULATOR_LATENCY", "ProcessingElement"]

ACCUMULATOR_LATENCY = 1
"""Cycles from the count of a word to the finished count of its pass."""


class ProcessingElement(wiring.Component):
    """Accumulates ``popcount(weights & activations)`` over the words of a pass.

    One word per cycle without gaps between passes; in cycles without a word the activations must be
    zero, so that only ``last`` controls the registers. It belongs to the word whose operands came
    ``count_latency`` cycles before, so that one bit serves a whole column.

    ``held`` carries the count of a pass in the cycle after its ``last`` and is zero in all other
    cycles: counts of elements that finish at different times are combined by OR. This and the
    cleared accumulator are synchronous resets, so one carry chain is all that an element needs
    besides its popcount. Nothing here has a reset: after one, ``last`` must be 1 for a cycle.

    The counter of the ones of an activation column is the same element with the mask as weights.

    Parameters
    ----------
    lanes
        Width of the operands.
    count_width
        Width of the count of a pass.
    """

    def __init__(self, lanes: int, count_width: int) -> None:
        self._popcount = Popcount(lanes)
        self._count_width = count_width
        super().__init__(
            {
                "weights": In(lanes),  # plane bits of the row
                "activations": In(lanes),  # plane bits of the column; 0 without a word
                "last": In(1),  # the word in the popcount's output is the last of a pass
                "held": Out(count_width),  # count of the pass, for one cycle
            }
        )

    @property
    def count_latency(self) -> int:
        """Cycles from the operands of a word to its ``last``."""
        return self._popcount.latency

    @property
    def latency(self) -> int:
        """Cycles from the operands of the last word to ``held``."""
        return self.count_latency + ACCUMULATOR_LATENCY

    def elaborate(self, platform):
        m = Module()
        m.submodules.popcount = popcount = self._popcount
        accumulator = Signal(self._count_width, reset_less=True)
        held = data_register(m, self.held, name="held")
        total = Signal(self._count_width)

        m.d.comb += [
            popcount.weights.eq(self.weights),
            popcount.activations.eq(self.activations),
            total.eq(accumulator + popcount.count),
        ]
        m.d.sync += [accumulator.eq(total), held.eq(0)]
        with m.If(self.last):
            m.d.sync += [accumulator.eq(0), held.eq(total)]
        return m

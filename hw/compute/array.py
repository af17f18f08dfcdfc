"""The processing-element array: rows are output channels, columns are output pixels."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ArrayConfig
from ..delay import hops
from .processing_element import ProcessingElement

__all__ = ["ProcessingArray"]


class ProcessingArray(wiring.Component):
    """``rows`` x ``columns`` elements and one counter of ones per column.

    Weights, mask and control enter at column 0 and hop to the next column in every cycle; so
    column c handles a word c cycles after column 0, and its activations must come then. All
    rows work at the same time: there is one dimension of skew only. ``last`` must be 1 for a
    cycle after a reset, which clears the elements.

    The counts of a pass appear in ``counts`` and ``ones`` of column c for one cycle,
    ``latency + c`` cycles after the weights of its last word; they are zero otherwise.

    Parameters
    ----------
    config
        Sizes of the array.
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self._elements = [
            [ProcessingElement(config.lanes, config.count_width) for _ in range(config.rows + 1)]
            for _ in range(config.columns)
        ]
        rows, columns, lanes = config.rows, config.columns, config.lanes
        counts = data.ArrayLayout(data.ArrayLayout(config.count_width, rows), columns)
        super().__init__(
            {
                "weights": In(data.ArrayLayout(lanes, rows)),  # at column 0
                "mask": In(lanes),  # at column 0; lanes whose ones are counted
                # column c: c cycles later; zero in cycles without a word
                "activations": In(data.ArrayLayout(lanes, columns)),
                # `count_latency` cycles after the weights of the last word of a pass
                "last": In(1),
                "counts": Out(counts),  # P of each column and row
                "ones": Out(data.ArrayLayout(config.count_width, columns)),  # A of each column
            }
        )

    @property
    def count_latency(self) -> int:
        """Cycles from the weights of a word to its ``last``."""
        return self._elements[0][0].count_latency

    @property
    def latency(self) -> int:
        """Cycles from the weights of the last word of a pass to the counts of column 0."""
        return self._elements[0][0].latency

    def elaborate(self, platform):
        m = Module()
        config = self._config
        weights = [
            hops(m, self.weights[row], config.columns, name=f"weights_{row}", reset_less=True)
            for row in range(config.rows)
        ]
        weights.append(hops(m, self.mask, config.columns, name="mask", reset_less=True))
        last = hops(m, self.last, config.columns, name="last")

        for column, elements in enumerate(self._elements):
            for row, element in enumerate(elements):
                m.submodules[f"element_{column}_{row}"] = element
                target = self.ones[column] if row == config.rows else self.counts[column][row]
                m.d.comb += [
                    element.weights.eq(weights[row][column]),
                    element.activations.eq(self.activations[column]),
                    element.last.eq(last[column]),
                    target.eq(element.held),
                ]
        return m

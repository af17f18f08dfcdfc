"""Dot-product step of one processing element: how many lanes have both bits set."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

__all__ = ["Popcount"]


def _compress(bits: list[Value]) -> tuple[Value, Value]:
    """Half or full adder on 2 or 3 bits of equal weight: their sum and their carry."""
    if len(bits) == 2:
        a, b = bits
        return a ^ b, a & b
    a, b, c = bits
    return a ^ b ^ c, (a & b) | (c & (a | b))


def _carry_save_tree(m: Module, bits: list[Value]) -> Value:
    """Number of ones in ``bits``, from 3:2 compressors until one bit of each weight is left.

    Each weight is worked off as a queue: a sum goes to its end, so that the tree stays balanced.
    """
    count: list[Value] = []
    while bits:
        carries: list[Value] = []
        while len(bits) > 1:
            operands, bits = bits[:3], bits[3:]
            total, carry = Signal(), Signal()
            m.d.comb += Cat(total, carry).eq(Cat(*_compress(operands)))
            bits.append(total)
            carries.append(carry)
        count += bits
        bits = carries
    return Cat(*count)


class Popcount(wiring.Component):
    """``count = popcount(weights & activations)``, pipelined, one result per cycle.

    Groups of ``group`` lanes are counted by one carry-save tree each and registered; a tree of
    registered adders sums the groups. The result has no reset: it is what the inputs were
    ``latency`` cycles ago.

    Parameters
    ----------
    lanes
        Width of the operands.
    group
        Lanes between two registers. Smaller is faster and costs flip-flops
        (``docs/decisions/0001-array.md``).
    """

    def __init__(self, lanes: int, *, group: int = 16) -> None:
        self._lanes = lanes
        self._group = min(group, lanes)
        super().__init__(
            {
                "weights": In(lanes),  # plane bits, 1 for +1 and 0 for -1
                "activations": In(lanes),  # plane bits, 0 or 1
                "count": Out(range(lanes + 1)),  # `latency` cycles later
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the operands to their count."""
        groups = -(-self._lanes // self._group)
        return 1 + ceil_log2(groups)

    def elaborate(self, platform):
        m = Module()
        products = self.weights & self.activations
        maxima = []
        counts = []
        for first in range(0, self._lanes, self._group):
            bits = [products[i] for i in range(first, min(first + self._group, self._lanes))]
            count = Signal(range(len(bits) + 1), name=f"count_{first}", reset_less=True)
            m.d.sync += count.eq(_carry_save_tree(m, bits))
            counts.append(count)
            maxima.append(len(bits))
        while len(counts) > 1:
            counts, maxima = self._add_pairs(m, counts, maxima)
        m.d.comb += self.count.eq(counts[0])
        return m

    @staticmethod
    def _add_pairs(
        m: Module, counts: list[Signal], maxima: list[int]
    ) -> tuple[list[Signal], list[int]]:
        """One level of registered adders; an odd count out is registered alone."""
        sums, sum_maxima = [], []
        for i in range(0, len(counts), 2):
            maximum = sum(maxima[i : i + 2])
            total = Signal(bits_for(maximum), name=f"sum_{len(counts)}_{i}", reset_less=True)
            m.d.sync += total.eq(sum(counts[i + 1 : i + 2], start=counts[i]))
            sums.append(total)
            sum_maxima.append(maximum)
        return sums, sum_maxima

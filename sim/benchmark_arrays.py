"""Small arrays of dot products in several schemes of counting, for the area benchmark.

All have the same shape, pipeline and surroundings, so that only the way of counting differs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.compute.popcount import Popcount

__all__ = ["SCHEMES", "SELECTABLE", "BenchmarkArray", "CompressorCount", "PlainCount", "Selectable"]

CHUNK = 16
"""Lanes that are counted before the first register, as in :class:`Popcount`."""


class _ChunkedCount(wiring.Component):
    """``popcount(weights & activations)``: chunks, then a tree of registered ``+``."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "weights": In(lanes),  # plane bits
                "activations": In(lanes),  # plane bits
                "count": Out(range(lanes + 1)),  # `latency` cycles later
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the operands to their count."""
        chunks = -(-self.lanes // CHUNK)
        return 1 + (chunks - 1).bit_length()

    def chunk(self, m: Module, bits: list[Value]) -> Value:
        """The number of ones in ``bits``, combinationally."""
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        products = self.weights & self.activations
        counts = []
        for first in range(0, self.lanes, CHUNK):
            bits = [products[i] for i in range(first, min(first + CHUNK, self.lanes))]
            counts.append(self._registered(m, self.chunk(m, bits), len(bits)))
        while len(counts) > 1:
            pairs = [counts[i : i + 2] for i in range(0, len(counts), 2)]
            counts = [
                self._registered(m, sum(v for v, _ in pair), sum(n for _, n in pair))
                for pair in pairs
            ]
        m.d.comb += self.count.eq(counts[0][0])
        return m

    @staticmethod
    def _registered(m: Module, value: Value | int, maximum: int) -> tuple[Signal, int]:
        register = Signal(range(maximum + 1), reset_less=True)
        m.d.sync += register.eq(value)
        return register, maximum


class PlainCount(_ChunkedCount):
    """The sum of the product bits, as one writes it without a thought: ``+`` over the lanes."""

    def chunk(self, m: Module, bits: list[Value]) -> Value:
        return reduce(lambda total, bit: total + bit, bits)


class CompressorCount(_ChunkedCount):
    """Full adders of LUTs until one bit of each weight is left.

    The scheme of Umuroglu et al., "Optimizing Bit-Serial Matrix Multiplication for Reconfigurable
    Computing" (BISMO, 2019): generalized counters, the AND inside of the first ones where the LUTs
    have room.
    """

    def chunk(self, m: Module, bits: list[Value]) -> Value:
        count = []
        while bits:
            carries = []
            while len(bits) > 1:
                (a, b, c), bits = ([*bits[:3], None][:3]), bits[3:]
                total, carry = Signal(), Signal()
                if c is None:
                    m.d.comb += Cat(total, carry).eq(Cat(a ^ b, a & b))
                else:
                    m.d.comb += Cat(total, carry).eq(Cat(a ^ b ^ c, (a & b) | (c & (a | b))))
                bits.append(total)
                carries.append(carry)
            count += bits
            bits = carries
        return Cat(count)


SCHEMES: dict[str, Callable[[int], wiring.Component]] = {
    "plain sum": PlainCount,
    "LUT compressors": CompressorCount,
    "carry chains (ours)": Popcount,
}


class Selectable(wiring.Component):
    """A scheme of counting whose lanes are AND or XNOR, as a signal says.

    The function of three bits comes before the scheme, which then counts ones; synthesis puts it
    where it finds room. It finds none in a carry chain: a slot's four inputs are two products.

    Parameters
    ----------
    scheme
        Counts the lanes.
    lanes
        Width of the operands.
    """

    def __init__(self, scheme: Callable[[int], wiring.Component], lanes: int) -> None:
        self._inner, self._lanes = scheme(lanes), lanes
        super().__init__(
            {
                "weights": In(lanes),  # plane bits
                "activations": In(lanes),  # plane bits
                "is_xnor": In(1),  # lanes where both bits are equal count, not those with two ones
                "count": Out(range(lanes + 1)),  # `latency` cycles later
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the operands to their count."""
        return self._inner.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self._inner
        ones = (1 << self._lanes) - 1
        m.d.comb += [
            inner.weights.eq(
                Mux(
                    self.is_xnor,
                    ~(self.weights ^ self.activations),
                    self.weights & self.activations,
                )
            ),
            inner.activations.eq(ones),
            self.count.eq(inner.count),
        ]
        return m


SELECTABLE: dict[str, Callable[[int], wiring.Component]] = {
    "LUT compressors, AND or XNOR": partial(Selectable, CompressorCount),
    "carry chains, AND or XNOR": partial(Selectable, Popcount),
}
"""Schemes that compute both encodings of activations without another plane."""


class BenchmarkArray(wiring.Component):
    """``rows`` x ``columns`` dot products with accumulators, fed from two shift registers.

    Parameters
    ----------
    scheme
        Key of ``SCHEMES`` or ``SELECTABLE``.
    rows, columns
        Shape of the array.
    lanes
        Width of a dot product.
    count_width
        Bits of an accumulator.
    """

    def __init__(
        self, scheme: str, *, rows: int, columns: int, lanes: int, count_width: int = 13
    ) -> None:
        self._scheme = (SCHEMES | SELECTABLE)[scheme]
        self._is_selectable = scheme in SELECTABLE
        self._rows, self._columns = rows, columns
        self._lanes, self._count_width = lanes, count_width
        super().__init__(
            {
                "i": In(2),  # next bits of the weights and of the activations
                "clear": In(1),  # accumulators restart
                **({"is_xnor": In(1)} if self._is_selectable else {}),
                "o": Out(1),  # depends on all accumulators
            }
        )

    def elaborate(self, platform):
        m = Module()
        weights = Signal(self._rows * self._lanes, reset_less=True)
        activations = Signal(self._columns * self._lanes, reset_less=True)
        m.d.sync += [
            weights.eq(Cat(self.i[0], weights)),
            activations.eq(Cat(self.i[1], activations)),
        ]
        if self._is_selectable:
            is_xnor = Signal(reset_less=True)
            m.d.sync += is_xnor.eq(self.is_xnor)
        folded = []
        for row in range(self._rows):
            for column in range(self._columns):
                count = self._scheme(self._lanes)
                m.submodules[f"element_{row}_{column}"] = count
                accumulator = Signal(
                    self._count_width, name=f"accumulator_{row}_{column}", reset_less=True
                )
                m.d.comb += [
                    count.weights.eq(weights.word_select(row, self._lanes)),
                    count.activations.eq(activations.word_select(column, self._lanes)),
                ]
                if self._is_selectable:
                    m.d.comb += count.is_xnor.eq(is_xnor)
                m.d.sync += accumulator.eq(accumulator + count.count)
                with m.If(self.clear):
                    m.d.sync += accumulator.eq(0)
                fold = Signal(name=f"fold_{row}_{column}", reset_less=True)
                m.d.sync += fold.eq(accumulator.xor())
                folded.append(fold)
        m.d.sync += self.o.eq(reduce(xor, folded))
        return m

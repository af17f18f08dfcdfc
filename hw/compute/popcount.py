"""Dot-product step of one processing element: how many lanes have both bits set."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .carry_chain import AdderChain, Bit, Product, has_carry_chains

__all__ = ["Popcount", "popcount_latency"]

CHUNK = 16
"""Lanes of one chain: 15 make a four-bit count, the other one is the carry of a later adder."""

LEVELS = 2
"""Levels of adders between two registers."""


@dataclass(frozen=True)
class _Number:
    """A partial count; ``maximum`` is the largest value that it takes."""

    bits: tuple[Bit, ...]
    maximum: int


def _count(chain: AdderChain, products: list[Product]) -> _Number:
    """Number of ones in ``products``: halves are counted, then added with one more as the carry."""
    if len(products) == 1:
        return _Number((products[0],), 1)
    carry, rest = (None, products) if len(products) == 2 else (products[0], products[1:])
    half = len(rest) // 2
    return _add(chain, _count(chain, rest[:half]), _count(chain, rest[half:]), carry)


def _add(chain: AdderChain, x: _Number, y: _Number, carry: Bit | None) -> _Number:
    maximum = x.maximum + y.maximum + (carry is not None)
    bits = chain.add(list(x.bits), list(y.bits), carry, width=bits_for(maximum))
    return _Number(tuple(bits), maximum)


def _joins(spares: int, pairs: int) -> bool:
    """Whether a number without a partner is added to spare bits: they suffice for the next level,
    or there is nothing else to add."""
    return spares > pairs or (spares > 0 and pairs == 0)


def _add_level(
    chain: AdderChain, numbers: list[_Number], spares: list[Value]
) -> tuple[list[_Number], list[Value]]:
    """Sums of pairs, each with a spare bit as its carry while there are any."""
    sums = []
    spares = list(spares)
    for first in range(0, len(numbers) - 1, 2):
        carry = spares.pop(0) if spares else None
        sums.append(_add(chain, *numbers[first : first + 2], carry))
    alone = numbers[len(sums) * 2 :]
    if alone and _joins(len(spares), len(sums)):
        other = _Number((spares.pop(0),), 1)
        alone = [_add(chain, alone[0], other, spares.pop(0) if spares else None)]
    return sums + alone, spares


def popcount_latency(lanes: int) -> int:
    """Cycles from the operands of a :class:`Popcount` of ``lanes`` lanes to their count."""
    numbers, spares = -(-lanes // CHUNK), lanes // CHUNK
    stages = 1
    while numbers > 1 or spares:
        for _ in range(LEVELS):
            pairs, alone = divmod(numbers, 2)
            spares -= min(spares, pairs)
            spares -= min(spares, 2) if alone and _joins(spares, pairs) else 0
            numbers = pairs + alone
        stages += 1
    return stages


class Popcount(wiring.Component):
    """``count = popcount(weights & activations)``, pipelined, one result per cycle.

    Chunks of ``CHUNK`` lanes are counted in one carry chain each and registered; a tree of adders
    with a register behind every ``LEVELS`` levels sums them. On an ECP5 these are its carry chains,
    elsewhere plain additions of the same structure. The result has no reset: it is what the inputs
    were ``latency`` cycles ago.

    Parameters
    ----------
    lanes
        Width of the operands.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
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
        return popcount_latency(self._lanes)

    def elaborate(self, platform):
        m = Module()
        native = has_carry_chains(platform)
        numbers, spares = self._count_chunks(m, native=native)
        for stage in range(1, self.latency):
            numbers, spares = self._stage(m, numbers, spares, f"{stage}", native=native)
        m.d.comb += self.count.eq(Cat(numbers[0].bits))
        return m

    def _count_chunks(self, m: Module, *, native: bool) -> tuple[list[_Number], list[Value]]:
        """Registered counts of the chunks, and the registered products that they leave."""
        numbers, spares = [], []
        for first in range(0, self._lanes, CHUNK):
            lanes = range(first, min(first + CHUNK, self._lanes))
            products = [Product(self.weights[i], self.activations[i]) for i in lanes]
            chain = AdderChain(m, f"chunk_{first}", native=native)
            number = _count(chain, products[: CHUNK - 1])
            if len(products) == 1:
                number = _Number((chain.product(products[0]),), 1)
            numbers.append(number)
            if len(products) == CHUNK:
                spares.append(chain.product(products[-1]))
            chain.finish()
        return self._registered(m, numbers, spares, "chunk")

    def _stage(
        self, m: Module, numbers: list[_Number], spares: list[Value], name: str, *, native: bool
    ) -> tuple[list[_Number], list[Value]]:
        """``LEVELS`` levels of adders and a register."""
        chain = AdderChain(m, f"stage_{name}", native=native)
        for _ in range(LEVELS):
            numbers, spares = _add_level(chain, numbers, spares)
        chain.finish()
        return self._registered(m, numbers, spares, f"stage_{name}")

    @staticmethod
    def _registered(
        m: Module, numbers: list[_Number], spares: list[Value], name: str
    ) -> tuple[list[_Number], list[Value]]:
        """The same one cycle later."""
        later = []
        for index, number in enumerate(numbers):
            register = Signal(len(number.bits), name=f"{name}_count_{index}", reset_less=True)
            m.d.sync += register.eq(Cat(number.bits))
            later.append(_Number(tuple(register), number.maximum))
        kept = Signal(len(spares), name=f"{name}_spares", reset_less=True)
        m.d.sync += kept.eq(Cat(spares))
        return later, list(kept)

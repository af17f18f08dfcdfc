"""Ripple adders one behind another in a carry chain, with the AND of their operands inside.

A slot of the ECP5's carry chain is a LUT4 ``p`` and a LUT2 ``g`` (its first four entries). Its
sum is ``p ^ carry_in``, its carry out is ``carry_in`` if ``p``, else ``g``. So one slot is a full
adder of two *products*: with ``p = (a & b) ^ (c & d)`` and ``g = a & b``, the AND is free. And
with ``p = 0`` a slot gives the carry of the adder before it as its sum, while its own carry out
is any ``g = a & b``: one slot ends an adder and starts the next one with a third product. An
adder of n bits with carry in and carry out costs n + 1 slots; three products become two bits in
two.

The figures are in ``docs/decisions/0008-carry-chains.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value

__all__ = ["AdderChain", "Bit", "Product", "has_carry_chains"]

ZERO, ONE = Const(0, 1), Const(1, 1)

# Truth tables over (d, c, b, a), a fastest; slots of the first kind need d = 1.
CARRY_FROM_PRODUCT = 0x0008
ADD_PRODUCTS = 0x7888
ADD_BITS = 0x5A5A
PRODUCT = 0x8888


@dataclass(frozen=True)
class Product:
    """The AND of two bits that have not met yet."""

    a: Value
    b: Value


Bit = Value | Product


def has_carry_chains(platform: Any) -> bool:
    """Whether ``platform`` is an FPGA with the carry chains described here."""
    return str(getattr(platform, "device", "")).startswith("LFE5U")


@dataclass(frozen=True)
class _Slot:
    table: int
    a: Value
    b: Value
    c: Value
    d: Value
    sum: Signal


def _value(bit: Bit) -> Value:
    return bit.a & bit.b if isinstance(bit, Product) else bit


class AdderChain:
    """Adders that share a carry chain; without ``native`` the same sums as plain expressions.

    All is combinational. An adder may use the sums of those before it. :meth:`finish` must be
    called once, after the last one.

    Parameters
    ----------
    m
        Gets the statements.
    name
        Of signals and instances.
    native
        Make CCU2C instances.
    """

    def __init__(self, m: Module, name: str, *, native: bool) -> None:
        self._m = m
        self._name = name
        self._native = native
        self._slots: list[_Slot] = []
        self._carry: Signal | None = None
        """Sum bit that the carry of the last adder must drive."""
        self._adders = 0

    def add(
        self, x: list[Bit], y: list[Bit], carry: Bit | None = None, *, width: int
    ) -> list[Value]:
        """``x + y + carry`` as ``width`` bits, lowest first; at most one more than the operands.

        The sum must fit: a carry out that is not asked for must be zero.
        """
        longest = max(len(x), len(y))
        if not longest <= width <= longest + 1:
            raise ValueError(f"sum must have {longest} or {longest + 1} bits, not {width}")
        index, self._adders = self._adders, self._adders + 1
        total = Signal(width, name=f"{self._name}_sum_{index}")
        if not self._native:
            operands = [Cat(map(_value, bits)) for bits in (x, y)]
            extra = ZERO if carry is None else _value(carry)
            self._m.d.comb += total.eq(operands[0] + operands[1] + extra)
            return list(total)
        if carry is not None or self._slots:
            self._start(carry)
        for position in range(longest):
            operands = [bits[position] if position < len(bits) else ZERO for bits in (x, y)]
            self._m.d.comb += total[position].eq(self._full_adder(*operands))
        if width > longest:
            self._carry = Signal(name=f"{self._name}_carry_{index}")
            self._m.d.comb += total[longest].eq(self._carry)
        return list(total)

    def product(self, product: Product) -> Value:
        """The AND of a product by itself; in a slot that may be left over."""
        if not self._native:
            return _value(product)
        self._start(None)
        return self._slot(PRODUCT, product.a, product.b)

    def finish(self) -> None:
        """Make the chain."""
        if self._carry is not None:
            self._start(None)
        carry: Value = ZERO
        for first in range(0, len(self._slots), 2):
            carry = self._instance(first, carry)

    def _slot(
        self, table: int, a: Value = ZERO, b: Value = ZERO, c: Value = ONE, d: Value = ONE
    ) -> Signal:
        total = Signal(name=f"{self._name}_slot_{len(self._slots)}")
        self._slots.append(_Slot(table, a, b, c, d, total))
        return total

    def _start(self, carry: Bit | None) -> None:
        """End the adder before, whose carry out is the sum of this slot, and give a new carry."""
        if carry is None and self._carry is None:
            return  # the carry out of the last slot is zero
        pair = (
            carry if isinstance(carry, Product) else Product(ZERO if carry is None else carry, ONE)
        )
        total = self._slot(CARRY_FROM_PRODUCT, pair.a, pair.b)
        if self._carry is not None:
            self._m.d.comb += self._carry.eq(total)
            self._carry = None

    def _full_adder(self, x: Bit, y: Bit) -> Signal:
        if isinstance(x, Product) or isinstance(y, Product):
            x, y = (bit if isinstance(bit, Product) else Product(bit, ONE) for bit in (x, y))
            return self._slot(ADD_PRODUCTS, x.a, x.b, y.a, y.b)
        return self._slot(ADD_BITS, x, ONE, y, ONE)

    def _instance(self, first: int, carry: Value) -> Signal:
        """Two slots; an odd one out gets an idle partner."""
        idle = _Slot(0, ZERO, ZERO, ONE, ONE, Signal(name=f"{self._name}_idle"))
        low, high = [*self._slots[first : first + 2], idle][:2]
        out = Signal(name=f"{self._name}_chain_{first}")
        self._m.submodules[f"{self._name}_{first}"] = Instance(
            "CCU2C",
            p_INIT0=Const(low.table, 16),
            p_INIT1=Const(high.table, 16),
            p_INJECT1_0="NO",
            p_INJECT1_1="NO",
            i_CIN=carry,
            **{f"i_{pin.upper()}0": getattr(low, pin) for pin in "abcd"},
            **{f"i_{pin.upper()}1": getattr(high, pin) for pin in "abcd"},
            o_S0=low.sum,
            o_S1=high.sum,
            o_COUT=out,
        )
        return out

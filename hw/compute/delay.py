"""Chains of registers that keep control aligned with data."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, Signal, Value

__all__ = ["delayed", "hops"]


def delayed(m: Module, value: Value, cycles: int, *, name: str) -> Value:
    """``value`` as it was ``cycles`` cycles ago (zero after reset)."""
    for age in range(1, cycles + 1):
        register = Signal(Shape.cast(Value.cast(value).shape()), name=f"{name}_{age}")
        m.d.sync += register.eq(value)
        value = register
    return value


def hops(m: Module, value: Value, count: int, *, name: str) -> list[Value]:
    """``value`` for each of ``count`` neighbours, each a cycle after the one before."""
    copies = [value]
    for _ in range(count - 1):
        register = Signal(Shape.cast(Value.cast(value).shape()), name=f"{name}_hop_{len(copies)}")
        m.d.sync += register.eq(copies[-1])
        copies.append(register)
    return copies

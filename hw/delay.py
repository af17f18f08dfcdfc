"""Registers of the datapath, and chains of registers that keep control aligned with data.

Registers of data have no reset: what they hold counts only with a valid bit, which has one. A reset
would cost a control signal of the logic tile, of which there are too few for a full chip.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal

__all__ = ["data_register", "delayed", "hops"]


def data_register(m: Module, port: Any, *, name: str = "register") -> Any:
    """A register without reset that drives an output port."""
    register = Signal(port.shape(), name=name, reset_less=True)
    m.d.comb += port.eq(register)
    return register


def delayed(
    m: Module, value: Any, cycles: int = 1, *, name: str, init: int = 0, reset_less: bool = False
) -> Any:
    """``value`` as it was ``cycles`` cycles ago.

    Args:
        m: Gets the registers, in the domain ``sync``.
        value: To delay.
        cycles: Number of registers.
        name: Of the registers, with their number.
        init: What the registers hold at the start, and after a reset.
        reset_less: For data: a reset leaves what the registers hold.
    """
    for age in range(1, cycles + 1):
        value = _register(m, value, f"{name}_{age}", init, reset_less)
    return value


def hops(m: Module, value: Any, count: int, *, name: str, reset_less: bool = False) -> list[Any]:
    """``value`` for each of ``count`` neighbours, each a cycle after the one before.

    Arguments as for :func:`delayed`.
    """
    copies = [value]
    for index in range(1, count):
        copies.append(_register(m, copies[-1], f"{name}_hop_{index}", 0, reset_less))
    return copies


def _register(m: Module, value: Any, name: str, init: int, reset_less: bool) -> Signal:
    register = Signal(value.shape(), name=name, init=init or None, reset_less=reset_less)
    m.d.sync += register.eq(value)
    return register

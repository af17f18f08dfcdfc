"""Registers of the datapath, and chains of registers that keep control aligned with data.

Registers of data have no reset: what they hold counts only with a valid bit, which has one. A reset
would cost a control signal of the logic tile, of which there are too few for a full chip.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ROWS_PER_COPY", "Register", "data_register", "delayed", "hops", "row_copies"]

ROWS_PER_COPY = 4
"""Rows that share a copy of a control signal."""


class Register(wiring.Component):
    """One register in a module of its own, so that synthesis does not merge equal ones.

    Parameters
    ----------
    width
        Bits.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            {
                "i": In(unsigned(width)),  # next value
                "o": Out(unsigned(width)),  # the register
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i)
        return m


def row_copies(m: Module, value: Any, rows: int, *, name: str) -> list[Any]:
    """``value`` one cycle later for each of ``rows`` rows: a register per ``ROWS_PER_COPY`` rows.

    A control signal of all rows has hundreds of loads all over the chip; a copy has few, and lies
    with them.
    """
    copies = []
    for index in range(-(-rows // ROWS_PER_COPY)):
        m.submodules[f"{name}_{index}"] = register = Register(len(Value.cast(value)))
        m.d.comb += register.i.eq(value)
        copies.append(register.o)
    return [copies[row // ROWS_PER_COPY] for row in range(rows)]


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

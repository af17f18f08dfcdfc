"""Requantization to codes of learned levels: thresholds compared with the values of all rows."""

from functools import reduce
from operator import xor

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register, delayed, row_copies
from .position import Position, positioned_stream, signed_vector
from .serialize import code_stream

__all__ = ["Requantize"]


class Requantize(wiring.Component):
    """``code = initial XOR the deltas of all thresholds below the value``.

    A vector is compared with one group of thresholds per cycle. A vector may follow ``groups``
    cycles after the one before, not earlier. Latency ``Requantize.LATENCY + groups`` cycles.
    Stages: hold, compare, combine within the group, combine the groups.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of a value.
    planes
        Bits of a code.
    group
        Layout of a group: array of ``threshold`` and ``delta``.

    Members
    -------
    i : In(positioned_stream(width, rows))
        Values.
    enable : In(1)
        0: ignore ``i``, give no codes and hold ``o.payload`` at zero. Stable during a command,
        like the following.
    groups : In(9)
        Number of groups.
    initial : In(planes)
        Code of the lowest level.
    group : In(group)
        Current group of thresholds.
    advance : Out(1)
        ``group`` is used in this cycle.
    o : Out(code_stream(planes, rows))
        Codes.
    """

    LATENCY = 3

    def __init__(self, *, rows: int, width: int, planes: int, group: data.ArrayLayout) -> None:
        self.rows = rows
        self.width = width
        self.planes = planes
        super().__init__(
            {
                "i": In(positioned_stream(width, rows)),
                "enable": In(1),
                "groups": In(9),
                "initial": In(planes),
                "group": In(group),
                "advance": Out(1),
                "o": Out(code_stream(planes, rows)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        values = Signal(signed_vector(self.width, self.rows), reset_less=True)
        position = Signal(Position, reset_less=True)
        remaining = Signal(9)
        first, last = Signal(), Signal()
        m.d.comb += [self.advance.eq(remaining != 0), last.eq(remaining == 1)]
        with m.If(self.i.valid & self.enable):
            m.d.sync += [
                values.eq(self.i.payload.values),
                position.eq(self.i.payload.position),
                remaining.eq(self.groups),
                first.eq(1),
            ]
        with m.Elif(self.advance):
            m.d.sync += [remaining.eq(remaining - 1), first.eq(0)]

        deltas = [delayed(m, entry.delta, name="delta", reset_less=True) for entry in self.group]
        first = row_copies(m, delayed(m, first, name="first"), self.rows, name="first")
        used = row_copies(m, delayed(m, self.advance, name="used"), self.rows, name="used")
        unused = row_copies(m, ~self.enable, self.rows, name="unused")
        codes = data_register(m, self.o.payload.codes, name="codes")
        for row in range(self.rows):
            # This way round the comparison is a bare carry chain.
            passed = [
                delayed(m, entry.threshold < values[row], name="passed", reset_less=True)
                for entry in self.group
            ]
            change = Signal(self.planes, reset_less=True)
            m.d.sync += change.eq(reduce(xor, self._selected(deltas, passed)))
            code = codes[row]
            with m.If(used[row]):
                m.d.sync += code.eq(Mux(first[row], self.initial, code) ^ change)
            with m.If(unused[row]):
                m.d.sync += code.eq(0)
        m.d.comb += [
            self.o.valid.eq(delayed(m, self.advance & last, self.LATENCY, name="valid")),
            self.o.payload.position.eq(
                delayed(m, position, self.LATENCY, name="position", reset_less=True)
            ),
        ]
        return m

    def _selected(self, deltas: list, passed: list) -> list:
        return [
            delta & flag.replicate(self.planes) for delta, flag in zip(deltas, passed, strict=True)
        ]

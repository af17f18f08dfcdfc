"""Row by row: the slow outputs (fixed point, raw) pass their values one after the other."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register, delayed
from .position import Position, positioned_stream

__all__ = ["FixedPoint", "Serializer", "code_stream", "item_stream"]


def code_stream(planes: int, rows: int) -> stream.Signature:
    """Vector of codes with its position; always ready."""
    return stream.Signature(
        data.StructLayout(
            {"position": Position, "codes": data.ArrayLayout(unsigned(planes), rows)}
        ),
        always_ready=True,
    )


def item_stream(width: int) -> stream.Signature:
    """Values of a vector, row 0 first, with the position of the vector; always ready."""
    return stream.Signature(
        data.StructLayout({"position": Position, "value": signed(width), "first": 1, "last": 1}),
        always_ready=True,
    )


class Serializer(wiring.Component):
    """Passes the values of a vector one after the other, one every ``item_cycles`` cycles.

    A vector may follow ``rows * item_cycles`` cycles after the one before, not earlier.
    Latency 1 cycle to the first item.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of a value.
    item_cycles
        Cycles from one item to the next.

    Members
    -------
    i : In(positioned_stream(width, rows))
        Vectors.
    enable : In(1)
        0: ignore ``i``. Stable during a command.
    o : Out(item_stream(width))
        Items. The payload is a register that holds for ``item_cycles`` cycles.
    """

    def __init__(self, *, rows: int, width: int, item_cycles: int) -> None:
        self.rows = rows
        self.width = width
        self.item_cycles = item_cycles
        super().__init__(
            {
                "i": In(positioned_stream(width, rows)),
                "enable": In(1),
                "o": Out(item_stream(width)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        values = Signal(self.rows * self.width, reset_less=True)
        position = data_register(m, self.o.payload.position, name="position")
        remaining = Signal(range(self.rows + 1))
        cycle = Signal(range(max(2, self.item_cycles)))
        busy = remaining != 0
        m.d.comb += [
            self.o.valid.eq(busy & (cycle == 0)),
            self.o.payload.value.eq(values[: self.width]),
            self.o.payload.first.eq(remaining == self.rows),
            self.o.payload.last.eq(remaining == 1),
        ]
        with m.If(self.i.valid & self.enable):
            m.d.sync += [
                values.eq(self.i.payload.values),
                position.eq(self.i.payload.position),
                remaining.eq(self.rows),
                cycle.eq(0),
            ]
        with m.Elif(busy & (cycle == self.item_cycles - 1)):
            m.d.sync += [
                values.eq(values[self.width :]),
                remaining.eq(remaining - 1),
                cycle.eq(0),
            ]
        with m.Elif(busy):
            m.d.sync += cycle.eq(cycle + 1)
        return m


class FixedPoint(wiring.Component):
    """``saturate(round_shift(value, shift), bits)`` of each item, gathered to vectors of codes.

    One unit for all rows: fixed-point outputs are few (the input of the last layers). One item
    per cycle; the vector follows ``FixedPoint.LATENCY`` cycles after its last item. Codes are
    sign-extended to ``planes`` bits. Stages: shift by 0, 8, 16 or 24; shift by 0 to 7; round;
    saturate into the chain that gathers the vector.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of an item.
    planes
        Bits of a code.

    Members
    -------
    i : In(item_stream(width))
        Items.
    enable : In(1)
        0: ignore ``i`` and hold ``o.payload`` at zero. Stable during a command, like the others.
    shift : In(5)
        Right shift.
    bits : In(5)
        Bits to saturate to, 1 to ``planes``.
    o : Out(code_stream(planes, rows))
        Codes.
    """

    LATENCY = 4

    def __init__(self, *, rows: int, width: int, planes: int) -> None:
        self.rows = rows
        self.width = width
        self.planes = planes
        super().__init__(
            {
                "i": In(item_stream(width)),
                "enable": In(1),
                "shift": In(5),
                "bits": In(5),
                "o": Out(code_stream(planes, rows)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        valid = delayed(m, self.i.valid & self.enable, self.LATENCY - 1, name="valid")
        last = delayed(m, self.i.payload.last, self.LATENCY - 1, name="last", reset_less=True)
        code = self._code(m)
        codes = data_register(m, self.o.payload.codes, name="codes").as_value()
        with m.If(~self.enable):
            m.d.sync += codes.eq(0)
        with m.Elif(valid):
            m.d.sync += codes.eq(Cat(codes[self.planes :], code))
        m.d.sync += self.o.valid.eq(valid & last)
        position = delayed(
            m, self.i.payload.position, self.LATENCY, name="position", reset_less=True
        )
        m.d.comb += self.o.payload.position.eq(position)
        return m

    def _code(self, m: Module) -> Signal:
        coarse = Signal(signed(self.width + 1), reset_less=True)
        fine = Signal(signed(self.width + 1), reset_less=True)
        rounded = Signal(signed(self.width), reset_less=True)
        # Bit k: bit k of the value must equal the sign for the value to fit.
        checked = Signal(self.width - 1)
        m.d.sync += [
            coarse.eq(Cat(0, self.i.payload.value).as_signed() >> Cat(0, 0, 0, self.shift[3:])),
            fine.eq(coarse >> self.shift[:3]),
            rounded.eq(fine[1:].as_signed() + fine[0]),
            checked.eq(Cat(k + 1 >= self.bits for k in range(len(checked)))),
        ]
        sign = rounded[-1]
        excess = ((rounded[:-1] ^ sign.replicate(self.width - 1)) & checked).any()
        limit = checked[: self.planes] ^ (~sign).replicate(self.planes)
        code = Signal(self.planes)
        m.d.comb += code.eq(Mux(excess, limit, rounded[: self.planes]))
        return code

"""Bias and residual: the first sum behind the array."""

from amaranth.hdl import Module, Mux, Signal, ValueLike, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register, delayed, row_copies
from ..isa import ResidualMode
from .position import positioned_stream, signed_vector

__all__ = ["Residual"]


class Residual(wiring.Component):
    """``v = accumulator + bias + (residual << shift)``, modulo ``2 ** 32``.

    In mode SUM the residual of a window's vectors is summed: the accumulator comes with the first
    vector of the window, and ``v`` follows the last one. As the sum is taken of shifted values
    modulo ``2 ** 32``, it equals the exact sum of the stream values shifted.

    Latency ``Residual.LATENCY`` cycles, one vector per cycle. Stages: operand | address of the
    residual, bias | memory, residual register, shift by 0 to 3, shift by 0, 4, 8 or 12, shift by 0
    or 16 and sum.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of an accumulator.
    stream_width
        Bits of a residual.

    Members
    -------
    i : In(positioned_stream(width, rows))
        Accumulators. The position is that of the next vector even before it comes.
    residuals : In(signed_vector(stream_width, rows))
        Residuals of the vector of ``StreamMemory.LATENCY`` cycles before.
    bias : In(signed_vector(width, rows))
        Copied with the first vector of a tile.
    array : In(1)
        0: take zeros for the accumulators. Stable during a command, like ``mode`` and ``shift``.
    mode : In(ResidualMode)
        What to add.
    shift : In(5)
        Left shift of the residual.
    o : Out(positioned_stream(width, rows))
        ``v``; in mode SUM every vector is a window of its own.
    biased : Out(stream.Signature(signed_vector(width, rows)))
        Accumulator + bias, once per window in mode SUM, else for each vector; for the trace.
    """

    LATENCY = 6

    def __init__(self, *, rows: int, width: int, stream_width: int) -> None:
        self.rows = rows
        self.width = width
        self.stream_width = stream_width
        super().__init__(
            {
                "i": In(positioned_stream(width, rows)),
                "residuals": In(signed_vector(stream_width, rows)),
                "bias": In(signed_vector(width, rows)),
                "array": In(1),
                "mode": In(ResidualMode),
                "shift": In(5),
                "o": Out(positioned_stream(width, rows)),
                "biased": Out(stream.Signature(signed_vector(width, rows), always_ready=True)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        summing = Signal()
        m.d.comb += summing.eq(self.mode == ResidualMode.SUM)

        valid = [self.i.valid]
        position = [self.i.payload.position]
        for _ in range(self.LATENCY):
            valid.append(delayed(m, valid[-1], name="valid"))
            position.append(delayed(m, position[-1], name="position", reset_less=True))

        totals = data_register(m, self.o.payload.values, name="totals")

        def copies(value: ValueLike, name: str) -> list[Signal]:
            return row_copies(m, value, self.rows, name=name)

        accumulate = copies(summing & ~position[4].window_first, "accumulate")
        enable = copies(valid[4], "enable")
        # Settings stand still from two cycles before the first vector of a command.
        array = copies(self.array, "array")
        unused = copies(self.mode == ResidualMode.NONE, "unused")
        shift = copies(self.shift, "shift")
        for row in range(self.rows):
            biased = self._biased(m, row, array[row])
            m.d.comb += self.biased.payload[row].eq(biased)
            shifted = self._shifted(m, row, unused[row], shift[row])
            start = delayed(m, biased, 3, name="start", reset_less=True)
            total = totals[row]
            with m.If(enable[row]):
                m.d.sync += total.eq(Mux(accumulate[row], total, start) + shifted)
        m.d.comb += self.biased.valid.eq(valid[2] & ~(summing & ~position[2].window_first))
        self._position(m, summing, valid, position)
        return m

    def _biased(self, m: Module, row: int, array: Signal) -> Signal:
        """Two stages: the operand or zero, plus bias."""
        accumulator = Signal(signed(self.width), reset_less=True)
        bias = Signal(signed(self.width), reset_less=True)
        biased = Signal(signed(self.width), reset_less=True)
        m.d.sync += [
            accumulator.eq(Mux(array, self.i.payload.values[row], 0)),
            biased.eq(accumulator + bias),
        ]
        # Whether the first vector of a tile comes in this cycle or later does not matter: the
        # vector before has used its bias by the time that a new one is here.
        with m.If(self.i.payload.position.tile_first):
            m.d.sync += bias.eq(self.bias[row])
        return biased

    def _shifted(self, m: Module, row: int, unused: Signal, shift: Signal) -> Signal:
        """Three stages, and the logic of the last shift."""
        residual = Signal(signed(self.stream_width), reset_less=True)
        middle = Signal(signed(self.stream_width + 11))
        fine = Signal(signed(self.stream_width + 3), reset_less=True)
        coarse = Signal(signed(self.stream_width + 15), reset_less=True)
        shifted = Signal(signed(self.width))
        m.d.sync += [
            residual.eq(Mux(unused, 0, self.residuals[row])),
            fine.eq(residual << shift[:2]),
            coarse.eq(Mux(shift[2], middle << 4, middle)),
        ]
        m.d.comb += [
            middle.eq(Mux(shift[3], fine << 8, fine)),
            shifted.eq(Mux(shift[4], coarse << 16, coarse)),
        ]
        return shifted

    def _position(self, m: Module, summing: Signal, valid: list, position: list) -> None:
        """Position of the results: a summed window counts as one vector."""
        held, tile_first = Signal(), Signal()  # the window began the tile
        m.d.comb += [
            tile_first.eq(position[6].tile_first | held & ~position[6].window_first),
            self.o.valid.eq(valid[6] & ~(summing & ~position[6].window_last)),
            self.o.payload.position.eq(position[6]),
        ]
        with m.If(valid[6]):
            m.d.sync += held.eq(tile_first)
        with m.If(summing):
            m.d.comb += [
                self.o.payload.position.window_first.eq(1),
                self.o.payload.position.tile_first.eq(tile_first),
            ]

"""Affine step: per-channel gain and offset on the stream value, or the plain vector."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..delay import data_register, delayed, row_copies
from .position import positioned_stream, signed_vector

__all__ = ["Affine"]


class Affine(wiring.Component):
    """``u = s * gain + offset``, or ``u = v``; then ``max(u, 0)`` if ``relu``. Modulo ``2 ** 32``.

    Latency ``Affine.LATENCY`` cycles from ``i``, ``Affine.DIRECT_LATENCY`` from ``direct``; one
    vector per cycle. Stages: multiplier operands, product, sum, selection.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of ``u`` and ``v``.
    stream_width
        Bits of ``s``.
    gain_width
        Bits of a gain.

    Members
    -------
    i : In(positioned_stream(stream_width, rows))
        ``s``; used if ``affine``.
    direct : In(positioned_stream(width, rows))
        ``v``; used if not ``affine``.
    affine : In(1)
        Route. Stable during a command, like the following.
    relu : In(1)
        Clip ``u`` at zero.
    relu_direct : In(1)
        Clip ``v`` at zero if it is used.
    gain : In(signed_vector(gain_width, rows))
        Copied with the first vector of a tile.
    offset : In(signed_vector(width, rows))
        Copied one cycle after the first vector of a tile.
    o : Out(positioned_stream(width, rows))
        ``u``.
    """

    LATENCY = 4
    DIRECT_LATENCY = 1

    def __init__(self, *, rows: int, width: int, stream_width: int, gain_width: int) -> None:
        self.rows = rows
        self.width = width
        self.gain_width = gain_width
        super().__init__(
            {
                "i": In(positioned_stream(stream_width, rows)),
                "direct": In(positioned_stream(width, rows)),
                "affine": In(1),
                "relu": In(1),
                "relu_direct": In(1),
                "gain": In(signed_vector(gain_width, rows)),
                "offset": In(signed_vector(width, rows)),
                "o": Out(positioned_stream(width, rows)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        before = self.LATENCY - 1
        # Stream values that are not used must not be seen by the next command.
        valid = self.i.valid & self.affine
        new_gain = valid & self.i.payload.position.tile_first
        new_offset = row_copies(m, new_gain, self.rows, name="new_offset")
        affine = row_copies(m, self.affine, self.rows, name="affine")
        relu = self.relu | self.relu_direct & ~self.affine
        relu = row_copies(m, relu, self.rows, name="relu")
        results = data_register(m, self.o.payload, name="results")
        for row in range(self.rows):
            total = self._scaled(m, row, new_gain, new_offset[row])
            value = Signal(signed(self.width))
            m.d.comb += value.eq(Mux(affine[row], total, self.direct.payload.values[row]))
            with m.If(relu[row] & value[-1]):
                m.d.sync += results.values[row].eq(0)
            with m.Else():
                m.d.sync += results.values[row].eq(value)
        scaled_valid = delayed(m, valid, before, name="valid")
        m.d.sync += [
            self.o.valid.eq(Mux(self.affine, scaled_valid, self.direct.valid)),
            results.position.eq(
                Mux(
                    self.affine,
                    delayed(m, self.i.payload.position, before, name="position", reset_less=True),
                    self.direct.payload.position,
                )
            ),
        ]
        return m

    def _scaled(self, m: Module, row: int, new_gain: Signal, new_offset: Signal) -> Signal:
        operand = delayed(m, self.i.payload.values[row], name="operand", reset_less=True)
        gain = Signal(signed(self.gain_width), reset_less=True)
        offset = Signal(signed(self.width), reset_less=True)
        product = Signal(signed(self.width), reset_less=True)
        total = Signal(signed(self.width), reset_less=True)
        with m.If(new_gain):
            m.d.sync += gain.eq(self.gain[row])
        with m.If(new_offset):
            m.d.sync += offset.eq(self.offset[row])
        m.d.sync += [product.eq(operand * gain), total.eq(product + offset)]
        return total

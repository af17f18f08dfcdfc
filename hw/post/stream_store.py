"""Stream value: a vector, rounded and saturated, and its place in the stream memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..delay import data_register, delayed, row_copies
from .counters import StridedAddress
from .position import positioned_stream
from .stream_memory import StreamWriteSignature

__all__ = ["StreamStore"]


class StreamStore(wiring.Component):
    """``s = saturate(round_shift(v, shift), stream_width)``, stored on demand.

    Of ``max(v, 0)`` if ``relu``.

    The rounding bit travels below the shifted value and is added last. It cannot overflow there:
    a saturated or a largest value comes without it. Values that do not fit after the shift are
    found before it, by the bits that ``checked`` selects for this shift.

    Latency ``StreamStore.LATENCY`` cycles to ``o`` and to the write, one vector per cycle.
    Stages: shift by 0, 8, 16 or 24; shift by 0 to 7; saturate; round.

    Parameters
    ----------
    rows
        Rows of the array.
    width
        Bits of ``v``; 32.
    stream_width
        Bits of ``s``.
    depth
        Vectors of the stream memory. Addresses wrap.

    Members
    -------
    i : In(positioned_stream(width, rows))
        ``v``.
    relu : In(1)
        Clip at zero. Stable during a command, like the following.
    shift : In(5)
        Right shift.
    store : In(1)
        Write ``s`` to the stream memory, each window (or vector outside of windows) to one
        address; of several vectors in a window the last one remains.
    start : In(1)
        A command begins: start at ``base``.
    base : In(range(depth))
        Address of the first tile.
    stride_outer_x, stride_outer_y : In(range(depth))
        Vectors per step of the outer counts; a tile is at the next address.
    o : Out(positioned_stream(stream_width, rows))
        ``s``.
    write : Out(StreamWriteSignature(...))
        To the stream memory.
    finished : Out(1)
        The last vector of the command leaves in this cycle.
    """

    LATENCY = 4

    def __init__(self, *, rows: int, width: int, stream_width: int, depth: int) -> None:
        self.rows = rows
        self.width = width
        self.stream_width = stream_width
        self.depth = depth
        address = range(depth)
        super().__init__(
            {
                "i": In(positioned_stream(width, rows)),
                "relu": In(1),
                "shift": In(5),
                "store": In(1),
                "start": In(1),
                "base": In(address),
                "stride_outer_x": In(address),
                "stride_outer_y": In(address),
                "o": Out(positioned_stream(stream_width, rows)),
                "write": Out(StreamWriteSignature(depth=depth, width=stream_width, rows=rows)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        # Bit k: bit `stream_width - 1 + k` of v must equal the sign for v to fit.
        checked = Cat(k >= self.shift for k in range(self.width - self.stream_width))
        checked = row_copies(m, checked, self.rows, name="checked")
        shift = row_copies(m, self.shift, self.rows, name="shift")
        relu = row_copies(m, self.relu, self.rows, name="relu")
        values = data_register(m, self.o.payload.values, name="values")
        for row in range(self.rows):
            limited, rounding = self._limited(m, row, relu[row], shift[row], checked[row])
            m.d.sync += values[row].eq(limited + rounding)
        m.d.comb += [
            self.o.valid.eq(delayed(m, self.i.valid, self.LATENCY, name="valid")),
            self.o.payload.position.eq(
                delayed(m, self.i.payload.position, self.LATENCY, name="position", reset_less=True)
            ),
            self.finished.eq(self.o.valid & self.o.payload.position.last),
        ]
        self._store(m)
        return m

    def _limited(
        self, m: Module, row: int, relu: Signal, shift: Signal, checked: Signal
    ) -> tuple[Signal, Signal]:
        """Three stages: the shifted and saturated value, and its rounding bit."""
        value = self.i.payload.values[row]
        sign = value[-1]
        width = self.stream_width + 1  # with the rounding bit
        coarse = Signal(signed(width + 7), reset_less=True)
        fine = Signal(signed(width), reset_less=True)
        excess, negative = Signal(reset_less=True), Signal(reset_less=True)
        upper = Cat(value[self.stream_width - 1 : -1])
        with m.If(relu & sign):
            m.d.sync += [coarse.eq(0), excess.eq(0)]
        with m.Else():
            m.d.sync += [
                coarse.eq(Cat(0, value).as_signed() >> Cat(0, 0, 0, shift[3:])),
                excess.eq(((upper ^ sign.replicate(len(upper))) & checked).any()),
            ]
        m.d.sync += [negative.eq(sign), fine.eq(coarse >> shift[:3])]

        limited = Signal(signed(self.stream_width), reset_less=True)
        rounding = Signal(reset_less=True)
        excess = delayed(m, excess, name="excess", reset_less=True)
        negative = delayed(m, negative, name="negative", reset_less=True)
        largest = fine[1:-1].all() & ~fine[-1]
        limit = Cat((~negative).replicate(self.stream_width - 1), negative)
        m.d.sync += [
            limited.eq(Mux(excess, limit, fine[1:])),
            rounding.eq(fine[0] & ~excess & ~largest),
        ]
        return limited, rounding

    def _store(self, m: Module) -> None:
        m.submodules.address = address = StridedAddress(width=ceil_log2(self.depth), loops=3)
        strides = (self.stride_outer_x, self.stride_outer_y, 1)
        m.d.comb += [
            address.start.eq(self.start),
            address.base.eq(self.base),
            self.write.enable.eq(self.o.valid & self.store),
            self.write.address.eq(address.address),
            self.write.data.eq(self.o.payload.values),
        ]
        m.d.comb += [address.strides[k].eq(stride) for k, stride in enumerate(strides)]
        with m.If(self.o.valid):
            m.d.comb += address.steps.eq(self.o.payload.position.outer_steps())

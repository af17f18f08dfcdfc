"""Packing: codes to granules of bit planes, raw items to words, and their addresses."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import AcceleratorConfig
from ..delay import data_register
from ..payloads import ActivationWriteSignature
from .counters import StridedAddress
from .serialize import code_stream, item_stream

__all__ = ["Pack", "PlaneWriter", "RawWriter"]


class PlaneWriter(wiring.Component):
    """Transposes a vector of codes to one granule per plane: bit j of all rows is plane j.

    Two granules per cycle, so a vector may follow ``(planes + 1) // 2`` cycles after the one
    before. The first word leaves one cycle after the codes. A single plane goes to the granule
    that the address says, more planes begin at an even granule.

    Parameters
    ----------
    config
        Accelerator configuration.

    Members
    -------
    i : In(code_stream(...))
        Codes.
    granule : In(...)
        Granule of plane 0, valid one cycle after ``i``.
    planes : In(5)
        Planes to write, at least 1. Stable during a command.
    write : Out(ActivationWriteSignature(config))
        Words; from registers and ``granule`` through two levels of logic.
    finished : Out(1)
        The last word of the command is on ``write``.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.rows = config.array.rows
        planes = config.datapath.planes_maximum
        super().__init__(
            {
                "i": In(code_stream(planes, self.rows)),
                "granule": In(range(2 * config.memory.activation_words)),
                "planes": In(5),
                "write": Out(ActivationWriteSignature(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        codes = Signal.like(self.i.payload.codes, reset_less=True)
        granule = Signal.like(self.granule)
        first, following = Signal(), Signal.like(self.granule, reset_less=True)
        remaining = Signal(5)
        last_vector, single = Signal(), Signal()
        m.d.comb += [
            single.eq(self.planes == 1),
            granule.eq(Mux(first, self.granule, following)),
        ]
        m.d.sync += [first.eq(self.i.valid), following.eq(granule + 2)]
        with m.If(self.i.valid):
            m.d.sync += [
                codes.eq(self.i.payload.codes),
                remaining.eq(self.planes),
                last_vector.eq(self.i.payload.position.last),
            ]
        with m.Else():
            m.d.sync += [codes[row].eq(codes[row] >> 2) for row in range(self.rows)]
            m.d.sync += remaining.eq(Mux(remaining < 2, 0, remaining - 2))

        low = Cat(code[0] for code in codes)
        high = Cat(code[1] for code in codes)
        m.d.comb += [
            self.write.address.eq(granule[1:]),
            self.write.data.eq(Cat(low, Mux(single, low, high))),
            self.finished.eq(last_vector & (remaining != 0) & (remaining <= 2)),
        ]
        with m.If(single):
            m.d.comb += self.write.enable.eq(
                Cat(remaining[0] & ~granule[0], remaining[0] & granule[0])
            )
        with m.Else():
            m.d.comb += self.write.enable.eq(Cat(remaining != 0, remaining > 1))
        return m


class RawWriter(wiring.Component):
    """Writes 32-bit items: in several words, low part first, or zero-extended in one.

    An item may follow ``RawWriter.item_cycles(config)`` cycles after the one before. Its first
    word leaves one cycle after the item. The items of a vector follow each other in the memory.

    Parameters
    ----------
    config
        Accelerator configuration.

    Members
    -------
    i : In(item_stream(...))
        Items.
    enable : In(1)
        0: ignore ``i``. Stable during a command.
    granule : In(...)
        Granule of the vector's first item, valid one cycle after it.
    write : Out(ActivationWriteSignature(config))
        Words; from registers and ``granule`` through one level of logic.
    finished : Out(1)
        The last word of the command is on ``write``.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.word_width = config.array.word_width
        self.width = config.datapath.accumulator_width
        self.words = self.item_cycles(config)
        super().__init__(
            {
                "i": In(item_stream(self.width)),
                "enable": In(1),
                "granule": In(range(2 * config.memory.activation_words)),
                "write": Out(ActivationWriteSignature(config)),
                "finished": Out(1),
            }
        )

    @staticmethod
    def item_cycles(config: AcceleratorConfig) -> int:
        """Words of an item: cycles from one item to the next."""
        return max(1, config.datapath.accumulator_width // config.array.word_width)

    def elaborate(self, platform) -> Module:
        m = Module()
        value = Signal(self.width, reset_less=True)
        first, following = Signal(), Signal.like(self.write.address)
        remaining = Signal(range(self.words + 1))
        last_item = Signal()
        taken, active = Signal(), remaining != 0
        m.d.comb += taken.eq(self.i.valid & self.enable)
        m.d.sync += first.eq(taken & self.i.payload.first)
        with m.If(active):
            m.d.sync += [
                value.eq(value >> self.word_width),
                following.eq(self.write.address + 1),
                remaining.eq(remaining - 1),
            ]
        with m.If(taken):
            m.d.sync += [
                value.eq(self.i.payload.value),
                remaining.eq(self.words),
                last_item.eq(self.i.payload.last & self.i.payload.position.last),
            ]
        m.d.comb += [
            self.write.enable.eq(active.replicate(2)),
            self.write.address.eq(Mux(first, self.granule[1:], following)),
            self.write.data.eq(value[: self.word_width]),
            self.finished.eq(last_item & (remaining == 1)),
        ]
        return m


class Pack(wiring.Component):
    """Joins the three kinds of output in one write port and gives each vector its address.

    Outputs are one per window, at ``base`` + the outer counts times their strides + ``tile`` per
    channel tile, in granules. Only one kind of output exists during a command. Addresses wrap.
    ``write`` and ``finished`` are registers, ``Pack.LATENCY`` cycles after a vector or item.

    Parameters
    ----------
    config
        Accelerator configuration.

    Members
    -------
    codes, fixed : In(code_stream(...))
        Codes of learned levels and of fixed-point values; the payload that is not in use is zero.
    items : In(item_stream(...))
        Raw items.
    raw : In(1)
        Take ``items``. Stable during a command, like the following.
    planes : In(5)
        Planes of a code.
    start : In(1)
        A command begins: start at ``base``.
    base, stride_outer_x, stride_outer_y, stride_tile : In(...)
        In granules.
    write : Out(ActivationWriteSignature(config))
        To the activation memory.
    finished : Out(1)
        ``write`` holds the last word of the command.
    """

    LATENCY = 2

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        codes = code_stream(config.datapath.planes_maximum, config.array.rows)
        granule = range(2 * config.memory.activation_words)
        super().__init__(
            {
                "codes": In(codes),
                "fixed": In(codes),
                "items": In(item_stream(config.datapath.accumulator_width)),
                "raw": In(1),
                "planes": In(5),
                "start": In(1),
                "base": In(granule),
                "stride_outer_x": In(granule),
                "stride_outer_y": In(granule),
                "stride_tile": In(granule),
                "write": Out(ActivationWriteSignature(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.planes = planes = PlaneWriter(self.config)
        m.submodules.raw = raw = RawWriter(self.config)
        address = self._address(m)
        m.d.comb += [
            planes.i.valid.eq(self.codes.valid | self.fixed.valid),
            planes.i.payload.codes.eq(
                self.codes.payload.codes.as_value() | self.fixed.payload.codes.as_value()
            ),
            planes.i.payload.position.eq(
                Mux(self.fixed.valid, self.fixed.payload.position, self.codes.payload.position)
            ),
            planes.granule.eq(address),
            planes.planes.eq(self.planes),
            raw.i.valid.eq(self.items.valid),
            raw.i.payload.eq(self.items.payload),
            raw.enable.eq(self.raw),
            raw.granule.eq(address),
        ]
        write_address = data_register(m, self.write.address, name="write_address")
        write_data = data_register(m, self.write.data, name="write_data")
        source = Mux(self.raw, raw.write.address, planes.write.address)
        m.d.sync += [
            self.write.enable.eq(Mux(self.raw, raw.write.enable, planes.write.enable)),
            write_address.eq(source),
            write_data.eq(Mux(self.raw, raw.write.data, planes.write.data)),
            self.finished.eq(Mux(self.raw, raw.finished, planes.finished)),
        ]
        return m

    def _address(self, m: Module) -> Signal:
        """Address of the vector, or the vector of the raw item, of the cycle before."""
        m.submodules.address = address = StridedAddress(width=len(self.base), loops=3)
        strides = (self.stride_outer_x, self.stride_outer_y, self.stride_tile)
        m.d.comb += [address.start.eq(self.start), address.base.eq(self.base)]
        m.d.comb += [address.strides[k].eq(stride) for k, stride in enumerate(strides)]
        steps = Signal(3)
        with m.If(self.raw & self.items.valid & self.items.payload.first):
            m.d.comb += steps.eq(self.items.payload.position.outer_steps())
        with m.If(self.codes.valid):
            m.d.comb += steps.eq(self.codes.payload.position.outer_steps())
        with m.If(self.fixed.valid):
            m.d.comb += steps.eq(self.fixed.payload.position.outer_steps())
        m.d.sync += address.steps.eq(steps)
        return address.address

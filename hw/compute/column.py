"""Column buffers: the input pixels of one strip of outputs, in two halves."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import AcceleratorConfig
from ..delay import data_register, delayed, hops
from ..payloads import ColumnWriteSignature

__all__ = ["ColumnBuffers", "GranuleMemory"]

GRANULES = 2


class GranuleMemory(wiring.Component):
    """One half of a column buffer: two granules read, or two written, per cycle.

    Each of the two ports has one address for reading and writing and does one of both, so that a
    dual-port block RAM does without emulation logic. ``data_out`` follows a read by one cycle and
    holds while writing.

    Parameters
    ----------
    width
        Bits of a granule.
    depth
        Granules.
    """

    def __init__(self, width: int, depth: int) -> None:
        self._width = width
        self._depth = depth
        super().__init__(
            {
                "write": In(1),  # write both granules instead of reading
                "address": In(range(depth)).array(GRANULES),
                "data_in": In(width).array(GRANULES),
                "data_out": Out(width).array(GRANULES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=unsigned(self._width), depth=self._depth, init=[]
        )
        for port in range(GRANULES):
            write, read = storage.write_port(), storage.read_port()
            m.d.comb += [
                write.addr.eq(self.address[port]),
                write.data.eq(self.data_in[port]),
                write.en.eq(self.write),
                read.addr.eq(self.address[port]),
                read.en.eq(~self.write),
                self.data_out[port].eq(read.data),
            ]
        return m


class ColumnBuffers(wiring.Component):
    """All column buffers with their base registers.

    Column c reads the granules ``base[c] + offset``, for all offsets of a step, of the half in use;
    ``offsets`` and ``half`` enter at column 0 and hop to the next column in every cycle. A memory
    gives two granules per cycle, so a half has one memory for every two granules of a step, all
    with the same contents.
    ``start`` comes one cycle before the first word of a strip and hops alike: column c takes its
    base from the broadcast ``base`` when ``start`` reaches it, c cycles after column 0.

    The half that is not in use can be written at the same time, one word per cycle to all columns;
    the data is in place ``write_latency`` cycles later.

    Parameters
    ----------
    config
        Uses the sizes of the array and of the column buffers.
    """

    #: Cycles from `offsets` to the activations of column 0.
    latency = 3
    #: Cycles from `write` to the end of the write in all columns.
    write_latency = 3

    def __init__(self, config: AcceleratorConfig) -> None:
        self._columns = config.array.columns
        self._rows = config.array.rows
        self._granules = config.array.granules
        self._depth = config.memory.column_granules
        granules = range(self._depth)
        super().__init__(
            {
                "start": In(1),  # at column 0, one cycle before the first word of a strip
                "base": In(granules),  # of column c, c cycles after `start`
                # At column 0, of each granule of the step.
                "offsets": In(data.ArrayLayout(exact_log2(self._depth), self._granules)),
                "word": In(1),  # at column 0, with `offsets`; 0: the activations are zero
                "half": In(1),  # at column 0; half that is read
                "write": In(ColumnWriteSignature(config)),
                "activations": Out(data.ArrayLayout(config.array.lanes, self._columns)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        write_address, write_data, write_halves = self._staged_write(m)
        starts = hops(m, self.start, self._columns, name="start")
        offsets = hops(m, self.offsets, self._columns, name="offsets", reset_less=True)
        # The half selects between the outputs, at the end of the latency.
        half = delayed(m, self.half, self.latency - 1, name="half")
        halves = hops(m, half, self._columns, name="half")
        word = delayed(m, self.word, self.latency - 1, name="word")
        words = hops(m, word, self._columns, name="word")
        activations = data_register(m, self.activations, name="activations")

        for column in range(self._columns):
            base = Signal(range(self._depth), name=f"base_{column}", reset_less=True)
            with m.If(starts[column]):
                m.d.sync += base.eq(self.base)
            outputs = []
            for index, write_enable in enumerate(write_halves):
                enabled = Signal(name=f"write_{index}_{column}")
                m.d.sync += enabled.eq(write_enable)
                read = [base + offsets[column][granule] for granule in range(self._granules)]
                outputs.append(
                    Cat(
                        self._copy(
                            m,
                            f"{index}_{column}_{first // GRANULES}",
                            read[first : first + GRANULES],
                            (write_enable, enabled, write_address, write_data),
                        )
                        for first in range(0, self._granules, GRANULES)
                    )
                )
            m.d.sync += activations[column].eq(0)
            with m.If(words[column]):
                m.d.sync += activations[column].eq(Array(outputs)[halves[column]])
        return m

    def _copy(
        self,
        m: Module,
        name: str,
        read: list[Value],
        write: tuple[Signal, Signal, Signal, Signal],
    ) -> Value:
        """A memory of one half; returns the granules at the addresses ``read``, at most two."""
        write_enable, enabled, write_address, write_data = write
        m.submodules[f"half_{name}"] = granules = GranuleMemory(self._rows, self._depth)
        m.d.comb += granules.write.eq(enabled)
        for port in range(GRANULES):
            address = Signal(range(self._depth), name=f"address_{name}_{port}", reset_less=True)
            m.d.sync += address.eq(read[port] if port < len(read) else 0)
            with m.If(write_enable):
                m.d.sync += address.eq(Cat(Const(port, 1), write_address))
            m.d.comb += [
                granules.address[port].eq(address),
                granules.data_in[port].eq(write_data.word_select(port, self._rows)),
            ]
        return Cat(granules.data_out[port] for port in range(len(read)))

    def _staged_write(self, m: Module) -> tuple[Signal, Signal, list[Signal]]:
        """Registered write: address and enable per half, and the data one cycle after them."""
        address = Signal.like(self.write.address, name="write_address", reset_less=True)
        early_data = Signal.like(self.write.data, name="write_data_early", reset_less=True)
        late_data = Signal.like(self.write.data, name="write_data", reset_less=True)
        halves = [Signal(name=f"write_half_{index}") for index in range(2)]
        m.d.sync += [
            address.eq(self.write.address),
            early_data.eq(self.write.data),
            late_data.eq(early_data),
            halves[0].eq(self.write.enable & ~self.write.half),
            halves[1].eq(self.write.enable & self.write.half),
        ]
        return address, late_data, halves

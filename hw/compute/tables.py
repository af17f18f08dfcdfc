"""On-chip tables that the array reads from: written from outside, read without stalls."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import AcceleratorConfig
from ..delay import data_register, delayed
from ..payloads import TableWriteSignature, window_entry

__all__ = ["RowTable", "WindowTable"]


class RowTable(wiring.Component):
    """A memory per row, all read at the same address.

    Reads have a latency of ``latency`` cycles and a throughput of one per cycle: block RAMs are
    slow, so their outputs are registered before anything else. ``enable`` stops the reads in
    flight together with the entries; left alone it is 1.

    Parameters
    ----------
    depth
        Entries per row.
    width
        Bits of an entry.
    rows
        Memories.
    """

    #: Cycles from the address to the entries.
    latency = 2

    def __init__(self, *, depth: int, width: int, rows: int = 1) -> None:
        self._depth = depth
        self._width = width
        self._rows = rows
        super().__init__(
            {
                "write": In(TableWriteSignature(depth=depth, width=width, rows=rows)),
                "address": In(range(depth)),
                "enable": In(1, init=1),  # 0: hold
                "entries": Out(data.ArrayLayout(width, rows)),  # of the address, all rows
            }
        )

    def elaborate(self, platform):
        m = Module()
        entries = data_register(m, self.entries, name="entries")
        for row in range(self._rows):
            table = memory.Memory(shape=unsigned(self._width), depth=self._depth, init=[])
            m.submodules[f"row_{row}"] = table
            write, read = table.write_port(), table.read_port()
            m.d.comb += [
                write.addr.eq(self.write.address),
                write.data.eq(self.write.data),
                write.en.eq(self.write.enable & (self.write.row == row)),
                read.addr.eq(self.address),
                read.en.eq(self.enable),
            ]
            with m.If(self.enable):
                m.d.sync += entries[row].eq(read.data)
        return m


class WindowTable(wiring.Component):
    """Window table: offsets of the granules of a step, and the mask of its lanes.

    The mask is needed later than the offsets, with the activations; it has a memory and an
    address of its own.

    Parameters
    ----------
    config
        Uses the sizes of the array, the column buffers and the window table.
    """

    #: Cycles from `address` and `plane` to `offsets`.
    latency = 3
    #: Cycles from `mask_address` to `mask`.
    mask_latency = RowTable.latency

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        entries = config.memory.window_entries
        granules = range(config.memory.column_granules)
        width = window_entry(config).size
        super().__init__(
            {
                "write": In(TableWriteSignature(depth=entries, width=width)),
                "address": In(range(entries)),
                "plane": In(granules),  # with `address`; added to all offsets
                # Of each granule, from the base of a column.
                "offsets": Out(data.ArrayLayout(exact_log2(len(granules)), config.array.granules)),
                "mask_address": In(range(entries)),
                "mask": Out(config.array.lanes),  # lanes that hold a real channel
            }
        )

    def elaborate(self, platform):
        m = Module()
        entries = self._config.memory.window_entries
        lanes = self._config.array.lanes
        granules = self._config.array.granules
        width = exact_log2(self._config.memory.column_granules)
        m.submodules.offsets = offsets = RowTable(depth=entries, width=granules * width)
        m.submodules.masks = masks = RowTable(depth=entries, width=lanes)
        entry = data.View(window_entry(self._config), self.write.data)
        plane = delayed(m, self.plane, 2, name="plane", reset_less=True)
        sums = data_register(m, self.offsets, name="sums")

        m.d.comb += [
            offsets.address.eq(self.address),
            offsets.write.data.eq(Cat(entry.offsets[i][:width] for i in range(granules))),
            masks.address.eq(self.mask_address),
            masks.write.data.eq(entry.mask),
            self.mask.eq(masks.entries[0]),
        ]
        for table in (offsets, masks):
            m.d.comb += [
                table.write.enable.eq(self.write.enable),
                table.write.address.eq(self.write.address),
            ]
        m.d.sync += [
            sums[index].eq(offsets.entries[0].word_select(index, width) + plane)
            for index in range(granules)
        ]
        return m

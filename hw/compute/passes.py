"""The passes of a COMPUTE command, one after another: loops over tiles, strips and passes."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..config import AcceleratorConfig
from ..isa import Opcode, instruction_layout
from ..payloads import TableWriteSignature, pass_entry
from .tables import RowTable

__all__ = ["PassLookup", "PassLoops", "pass_request", "pass_step"]


def _place(config: AcceleratorConfig) -> dict[str, int]:
    """What a request and a step have in common: where the pass stands in the loops."""
    return {
        "coefficient": bits_for(config.memory.coefficient_words - 1),
        "half": 1,  # half of the column buffers
        "first": 1,  # first pass of a strip
        "final": 1,  # last pass of a strip that is not partial: its sums leave
        "tile": 1,  # first strip of a tile
        "end": 1,  # last pass of the command
        "columns": bits_for(config.array.columns),  # columns of the strip that hold a pixel
    }


def pass_request(config: AcceleratorConfig) -> data.StructLayout:
    """One pass over one strip, before the look-up in the pass table."""
    memory = config.memory
    return data.StructLayout(
        {
            "entry": bits_for(memory.pass_entries - 1),  # of the pass table
            "base": bits_for(memory.weight_words - 1),  # first weight word of the tile
            "place": data.StructLayout(_place(config)),
        }
    )


def pass_step(config: AcceleratorConfig) -> data.StructLayout:
    """One pass over one strip, ready to be issued."""
    memory = config.memory
    return data.StructLayout(
        {
            "window": bits_for(memory.window_entries - 1),  # first window table entry
            "length": bits_for(memory.window_entries),  # words, at least 1
            "plane": bits_for(memory.column_granules - 1),  # granules added to both offsets
            "weight": bits_for(memory.weight_words - 1),  # weight word of the first step
            "place": data.StructLayout(_place(config)),
        }
    )


class PassLoops(wiring.Component):
    """Loops of a command: tiles outermost, then strips of ``columns`` pixels, then passes.

    One pass per cycle, the first one in the cycle after the command was taken. Counts of zero are
    not allowed. ``order`` stays that of the command in hand until the next one is taken, and this
    is only after ``release``.

    Parameters
    ----------
    config
        Uses the sizes of the array and of the tables.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        layout = instruction_layout(Opcode.COMPUTE)
        super().__init__(
            {
                "command": In(stream.Signature(layout)),
                "release": In(1),  # nothing needs `order` any more: take the next command
                "order": Out(layout),  # the command in hand
                "active": Out(1),  # a command is in hand
                "o": Out(stream.Signature(pass_request(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        columns = self._config.array.columns
        order, request = self.order, self.o.payload
        passes_left, tiles_left = Signal.like(order.passes), Signal.like(order.tiles)
        # Pixels after the first one of the strip.
        pixels_beyond = Signal.like(order.pixels)
        tile_coefficient = Signal.like(request.place.coefficient)
        last_pass, last_strip, last_tile = Signal(), Signal(), Signal()
        place = request.place

        m.d.comb += [
            self.command.ready.eq(~self.active),
            last_pass.eq(passes_left == 1),
            last_strip.eq(pixels_beyond < columns),
            last_tile.eq(tiles_left == 1),
            place.half.eq(order.half),
            place.final.eq(last_pass & ~order.partial),
            place.end.eq(last_pass & last_strip & last_tile),
            place.columns.eq(Mux(last_strip, pixels_beyond + 1, columns)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                place.first.eq(last_pass),
                request.entry.eq(request.entry + 1),
                place.coefficient.eq(place.coefficient + 1),
                passes_left.eq(passes_left - 1),
            ]
            with m.If(last_pass):
                m.d.sync += [
                    place.tile.eq(last_strip),
                    request.entry.eq(order.pass_first),
                    passes_left.eq(order.passes),
                    pixels_beyond.eq(pixels_beyond - columns),
                    place.coefficient.eq(tile_coefficient),
                ]
            with m.If(last_pass & last_strip):
                m.d.sync += [
                    request.base.eq(request.base + order.weight_stride),
                    pixels_beyond.eq(order.pixels - 1),
                    place.coefficient.eq(place.coefficient + 1),
                    tile_coefficient.eq(place.coefficient + 1),
                    tiles_left.eq(tiles_left - 1),
                    self.o.valid.eq(~last_tile),
                ]
        with m.If(self.release):
            m.d.sync += self.active.eq(0)
        with m.If(self.command.valid & self.command.ready):
            command = self.command.payload
            m.d.sync += [
                order.eq(command),
                self.active.eq(1),
                self.o.valid.eq(1),
                place.first.eq(1),
                place.tile.eq(1),
                request.entry.eq(command.pass_first),
                request.base.eq(command.weight_base),
                passes_left.eq(command.passes),
                pixels_beyond.eq(command.pixels - 1),
                tiles_left.eq(command.tiles),
                place.coefficient.eq(command.coefficient_base),
                tile_coefficient.eq(command.coefficient_base),
            ]
        return m


class PassLookup(wiring.Component):
    """Pass table: completes a pass by its entry, ``latency`` cycles later, one pass per cycle.

    The stages move together, when the output is empty or taken.

    Parameters
    ----------
    config
        Uses the sizes of the array and of the tables.
    """

    #: Cycles from a request to its step.
    latency = RowTable.latency + 1

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        width = pass_entry().size
        super().__init__(
            {
                "write": In(TableWriteSignature(depth=config.memory.pass_entries, width=width)),
                "requests": In(stream.Signature(pass_request(config))),
                "o": Out(stream.Signature(pass_step(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = self.o.payload
        # The table keeps only the bits that the memories behind it can use.
        fields = {name: len(step[name]) for name in ("window", "length", "plane", "weight")}
        stored = data.StructLayout(fields)
        m.submodules.table = table = RowTable(
            depth=self._config.memory.pass_entries, width=stored.size
        )
        entry = data.View(stored, table.entries[0])
        written = data.View(pass_entry(), self.write.data)
        advance = Signal()
        valid = [Signal(name=f"valid_{stage}") for stage in range(RowTable.latency)]
        requests = [
            Signal(self.requests.payload.shape(), name=f"request_{stage}", reset_less=True)
            for stage in range(RowTable.latency)
        ]

        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.requests.ready.eq(advance),
            table.write.enable.eq(self.write.enable),
            table.write.address.eq(self.write.address),
            table.write.data.eq(Cat(written[name][:width] for name, width in fields.items())),
            table.address.eq(self.requests.payload.entry),
            table.enable.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += [
                Cat(valid, self.o.valid).eq(Cat(self.requests.valid, valid)),
                requests[0].eq(self.requests.payload),
                *(new.eq(old) for new, old in zip(requests[1:], requests, strict=False)),
                step.window.eq(entry.window),
                step.length.eq(entry.length),
                step.plane.eq(entry.plane),
                step.weight.eq(requests[-1].base + entry.weight),
                step.place.eq(requests[-1].place),
            ]
        return m

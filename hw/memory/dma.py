"""The DMA engine: external memory to on-chip memories, and results back."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.isa import DmaTarget, Opcode, instruction_layout
from hw.memory.activation import activation_item
from hw.memory.packing import EntryFormat, entry_formats
from hw.memory.store import ActivationStore
from hw.memory.unpacker import EntryUnpacker
from hw.memory.vector_store import VectorStore
from hw.payloads import (
    MemoryPortSignature,
    TableWriteSignature,
    stream_item,
    threshold_group,
    window_entry,
)
from hw.stream import connect_checked

__all__ = ["DmaEngine"]

BURST_WORDS = 256
"""Longest burst: others wait for the port at most so long. A page of the SDRAM."""
BURST_BITS = exact_log2(BURST_WORDS)
WORDS_WIDTH = 25


class DmaEngine(wiring.Component):
    """Executes DMA commands one at a time.

    Loads take one cycle per external word or per entry, whichever are more, plus what the memory
    and other users of its port take. Table writes leave from registers. ``done`` comes when the
    last word is written (a table write leaves one cycle before).

    A rectangle of a tensor is one command of several runs: on chip they lie one behind the other,
    outside ``run_stride`` apart in rows that are ``row_stride`` apart. A run begins like a command
    that is accepted in the cycle in which the last word of the run before moves.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._formats = formats = entry_formats(config)
        coefficient = config.datapath.coefficient_width
        self._has_streams = DmaTarget.STREAMS in formats
        self._widths = {
            DmaTarget.WEIGHTS: config.array.lanes,
            DmaTarget.COEFFICIENTS: coefficient,
            DmaTarget.PARAMETERS: 32,
            DmaTarget.WINDOWS: window_entry(config).size,
            DmaTarget.PASSES: 64,
            DmaTarget.THRESHOLDS: threshold_group(config).size,
        }
        tables = {
            # One table port per target, called like the target.
            target.name.lower(): Out(
                TableWriteSignature(
                    depth=formats[target].depth, width=width, rows=formats[target].rows
                )
            )
            for target, width in self._widths.items()
        }
        streams = {
            # Stream memory and spilled vectors, see `StreamSpill`.
            "stream_write": Out(stream.Signature(stream_item(config))),
            "spill_read": Out(range(max(2, config.memory.spill_vectors))),
            "spill_data": In(config.array.rows * config.datapath.stream_width),
        }
        super().__init__(
            {
                # One at a time.
                "command": In(stream.Signature(instruction_layout(Opcode.DMA))),
                # One cycle: the command is complete.
                "done": Out(1),
                # A command is executed.
                "busy": Out(1),
                # One cycle: an entry beyond an on-chip memory; its write is dropped.
                "bad_address": Out(1),
                # External memory.
                "memory": Out(MemoryPortSignature()),
                # Activation memory, see `ActivationMemory`.
                "activation_write": Out(stream.Signature(activation_item(config))),
                "activation_read": Out(
                    stream.Signature(unsigned(exact_log2(config.memory.activation_words)))
                ),
                "activation_data": In(config.array.word_width),
                **tables,
                **(streams if self._has_streams else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = Signal(instruction_layout(Opcode.DMA))
        start = Signal()
        m.submodules.unpacker = unpacker = EntryUnpacker(self._formats)
        m.submodules.store = store = ActivationStore(self._config)
        connect_checked(m, unpacker.words, wiring.flipped(self.memory.read_data))
        connect_checked(m, store.read, wiring.flipped(self.activation_read))
        m.d.comb += [
            unpacker.start.eq(start),
            unpacker.target.eq(command.target),
            store.start.eq(start & command.store & (command.target == DmaTarget.ACTIVATIONS)),
            store.address.eq(command.address),
            store.count.eq(command.count),
            store.data.eq(self.activation_data),
        ]
        outside = Signal()
        loaded = self._write_entries(m, command, start, unpacker, outside)
        stored, bad_store = store.done, store.bad_address
        if self._has_streams:
            vectors = self._store_vectors(m, command, start, store)
            stored, bad_store = stored | vectors.done, bad_store | vectors.bad_address
        else:
            connect_checked(m, store.words, wiring.flipped(self.memory.write_data))
        self._sequence(m, command, start, loaded | stored)
        self._request_bursts(m, command, start)
        m.d.sync += self.bad_address.eq(bad_store | outside)
        return m

    def _store_vectors(
        self, m: Module, command: Signal, start: Signal, store: ActivationStore
    ) -> VectorStore:
        """The other source of words; only one of them works at a time."""
        m.submodules.vectors = vectors = VectorStore(self._config)
        words = self.memory.write_data
        m.d.comb += [
            vectors.start.eq(start & command.store & (command.target == DmaTarget.STREAMS)),
            vectors.address.eq(command.address),
            vectors.count.eq(command.count),
            vectors.data.eq(self.spill_data),
            self.spill_read.eq(vectors.read),
            words.valid.eq(store.words.valid | vectors.words.valid),
            words.payload.eq(Mux(store.words.valid, store.words.payload, vectors.words.payload)),
            store.words.ready.eq(words.ready),
            vectors.words.ready.eq(words.ready),
        ]
        return vectors

    def _sequence(self, m: Module, command: Signal, start: Signal, finished: Value) -> None:
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.busy.eq(0), self.command.ready.eq(1)]
                m.d.sync += command.eq(self.command.payload)
                with m.If(self.command.valid):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += start.eq(command.count != 0)
                with m.If(command.count == 0):
                    m.next = "DONE"
                with m.Else():
                    m.next = "RUN"
            with m.State("RUN"), m.If(finished):
                m.next = "DONE"
                self._next_run(m, command)
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"

    def _next_run(self, m: Module, command: Signal) -> None:
        """Turn ``command`` into its next run, if there is one."""
        row = Signal(24)
        runs_left = Signal.like(command.runs)
        is_first = Signal(init=1)
        first_of_row = Mux(is_first, command.external, row)
        left = Mux(is_first, command.runs, runs_left)
        with m.If((left != 0) | (command.rows != 0)):
            m.next = "START"
            m.d.sync += [
                is_first.eq(0),
                row.eq(first_of_row),
                command.address.eq(command.address + command.count),
            ]
            with m.If(left != 0):
                m.d.sync += [
                    runs_left.eq(left - 1),
                    command.external.eq(command.external + command.run_stride),
                ]
            with m.Else():
                next_row = first_of_row + command.row_stride
                m.d.sync += [
                    row.eq(next_row),
                    command.external.eq(next_row),
                    runs_left.eq(command.runs),
                    command.rows.eq(command.rows - 1),
                ]
        with m.Else():
            m.d.sync += is_first.eq(1)

    def _request_bursts(self, m: Module, command: Signal, start: Signal) -> None:
        """Cut the words of the command into bursts, two cycles each."""
        requests = self.memory.requests
        request = requests.payload
        left = Signal(WORDS_WIDTH)
        address = Signal(24)
        sizing = Signal()
        long_burst = left >= BURST_WORDS

        m.d.sync += sizing.eq(start)
        with m.If(start):
            m.d.sync += [left.eq(self._words_of(m, command)), address.eq(command.external)]
        with m.If(sizing & (left != 0)):
            m.d.sync += [
                requests.valid.eq(1),
                request.address.eq(address),
                request.length.eq(Mux(long_burst, BURST_WORDS, left[:BURST_BITS])),
                request.write.eq(command.store),
            ]
        with m.If(requests.valid & requests.ready):
            m.d.sync += [
                requests.valid.eq(0),
                left.eq(left - request.length[: BURST_BITS + 1]),
                address.eq(address + request.length[: BURST_BITS + 1]),
                sizing.eq(1),
            ]

    def _words_of(self, m: Module, command: Signal) -> Value:
        """External words of the command; one cycle after the command."""
        words = Signal(WORDS_WIDTH)
        with m.Switch(command.target):
            for target, form in self._formats.items():
                with m.Case(target):
                    m.d.comb += words.eq(words_of(form, command.count))
        return words

    def _write_entries(
        self,
        m: Module,
        command: Signal,
        start: Signal,
        unpacker: EntryUnpacker,
        outside: Signal,
    ) -> Value:
        """Entries to their targets; returns whether this cycle writes the last one."""
        entries = unpacker.entries
        address = Signal(17)
        row = Signal(range(self._config.array.rows))
        left = Signal(20)
        accept = Signal()
        has_rows = (command.target == DmaTarget.WEIGHTS) | (
            command.target == DmaTarget.COEFFICIENTS
        )
        inside = self._is_inside(m, command.target, address)
        is_activation = command.target == DmaTarget.ACTIVATIONS
        writes = self.activation_write
        takes = ~is_activation | writes.ready
        if self._has_streams:
            is_stream, vectors = command.target == DmaTarget.STREAMS, self.stream_write
            takes = takes & (~is_stream | vectors.ready)
            m.d.comb += [
                vectors.valid.eq(entries.valid & is_stream & (left != 0) & inside),
                vectors.payload.address.eq(address),
                vectors.payload.data.eq(self._entry(unpacker, DmaTarget.STREAMS)),
            ]

        m.d.comb += [
            entries.ready.eq((left != 0) & (takes | ~inside)),
            accept.eq(entries.valid & entries.ready),
            outside.eq(accept & ~inside),
            writes.valid.eq(entries.valid & is_activation & (left != 0) & inside),
            writes.payload.address.eq(address),
            writes.payload.data.eq(self._entry(unpacker, DmaTarget.ACTIVATIONS)),
        ]
        with m.If(start):
            m.d.sync += [
                address.eq(command.address),
                row.eq(0),
                left.eq(Mux(command.store, 0, command.count)),
            ]
        with m.Elif(accept):
            m.d.sync += [row.eq(row + 1), left.eq(left - 1)]
            with m.If(~has_rows | row.all()):
                m.d.sync += address.eq(address + 1)
        for target in self._widths:
            table = getattr(self, target.name.lower())
            m.d.sync += [
                table.enable.eq(accept & inside & (command.target == target)),
                table.row.eq(row),
                table.address.eq(address),
                table.data.eq(self._entry(unpacker, target)),
            ]
        return accept & (left == 1)

    def _is_inside(self, m: Module, target: Value, address: Value) -> Signal:
        inside = Signal()
        with m.Switch(target):
            for name, form in self._formats.items():
                with m.Case(name):
                    m.d.comb += inside.eq(address[exact_log2(form.depth) :] == 0)
        return inside

    def _entry(self, unpacker: EntryUnpacker, target: DmaTarget) -> Value:
        """The entry of ``target`` without the padding of its external form."""
        bits = unpacker.entry(target)
        if target == DmaTarget.PASSES:
            return bits
        if target == DmaTarget.THRESHOLDS:
            part = threshold_group(self._config).elem_shape
            return Cat(
                bits.word_select(comparator, 64)[: part.size]
                for comparator in range(self._config.datapath.comparators)
            )
        if target == DmaTarget.STREAMS:
            return bits[: self._config.array.rows * self._config.datapath.stream_width]
        return bits[: self._widths.get(target, self._config.array.word_width)]


def words_of(form: EntryFormat, count: Value) -> Value:
    """``form.words_of`` in gateware: shifts and additions of a constant, no multiplier."""
    terms = [count << bit for bit in range(form.words.bit_length()) if form.words >> bit & 1]
    parts = sum(terms[1:], start=terms[0])
    return (parts + (form.entries - 1)) >> exact_log2(form.entries)

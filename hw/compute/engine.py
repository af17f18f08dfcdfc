"""The compute engine: COMPUTE commands in, vectors of accumulators out."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import AcceleratorConfig
from ..delay import delayed
from ..isa import Opcode, instruction_layout
from ..payloads import (
    ColumnWriteSignature,
    TableWriteSignature,
    accumulator_vector,
    pass_entry,
    window_entry,
)
from .array import ProcessingArray
from .column import ColumnBuffers
from .drain import Drain
from .passes import PassLookup, PassLoops
from .pixels import PixelCounters, pixel_order
from .sequencer import Sequencer
from .tables import RowTable, WindowTable
from .timing import ComputeTiming
from .vector_queue import VectorQueue

__all__ = ["ComputeEngine"]


class ComputeEngine(wiring.Component):
    """Column buffers, array and drain, driven by COMPUTE commands.

    ::

        command ─> loops ─> pass table ─> sequencer ─┬─> window table ─> column buffers ─┐
                                                     ├─> pixel counters ──┘              v
                                                     ├─> weights, mask ─────────────> array
                                                     └─> coefficients ───> drain <───────┘
                                                                             └─> queue ─> vectors

    All that belongs to a word is timed from the cycle in which ``Sequencer.step`` has it; delays
    are sums of the latencies of the blocks. Nothing behind the sequencer ever waits.

    A strip takes ``max(columns, sum over its passes of max(length, drain_period))`` cycles, the
    next one follows at once. A command is taken when the passes of the one before have all
    begun; if the last pass has at least 7 words, no cycle is lost between commands. The first
    vector of a strip is offered ``timing.vector_latency`` cycles after its last word, the others
    follow in every cycle.

    Parameters
    ----------
    config
        The accelerator's configuration.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        array, memory = config.array, config.memory
        self._array = ProcessingArray(array)
        #: Latencies.
        self.timing = ComputeTiming(array)
        windows = {"depth": memory.window_entries, "width": window_entry(config).size}
        passes = {"depth": memory.pass_entries, "width": pass_entry().size}
        super().__init__(
            {
                "command": In(stream.Signature(instruction_layout(Opcode.COMPUTE))),
                "done": Out(1),  # a command has read the column buffers for the last time
                "weights": In(TableWriteSignature(**self._weight_table())),
                "coefficients": In(TableWriteSignature(**self._coefficient_table())),
                "windows": In(TableWriteSignature(**windows)),
                "passes": In(TableWriteSignature(**passes)),
                "columns": In(ColumnWriteSignature(config)),  # not to the half that is read
                "vectors": Out(stream.Signature(accumulator_vector(config))),
                "busy": Out(1),  # a command or vectors of one are on their way to the queue
                "idle": Out(1),  # not busy, and no vector waits
                "array_busy": Out(1),  # a word enters the array
                "wait_drain": Out(1),  # a word waits for its distance from an earlier one
                "wait_post": Out(1),  # a word waits for room in the queue
            }
        )

    def _weight_table(self) -> dict[str, int]:
        array, memory = self._config.array, self._config.memory
        return {"depth": memory.weight_words, "width": array.lanes, "rows": array.rows}

    def _coefficient_table(self) -> dict[str, int]:
        return {
            "depth": self._config.memory.coefficient_words,
            "width": self._config.datapath.coefficient_width,
            "rows": self._config.array.rows,
        }

    def elaborate(self, platform):
        m = Module()
        config = self._config
        depth = self.timing.queue_depth
        m.submodules.loops = loops = PassLoops(config)
        m.submodules.lookup = lookup = PassLookup(config)
        m.submodules.sequencer = sequencer = Sequencer(config, queue_depth=depth)
        m.submodules.array = array = self._array
        m.submodules.queue = queue = VectorQueue(accumulator_vector(config), depth=depth)
        step = sequencer.step

        wiring.connect(m, wiring.flipped(self.command), loops.command)
        wiring.connect(m, loops.o, lookup.requests)
        wiring.connect(m, wiring.flipped(self.passes), lookup.write)
        wiring.connect(m, lookup.o, sequencer.passes)
        wiring.connect(m, queue.o, wiring.flipped(self.vectors))
        m.d.comb += loops.release.eq(step.release)

        self._read_columns(m, step, loops.order, array)
        self._read_weights(m, step, array)
        vector = self._drain(m, step, array)
        m.d.comb += [
            queue.write.eq(delayed(m, sequencer.emit, self.timing.vector_delay, name="emit")),
            queue.data.eq(vector),
            self.done.eq(delayed(m, step.done, self.timing.done_latency, name="done")),
            self.array_busy.eq(step.valid),
            self.busy.eq(loops.active | sequencer.active | self._in_flight(m, step.valid)),
            self.idle.eq(~self.busy & queue.empty),
        ]
        m.d.sync += [
            # A register between the post engine's decision and the array's.
            sequencer.popped.eq(queue.popped),
            self.wait_drain.eq(sequencer.wait_drain),
            self.wait_post.eq(sequencer.wait_post),
        ]
        return m

    def _read_columns(
        self, m: Module, step: data.View, order: data.View, array: ProcessingArray
    ) -> None:
        """Window table, mask and column buffers, up to the operands of the array."""
        config = self._config
        m.submodules.windows = windows = WindowTable(config)
        m.submodules.pixels = pixels = PixelCounters(
            depth=config.memory.column_granules, columns=config.array.columns
        )
        m.submodules.buffers = buffers = ColumnBuffers(config)
        wiring.connect(m, wiring.flipped(self.windows), windows.write)
        wiring.connect(m, wiring.flipped(self.columns), buffers.write)

        # A strip's bases are needed one cycle before its first offsets.
        base_delay = WindowTable.latency - 1
        counter_delay = base_delay - PixelCounters.latency
        mask_delay = self.timing.operand_delay - WindowTable.mask_latency
        m.d.comb += [
            windows.address.eq(step.window),
            windows.plane.eq(step.plane),
            windows.mask_address.eq(
                delayed(m, step.window, mask_delay, name="window", reset_less=True)
            ),
            pixels.start.eq(delayed(m, step.start, counter_delay, name="start")),
            pixels.restart.eq(delayed(m, step.tile, counter_delay, name="tile")),
            *(pixels.order[name].eq(order[name]) for name, _ in pixel_order()),
            buffers.start.eq(delayed(m, step.start, base_delay, name="start")),
            buffers.base.eq(pixels.base),
            buffers.offsets.eq(windows.offsets),
            buffers.word.eq(delayed(m, step.valid, WindowTable.latency, name="valid")),
            buffers.half.eq(delayed(m, step.half, WindowTable.latency, name="half")),
            array.mask.eq(windows.mask),
            array.activations.eq(buffers.activations),
        ]

    def _read_weights(self, m: Module, step: data.View, array: ProcessingArray) -> None:
        """Weights, and the control of the array."""
        m.submodules.weights = weights = RowTable(**self._weight_table())
        wiring.connect(m, wiring.flipped(self.weights), weights.write)
        address_delay = self.timing.operand_delay - RowTable.latency
        control_delay = self.timing.operand_delay + array.count_latency
        m.d.comb += [
            weights.address.eq(
                delayed(m, step.weight, address_delay, name="weight", reset_less=True)
            ),
            array.weights.eq(weights.entries),
            array.last.eq(delayed(m, step.last, control_delay, name="last", init=1)),
        ]

    def _drain(self, m: Module, step: data.View, array: ProcessingArray) -> data.View:
        """Counts and coefficients to vectors."""
        m.submodules.coefficients = coefficients = RowTable(**self._coefficient_table())
        m.submodules.drain = drain = Drain(self._config)
        wiring.connect(m, wiring.flipped(self.coefficients), coefficients.write)
        # The address is held until the next pass: a pass is drained for several cycles.
        address_delay = self.timing.count_delay + Drain.coefficient_delay - RowTable.latency
        address = delayed(
            m, step.coefficient, address_delay - 1, name="coefficient", reset_less=True
        )
        with m.If(delayed(m, step.last, address_delay - 1, name="last")):
            m.d.sync += coefficients.address.eq(address)
        m.d.comb += [
            drain.counts.eq(array.counts),
            drain.ones.eq(array.ones),
            # 1 after a reset for long enough to clear the accumulators of all columns.
            drain.last.eq(delayed(m, step.last, self.timing.count_delay, name="last", init=1)),
            drain.final.eq(delayed(m, step.final, self.timing.count_delay, name="final", init=1)),
            drain.coefficients.eq(coefficients.entries),
        ]
        return drain.vector

    def _in_flight(self, m: Module, word: Signal) -> Value:
        """1 from a word until its vectors are in the queue."""
        cycles = self.timing.flight_cycles
        left = Signal(range(cycles + 1), name="in_flight")
        with m.If(word):
            m.d.sync += left.eq(cycles)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return word | (left != 0)

"""Post engine: everything between the accumulators and the activation memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from ..config import AcceleratorConfig
from ..isa import INSTRUCTION_WIDTH, OutputKind
from ..payloads import (
    ActivationWriteSignature,
    TableWriteSignature,
    TraceSignature,
    accumulator_vector,
    stream_item,
    threshold_group,
)
from ..stream import connect_checked
from .affine import Affine
from .pack import Pack, RawWriter
from .parameters import ParameterChain
from .pool import Pool
from .requantize import Requantize
from .residual import Residual
from .sequencer import Sequencer
from .serialize import FixedPoint, Serializer
from .stream_memory import StreamMemory
from .stream_spill import StreamSpill
from .stream_store import StreamStore
from .thresholds import ThresholdReader

__all__ = ["PostEngine"]


class PostEngine(wiring.Component):
    """Executes POST instructions: bias, residual, stream value, affine, pool, output.

    ::

        vectors -> Sequencer -> Residual -+-> StreamStore -> Affine -> Pool -+-> Requantize -> Pack
                      |            ^      |        |           ^             |                  ^
                 ParameterChain    |      +--------|-----------+             +-> Serializer ----+
                                 StreamMemory <----+                             -> FixedPoint -+

    The sequencer issues vectors at a pace that all blocks behind it can keep, so nothing there
    stalls. Throughput is one vector per cycle if the output is NONE, or CODES with one threshold
    group and at most two planes; see :class:`Sequencer` for the rest. A change of tile costs
    nothing if the tile before has at least ``tile_cycles`` vectors. Addresses out of range of a
    memory wrap; all counts must be at least 1.

    Parameters
    ----------
    config
        Accelerator configuration.

    Members
    -------
    command : In(stream.Signature(256))
        POST_CONFIG and POST instructions, executed in order. The command after the current POST
        should be offered early: its parameters are fetched while it waits.
    done : Out(1)
        One cycle per command, in order, when all its writes have landed.
    busy : Out(1)
        A command is executed or offered.
    vectors : In(stream.Signature(accumulator_vector(config)))
        Accumulators of one pixel and tile.
    parameters : In(TableWriteSignature(...))
        Loads the parameter memory.
    thresholds : In(TableWriteSignature(...))
        Loads the threshold memory.
    activation_write : Out(ActivationWriteSignature(config))
        Output.
    stream_load : In(stream.Signature(stream_item(config)))
        Vectors for the stream memory, see ``StreamSpill``; like the following, if streams are
        spilled.
    spill_address, spill_data : In(range(spill_vectors)), Out(rows * stream_width)
        Spilled vectors.
    trace : Out(TraceSignature(config))
        What happens, for co-verification. Accumulators include the bias.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        memories = config.memory
        spill = {
            "stream_load": In(stream.Signature(stream_item(config))),
            "spill_address": In(range(max(2, memories.spill_vectors))),
            "spill_data": Out(config.array.rows * config.datapath.stream_width),
        }
        super().__init__(
            {
                "command": In(stream.Signature(INSTRUCTION_WIDTH)),
                "done": Out(1),
                "busy": Out(1),
                "vectors": In(stream.Signature(accumulator_vector(config))),
                "parameters": In(TableWriteSignature(depth=memories.parameter_words, width=32)),
                "thresholds": In(
                    TableWriteSignature(
                        depth=memories.threshold_groups, width=threshold_group(config).size
                    )
                ),
                "activation_write": Out(ActivationWriteSignature(config)),
                "trace": Out(TraceSignature(config)),
                **(spill if memories.spill_vectors else {}),
            }
        )

    DONE_LATENCY = 2
    """Cycles from the last word of a command to ``done``."""

    @staticmethod
    def latency(*, affine: bool) -> int:
        """Cycles from a vector to its word, for CODES with one threshold group."""
        route = StreamStore.LATENCY + Affine.LATENCY if affine else Affine.DIRECT_LATENCY
        codes = Pool.LATENCY + Requantize.LATENCY + 1
        return Residual.LATENCY + route + codes + Pack.LATENCY

    @staticmethod
    def tile_cycles(config: AcceleratorConfig) -> int:
        """Fewest vectors of a tile that hide the fetch of the next tile's parameters."""
        route = Residual.LATENCY + StreamStore.LATENCY + Affine.LATENCY
        return route + ParameterChain.fetch_cycles(config.array.rows)

    def elaborate(self, platform) -> Module:
        m = Module()
        config, path = self.config, self.config.datapath
        rows, width, planes = config.array.rows, path.accumulator_width, path.planes_maximum
        depth = config.memory.stream_vectors
        item_cycles = RawWriter.item_cycles(config)
        group = threshold_group(config)
        streams = {"rows": rows, "width": width, "stream_width": path.stream_width}

        m.submodules.sequencer = Sequencer(config, serial_cycles=rows * item_cycles)
        m.submodules.chain = ParameterChain(depth=config.memory.parameter_words, rows=rows)
        m.submodules.memory = StreamMemory(depth=depth, width=path.stream_width, rows=rows)
        m.submodules.residual = Residual(**streams)
        m.submodules.store = StreamStore(**streams, depth=config.memory.stream_places)
        m.submodules.affine = Affine(**streams, gain_width=path.coefficient_width)
        m.submodules.pool = Pool(rows=rows, width=width)
        m.submodules.reader = ThresholdReader(depth=config.memory.threshold_groups, shape=group)
        m.submodules.requantize = Requantize(rows=rows, width=width, planes=planes, group=group)
        m.submodules.serializer = Serializer(rows=rows, width=width, item_cycles=item_cycles)
        m.submodules.fixed = FixedPoint(rows=rows, width=width, planes=planes)
        m.submodules.pack = Pack(config)
        self._connect_control(m)
        self._connect_parameters(m)
        self._connect_vectors(m)
        self._connect_outputs(m)
        self._connect_trace(m)
        return m

    def _connect_control(self, m: Module) -> None:
        sequencer, pooled = m.submodules.sequencer, m.submodules.pool.o
        connect_checked(m, flipped(self.command), sequencer.command)
        connect_checked(m, flipped(self.vectors), sequencer.vectors)
        m.d.comb += [
            sequencer.stored.eq(m.submodules.store.finished),
            sequencer.written.eq(
                Mux(
                    sequencer.settings.output == OutputKind.NONE,
                    pooled.valid & pooled.payload.position.last,
                    m.submodules.pack.finished,
                )
            ),
            self.done.eq(sequencer.done),
            self.busy.eq(sequencer.busy),
        ]

    def _connect_parameters(self, m: Module) -> None:
        """The parameter chain and the copies that the blocks take from it."""
        sequencer, chain = m.submodules.sequencer, m.submodules.chain
        affine, pool = m.submodules.affine, m.submodules.pool
        connect_checked(m, flipped(self.parameters), chain.write)
        connect_checked(m, sequencer.requests, chain.requests)
        m.d.comb += [
            sequencer.parameters_available.eq(chain.available),
            chain.claim.eq(sequencer.parameters_claim),
            # The pool is the last block that copies parameters.
            chain.release.eq(pool.i.valid & pool.i.payload.position.tile_first),
        ]
        for row, parameters in enumerate(chain.next):
            m.d.comb += [
                m.submodules.residual.bias[row].eq(parameters.bias),
                affine.gain[row].eq(parameters.gain),
                affine.offset[row].eq(parameters.offset),
                pool.minimum[row].eq(parameters.minimum),
            ]

    def _connect_vectors(self, m: Module) -> None:
        """From the array to the values that are output."""
        sequencer, store = m.submodules.sequencer, m.submodules.store
        residual, affine, pool = m.submodules.residual, m.submodules.affine, m.submodules.pool
        memory = m.submodules.memory
        settings, post = sequencer.settings, sequencer.post
        connect_checked(m, sequencer.o, residual.i)
        connect_checked(m, residual.o, store.i)
        self._connect_stream_writes(m)
        connect_checked(m, store.o, affine.i)
        connect_checked(m, affine.o, pool.i)
        m.d.comb += [
            memory.address.eq(sequencer.residual_address),
            residual.residuals.eq(memory.data),
            residual.array.eq(settings.array),
            residual.mode.eq(settings.residual),
            residual.shift.eq(settings.residual_shift),
            store.relu.eq(settings.relu_stream),
            store.shift.eq(settings.stream_shift),
            store.store.eq(settings.store_stream),
            store.start.eq(sequencer.start),
            store.base.eq(post.stream_base),
            store.stride_outer_x.eq(settings.stream_outer_x),
            store.stride_outer_y.eq(settings.stream_outer_y),
            affine.direct.valid.eq(residual.o.valid),
            affine.direct.payload.eq(residual.o.payload),
            affine.affine.eq(settings.affine),
            affine.relu.eq(settings.relu),
            affine.relu_direct.eq(settings.relu_stream),
            pool.operation.eq(settings.pool),
        ]

    def _connect_stream_writes(self, m: Module) -> None:
        store, memory = m.submodules.store, m.submodules.memory
        if not self.config.memory.spill_vectors:
            connect_checked(m, store.write, memory.write)
            return
        m.submodules.spill = spill = StreamSpill(self.config)
        connect_checked(m, store.write, spill.store)
        connect_checked(m, spill.memory, memory.write)
        connect_checked(m, flipped(self.stream_load), spill.load)
        m.d.comb += [
            spill.address.eq(self.spill_address),
            self.spill_data.eq(spill.data),
        ]

    def _connect_outputs(self, m: Module) -> None:
        """From the values to the activation memory, by one of the three kinds of output."""
        sequencer, pack = m.submodules.sequencer, m.submodules.pack
        settings, post, pooled = sequencer.settings, sequencer.post, m.submodules.pool.o
        reader, requantize = m.submodules.reader, m.submodules.requantize
        serializer, fixed = m.submodules.serializer, m.submodules.fixed
        kind = {name: Signal(name=f"is_{name.name.lower()}") for name in OutputKind}
        for name, flag in kind.items():
            m.d.comb += flag.eq(settings.output == name)
        connect_checked(m, flipped(self.thresholds), reader.write)
        connect_checked(m, requantize.o, pack.codes)
        connect_checked(m, fixed.o, pack.fixed)
        connect_checked(m, pack.write, flipped(self.activation_write))
        for consumer in (requantize.i, serializer.i):
            m.d.comb += [consumer.valid.eq(pooled.valid), consumer.payload.eq(pooled.payload)]
        for consumer in (fixed.i, pack.items):
            m.d.comb += [
                consumer.valid.eq(serializer.o.valid),
                consumer.payload.eq(serializer.o.payload),
            ]
        m.d.comb += [
            reader.start.eq(sequencer.start),
            reader.base.eq(settings.threshold_base),
            reader.groups.eq(settings.threshold_groups),
            reader.advance.eq(requantize.advance),
            requantize.group.eq(reader.group),
            requantize.enable.eq(kind[OutputKind.CODES]),
            requantize.groups.eq(settings.threshold_groups),
            requantize.initial.eq(settings.code_initial),
            serializer.enable.eq(kind[OutputKind.FIXED] | kind[OutputKind.RAW]),
            fixed.enable.eq(kind[OutputKind.FIXED]),
            fixed.shift.eq(settings.output_shift),
            fixed.bits.eq(settings.output_bits),
            pack.raw.eq(kind[OutputKind.RAW]),
            pack.planes.eq(settings.planes),
            pack.start.eq(sequencer.start),
            pack.base.eq(post.code_base),
            pack.stride_outer_x.eq(settings.code_outer_x),
            pack.stride_outer_y.eq(settings.code_outer_y),
            pack.stride_tile.eq(settings.code_tile),
        ]

    def _connect_trace(self, m: Module) -> None:
        """Taps of existing registers: nothing is left of it if the trace is not connected."""
        trace, write = self.trace, self.activation_write
        biased, stored = m.submodules.residual.biased, m.submodules.store.write
        m.d.comb += [
            trace.layer.eq(m.submodules.sequencer.post.layer),
            trace.accumulator_valid.eq(biased.valid),
            trace.accumulator.eq(biased.payload),
            trace.stream_valid.eq(stored.enable),
            trace.stream_address.eq(stored.address),
            trace.stream.eq(stored.data),
            trace.activation_enable.eq(write.enable),
            trace.activation_address.eq(write.address),
            trace.activation.eq(write.data),
        ]

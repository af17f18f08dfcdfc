"""Sequencer: takes commands and lets vectors into the post engine, at a pace it can keep."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import AcceleratorConfig
from ..isa import (
    INSTRUCTION_WIDTH,
    Opcode,
    OutputKind,
    PoolOperation,
    ResidualMode,
    instruction_layout,
)
from ..payloads import accumulator_vector
from .counters import NestedCounter, StridedAddress
from .parameters import parameter_request
from .position import positioned_stream

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Executes commands one after the other by issuing their vectors.

    The blocks behind the sequencer never stall. Instead, vectors that end a window (or any vector
    outside of windows) are issued at least ``pace`` cycles apart, which is the time that the
    output of the command takes: the number of threshold groups or half the planes for CODES,
    ``serial_cycles`` for FIXED and RAW, one cycle without output. All other vectors are issued
    one per cycle. The first vector of a tile waits for the tile's parameters.

    A POST waits for the end of the one before; its parameters are requested as soon as it is
    offered on ``command``. ``done`` follows two cycles after a POST_CONFIG was taken and
    two cycles after the last ``stored`` or ``written`` of a POST.

    Parameters
    ----------
    config
        Accelerator configuration.
    serial_cycles
        Cycles per vector of the outputs FIXED and RAW.

    Members
    -------
    command : In(stream.Signature(256))
        Instruction words with the opcodes POST_CONFIG and POST; any other counts as POST_CONFIG.
    vectors : In(stream.Signature(accumulator_vector(config)))
        From the array.
    requests : Out(stream.Signature(parameter_request(...)))
        To the parameter chain, for each POST.
    parameters_available : In(1)
        The parameters of the next tile are there.
    parameters_claim : Out(1)
        They are in use from now on.
    settings : Out(instruction_layout(Opcode.POST_CONFIG))
        The last POST_CONFIG; changes only between POSTs.
    post : Out(instruction_layout(Opcode.POST))
        The current POST.
    start : Out(1)
        First cycle of a POST; ``settings`` and ``post`` are stable from here on.
    o : Out(positioned_stream(...))
        Vectors into the pipeline.
    residual_address : Out(range(stream_vectors))
        Stream vector that belongs to the vector on ``o``.
    stored, written : In(1)
        The last vector of the command has left the stream stage, and the last word the engine
        (without output: the last vector the pool). Nothing of the command is then on its way.
    done : Out(1)
        A command has been finished.
    busy : Out(1)
        A command is executed or offered.
    """

    def __init__(self, config: AcceleratorConfig, *, serial_cycles: int) -> None:
        self.config = config
        self.serial_cycles = serial_cycles
        rows, memories = config.array.rows, config.memory
        super().__init__(
            {
                "command": In(stream.Signature(INSTRUCTION_WIDTH)),
                "vectors": In(stream.Signature(accumulator_vector(config))),
                "requests": Out(stream.Signature(parameter_request(memories.parameter_words))),
                "parameters_available": In(1),
                "parameters_claim": Out(1),
                "settings": Out(instruction_layout(Opcode.POST_CONFIG)),
                "post": Out(instruction_layout(Opcode.POST)),
                "start": Out(1),
                "o": Out(positioned_stream(config.datapath.accumulator_width, rows)),
                "residual_address": Out(range(memories.stream_vectors)),
                "stored": In(1),
                "written": In(1),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        running = Signal()
        self._commands(m, running)
        self._finish(m, running)

        settings = self.settings
        m.submodules.counter = counter = NestedCounter()
        m.d.comb += [
            counter.start.eq(self.start),
            counter.inner_x.eq(settings.inner_x),
            counter.inner_y.eq(settings.inner_y),
            counter.outer_x.eq(settings.outer_x),
            counter.vectors.eq(self.post.vectors),
            counter.tiles.eq(self.post.tiles),
        ]
        issuing = Signal()  # vectors of the current command remain
        with m.If(self.start):
            m.d.sync += issuing.eq(1)
        with m.Elif(counter.step & counter.position.last):
            m.d.sync += issuing.eq(0)
        self._issue(m, issuing, counter)
        self._residual_address(m, counter)
        return m

    def _commands(self, m: Module, running: Signal) -> None:
        """Takes a command when none runs; requests the parameters of a POST before."""
        offered = data.View(instruction_layout(Opcode.POST), self.command.payload)
        is_post = offered.opcode == Opcode.POST
        requested = Signal()
        m.d.comb += [
            self.requests.valid.eq(self.command.valid & is_post & ~requested),
            self.requests.payload.address.eq(offered.parameter_base),
            self.requests.payload.tiles.eq(offered.tiles),
            self.command.ready.eq(~running & (requested | ~is_post)),
            self.busy.eq(running | self.command.valid),
        ]
        taken = self.command.valid & self.command.ready
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += requested.eq(1)
        m.d.sync += self.start.eq(taken & is_post)
        with m.If(taken & is_post):
            m.d.sync += [requested.eq(0), running.eq(1), self.post.eq(self.command.payload)]
        with m.If(taken & ~is_post):
            m.d.sync += self.settings.eq(self.command.payload)

    def _finish(self, m: Module, running: Signal) -> None:
        configured, stored, written = Signal(), Signal(), Signal()
        finished = running & ~self.start & stored & written
        m.d.sync += [
            configured.eq(self.command.valid & self.command.ready),
            self.done.eq(finished | configured & ~running),
        ]
        with m.If(self.start):
            m.d.sync += [stored.eq(0), written.eq(0)]
        with m.Else():
            m.d.sync += [stored.eq(stored | self.stored), written.eq(written | self.written)]
        with m.If(finished):
            m.d.sync += running.eq(0)

    def _issue(self, m: Module, issuing: Signal, counter: NestedCounter) -> None:
        settings, position = self.settings, counter.position
        allowed, needs_vector = Signal(), Signal()
        ends, summing, wait = self._pace(m, counter)
        m.d.comb += [
            needs_vector.eq(settings.array & (position.window_first | ~summing)),
            allowed.eq(
                issuing & (self.parameters_available | ~position.tile_first) & (~wait | ~ends)
            ),
            self.vectors.ready.eq(allowed & needs_vector),
            counter.step.eq(allowed & (self.vectors.valid | ~needs_vector)),
            self.parameters_claim.eq(counter.step & position.tile_first),
            self.o.valid.eq(counter.step),
            self.o.payload.position.eq(position),
            self.o.payload.values.eq(self.vectors.payload),
        ]

    def _pace(self, m: Module, counter: NestedCounter) -> tuple[Signal, Signal, Signal]:
        """Whether the current vector makes an output, mode SUM, and whether outputs must wait."""
        settings = self.settings
        pace, remaining = Signal(9), Signal(9)
        summing, grouped, ends, wait = Signal(), Signal(), Signal(), Signal()
        pairs = (settings.planes + 1)[1:]
        with m.Switch(settings.output):
            with m.Case(OutputKind.NONE):
                m.d.sync += pace.eq(1)
            with m.Case(OutputKind.CODES):
                groups = settings.threshold_groups
                m.d.sync += pace.eq(Mux(groups > pairs, groups, pairs))
            with m.Default():
                m.d.sync += pace.eq(self.serial_cycles)
        m.d.sync += [
            summing.eq(settings.residual == ResidualMode.SUM),
            grouped.eq(
                (settings.residual == ResidualMode.SUM) | (settings.pool != PoolOperation.NONE)
            ),
        ]
        m.d.comb += ends.eq(counter.position.window_last | ~grouped)
        with m.If(counter.step & ends):
            m.d.sync += [remaining.eq(pace - 1), wait.eq(pace != 1)]
        with m.Else():
            m.d.sync += [remaining.eq(remaining - 1), wait.eq(wait & (remaining != 1))]
        return ends, summing, wait

    def _residual_address(self, m: Module, counter: NestedCounter) -> None:
        settings = self.settings
        width = ceil_log2(self.config.memory.stream_vectors)
        m.submodules.address = address = StridedAddress(width=width, loops=5)
        strides = (
            settings.residual_inner_x,
            settings.residual_inner_y,
            settings.residual_outer_x,
            settings.residual_outer_y,
            1,
        )
        m.d.comb += [
            address.start.eq(self.start),
            address.base.eq(self.post.residual_base),
            self.residual_address.eq(address.address),
        ]
        m.d.comb += [address.strides[k].eq(stride) for k, stride in enumerate(strides)]
        with m.If(counter.step):
            m.d.comb += address.steps.eq(counter.steps)

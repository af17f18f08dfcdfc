"""The accelerator: host port, instruction sequencer, four engines and their memories."""

from amaranth.hdl import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.compute.engine import ComputeEngine
from hw.config import AcceleratorConfig
from hw.control.host import HostAccess
from hw.control.registers import RunControl
from hw.control.sequencer import Sequencer
from hw.isa import Engine
from hw.link.host_port import HOST_REQUESTS, HOST_RESPONSES
from hw.memory.activation import ActivationMemory
from hw.memory.arbiter import MemoryArbiter
from hw.memory.dma import DmaEngine
from hw.memory.fill import FillEngine
from hw.payloads import MemoryPortSignature, TraceSignature
from hw.post.engine import PostEngine
from hw.stream import connect_checked

__all__ = ["Accelerator", "RetiredSignature"]


class RetiredSignature(wiring.Signature):
    """Completed instructions, for per-layer cycle accounting: one member per engine."""

    def __init__(self) -> None:
        event = wiring.Signature({"valid": Out(1), "layer": Out(8)})
        super().__init__({engine.name.lower(): Out(event) for engine in Engine})


class Accelerator(wiring.Component):
    """Everything behind the host port and in front of the external memory.

    Engines, queues and semaphores share a reset that a run's start, a trap and the host's RESET
    give; the memories, the arbiter of the external memory and the host port are outside of it.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                # Register and memory accesses of the host, and the words that were read.
                "host_requests": In(HOST_REQUESTS),
                "host_responses": Out(HOST_RESPONSES),
                # External memory.
                "memory": Out(MemoryPortSignature()),
                # A run is under way; how the last one ended.
                "busy": Out(1),
                "done": Out(1),
                "trapped": Out(1),
                # Observation only.
                "trace": Out(TraceSignature(config)),
                "retired": Out(RetiredSignature()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        words = config.memory.external_words
        m.submodules.control = self.control = RunControl(fingerprint=config.fingerprint)
        reset = ResetInserter(self.control.engine_reset)
        self.sequencer = Sequencer(words, streams=config.memory.spill_vectors > 0)
        self.dma = DmaEngine(config)
        self.fill = FillEngine(config)
        self.compute = ComputeEngine(config)
        self.post = PostEngine(config)
        m.submodules.sequencer = reset(self.sequencer)
        m.submodules.dma = reset(self.dma)
        m.submodules.fill = reset(self.fill)
        m.submodules.compute = reset(self.compute)
        m.submodules.post = reset(self.post)

        self._connect_memory(m, words)
        self._connect_engines(m)
        self._connect_data(m)
        self._connect_control(m)
        return m

    def _connect_memory(self, m: Module, words: int) -> None:
        """External memory and host port."""
        m.submodules.host = host = HostAccess()
        m.submodules.arbiter = arbiter = MemoryArbiter(words)
        connect_checked(m, wiring.flipped(self.host_requests), host.requests)
        connect_checked(m, host.responses, wiring.flipped(self.host_responses))
        connect_checked(m, host.registers, self.control.registers)
        connect_checked(m, self.sequencer.memory, arbiter.fetch)
        connect_checked(m, self.dma.memory, arbiter.dma)
        connect_checked(m, host.memory, arbiter.host)
        connect_checked(m, arbiter.memory, wiring.flipped(self.memory))
        m.d.comb += arbiter.abandon.eq(self.control.engine_reset)
        self._bad_burst = arbiter.bad_address

    def _connect_engines(self, m: Module) -> None:
        """Commands, and what comes back."""
        engines = {
            Engine.DMA: self.dma,
            Engine.FILL: self.fill,
            Engine.COMPUTE: self.compute,
            Engine.POST: self.post,
        }
        for name, engine in engines.items():
            port = self.sequencer.engines[name.value]
            retired = getattr(self.retired, name.name.lower())
            m.d.comb += [
                Value.cast(engine.command.payload).eq(port.command.payload),
                engine.command.valid.eq(port.command.valid),
                port.command.ready.eq(engine.command.ready),
                port.done.eq(engine.done),
                retired.valid.eq(port.retired),
                retired.layer.eq(port.layer),
            ]

    def _connect_data(self, m: Module) -> None:
        """Tables, column buffers, vectors and the activation memory."""
        m.submodules.activations = activations = ActivationMemory(self._config)
        dma, fill, compute, post = self.dma, self.fill, self.compute, self.post
        for table in ("weights", "coefficients", "windows", "passes"):
            connect_checked(m, getattr(dma, table), getattr(compute, table))
        for table in ("parameters", "thresholds"):
            connect_checked(m, getattr(dma, table), getattr(post, table))
        connect_checked(m, fill.columns, compute.columns)
        connect_checked(m, compute.vectors, post.vectors)
        connect_checked(m, fill.read, activations.fill_read)
        connect_checked(m, post.activation_write, activations.post_write)
        connect_checked(m, dma.activation_write, activations.dma_write)
        connect_checked(m, dma.activation_read, activations.dma_read)
        m.d.comb += dma.activation_data.eq(activations.dma_data)
        if self._config.memory.spill_vectors:
            connect_checked(m, dma.stream_write, post.stream_load)
            m.d.comb += [
                post.spill_address.eq(dma.spill_read),
                dma.spill_data.eq(post.spill_data),
            ]
        connect_checked(m, post.trace, wiring.flipped(self.trace))

    def _connect_control(self, m: Module) -> None:
        """The state of the run, its end, traps and counters."""
        control, sequencer = self.control, self.sequencer
        ports = sequencer.engines
        idle = Signal()
        m.d.comb += [
            idle.eq(
                ~self.dma.busy & ~self.fill.busy & self.compute.idle & ~self.post.busy,
            ),
            sequencer.start.eq(control.start),
            sequencer.start_address.eq(control.start_address),
            control.illegal.eq(sequencer.illegal),
            control.bad_fetch.eq(sequencer.bad_address),
            control.fetch_address.eq(sequencer.address),
            control.bad_dma.eq(self.dma.bad_address | self._bad_burst),
            control.dma_address.eq(ports[Engine.DMA.value].address),
            control.bad_fill.eq(self.fill.bad_address),
            control.fill_address.eq(ports[Engine.FILL.value].address),
            control.events.eq(self._events()),
            self.busy.eq(control.busy),
            self.done.eq(control.done),
            self.trapped.eq(control.trapped),
        ]
        m.d.sync += control.finished.eq(sequencer.finished & idle)

    def _events(self) -> Value:
        """What is counted, in the order of ``hw.isa.Counter``."""
        compute_waits = self.sequencer.engines[Engine.COMPUTE.value].waiting & ~self.compute.busy
        return Cat(
            self.control.busy,
            self.compute.array_busy,
            compute_waits,
            self.compute.wait_drain,
            self.compute.wait_post,
            self.fill.busy,
            self.dma.busy,
            self.post.busy,
        )

"""Instruction sequencer: from the external memory to the engines, in the order of semaphores."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.control.decoder import InstructionDecoder
from hw.control.fetch import InstructionFetch
from hw.control.gate import EngineGate
from hw.control.queue import InstructionQueue
from hw.control.semaphores import Semaphores
from hw.isa import INSTRUCTION_WIDTH, INSTRUCTION_WORDS, Engine
from hw.payloads import MemoryPortSignature
from hw.stream import connect_checked

__all__ = ["EnginePortSignature", "Sequencer"]


class EnginePortSignature(wiring.Signature):
    """What the sequencer has to do with one engine, from its own viewpoint."""

    def __init__(self) -> None:
        super().__init__(
            {
                "command": Out(stream.Signature(INSTRUCTION_WIDTH)),
                # One cycle: the oldest command taken is done; in order.
                "done": In(1),
                # One cycle: an instruction is complete, and its layer.
                "retired": Out(1),
                "layer": Out(8),
                # External memory word of the oldest command.
                "address": Out(24),
                # An instruction waits for semaphores.
                "waiting": Out(1),
            }
        )


class Sequencer(wiring.Component):
    """::

        fetch ─> decoder ─> four queues ─> four gates ─> engines
                                             └─ semaphores

    An instruction takes at least 11 cycles from fetch to queue. The program's order decides when
    an instruction reaches its queue: while one queue is full (``QUEUE_DEPTH``), no engine gets
    new instructions.

    Parameters
    ----------
    words
        Size of the external memory; an instruction that is not inside is a bad address.
    streams
        Whether the DMA engine moves streams.
    """

    #: One cycle: run from ``start_address``. Only after a reset.
    start: In(1)
    #: External memory word.
    start_address: In(24)
    #: External memory; only read.
    memory: Out(MemoryPortSignature())
    #: The engines in the order of ``Engine``.
    engines: Out(EnginePortSignature()).array(len(Engine))
    #: END was reached and every instruction is done.
    finished: Out(1)
    #: Level: the program stopped at something that is no instruction.
    illegal: Out(1)
    #: Level: the program left the external memory.
    bad_address: Out(1)
    #: External memory word of the instruction that is decoded, or was last.
    address: Out(24)

    def __init__(self, words: int, *, streams: bool = False) -> None:
        self._last_address = words - INSTRUCTION_WORDS
        self._streams = streams
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = InstructionFetch()
        m.submodules.decoder = decoder = InstructionDecoder(streams=self._streams)
        m.submodules.semaphores = semaphores = Semaphores(len(Engine))
        connect_checked(m, fetch.memory, wiring.flipped(self.memory))
        queues, gates = {}, {}
        for engine in Engine:
            name = engine.name.lower()
            m.submodules[f"{name}_queue"] = queues[engine] = queue = InstructionQueue(engine)
            m.submodules[f"{name}_gate"] = gates[engine] = gate = EngineGate()
            connect_checked(m, queue.o, gate.instructions)
            connect_checked(m, gate.semaphores, semaphores.clients[engine.value])
            self._connect_engine(m, gate, self.engines[engine.value])

        ended = Signal()
        m.d.comb += [
            fetch.start.eq(self.start),
            fetch.start_address.eq(self.start_address),
            fetch.stop.eq(ended | self.illegal | self.bad_address),
            decoder.instruction.eq(fetch.instructions.payload.instruction),
            self.address.eq(fetch.instructions.payload.address),
        ]
        self._dispatch(m, fetch, decoder, queues, ended)
        gates_busy = [gate.busy for gate in gates.values()]
        queues_busy = [queue.o.valid for queue in queues.values()]
        m.d.sync += self.finished.eq(
            ended & ~fetch.busy & ~any_of(gates_busy) & ~any_of(queues_busy)
        )
        return m

    def _connect_engine(self, m: Module, gate: EngineGate, port: data.View) -> None:
        connect_checked(m, gate.command, wiring.flipped(port.command))
        m.d.comb += [
            gate.done.eq(port.done),
            port.retired.eq(gate.retired),
            port.layer.eq(gate.oldest.layer),
            port.address.eq(gate.oldest.address),
            port.waiting.eq(gate.waiting),
        ]

    def _dispatch(
        self,
        m: Module,
        fetch: InstructionFetch,
        decoder: InstructionDecoder,
        queues: dict[Engine, InstructionQueue],
        ended: Signal,
    ) -> None:
        fetched = fetch.instructions
        for queue in queues.values():
            m.d.comb += queue.i.payload.eq(fetched.payload)
        with m.FSM():
            with m.State("FETCH"), m.If(fetched.valid):
                m.next = "DECODE"
            with m.State("DECODE"):
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(fetched.payload.address > self._last_address):
                    m.d.sync += self.bad_address.eq(1)
                    m.next = "STOP"
                with m.Elif(~decoder.legal):
                    m.d.sync += self.illegal.eq(1)
                    m.next = "STOP"
                with m.Elif(decoder.is_end):
                    m.d.sync += ended.eq(1)
                    m.next = "STOP"
                with m.Else():
                    m.next = "QUEUE"
            with m.State("QUEUE"):
                with m.Switch(decoder.engine):
                    for engine, queue in queues.items():
                        with m.Case(engine):
                            m.d.comb += [
                                queue.i.valid.eq(1),
                                fetched.ready.eq(queue.i.ready),
                            ]
                with m.If(fetched.ready):
                    m.next = "FETCH"
            with m.State("STOP"):
                pass


def any_of(signals):
    """1 if any of the 1-bit signals is 1."""
    result = signals[0]
    for signal in signals[1:]:
        result = result | signal
    return result

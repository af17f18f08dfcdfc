"""The gate between an instruction queue and its engine: waits for semaphores, signals them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.control.queue import FetchedInstruction
from hw.control.semaphores import SemaphoreClient
from hw.isa import INSTRUCTION_WIDTH, SEMAPHORES, Opcode, header_layout
from hw.stream import StreamQueue

__all__ = ["EngineGate", "Retirement"]

IN_FLIGHT = 4
"""Commands that an engine has taken and not finished, at most."""


class Retirement(data.Struct):
    """What is kept of a command until it is done."""

    signal: SEMAPHORES
    layer: 8
    #: External memory word of the instruction.
    address: 24


class EngineGate(wiring.Component):
    """Starts the instructions of one engine in order.

    The instruction at the head of the queue is granted its semaphores, then it is offered to the
    engine. An engine may take a command before it has finished the one before; ``done`` belongs
    to the oldest one and must come at least one cycle after the command was taken. SYNC is
    executed here, when all earlier commands are done.

    From ``done`` to the signal takes no cycle; from a grant to the command's offer 1 cycle.
    """

    #: The engine's queue.
    instructions: In(stream.Signature(FetchedInstruction))
    #: Commands to the engine.
    command: Out(stream.Signature(INSTRUCTION_WIDTH))
    #: One cycle: the oldest command that the engine has taken is done.
    done: In(1)
    #: Semaphores.
    semaphores: Out(SemaphoreClient())
    #: One cycle: an instruction (SYNC included) is complete.
    retired: Out(1)
    #: The oldest command taken, valid while there is one; its layer goes with ``retired``.
    oldest: Out(Retirement)
    #: An instruction waits for semaphores.
    waiting: Out(1)
    #: An instruction is in the queue or not yet done.
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.flight = flight = StreamQueue(Retirement, depth=IN_FLIGHT)
        header = data.View(
            header_layout(), self.instructions.payload.instruction[: header_layout().size]
        )
        head = Signal(header_layout())
        head_address = Signal(24)
        client = self.semaphores
        idle = Signal()

        m.d.comb += [
            self.command.payload.eq(self.instructions.payload.instruction),
            client.wait.eq(head.wait),
            self.waiting.eq(client.request),
            flight.i.payload.signal.eq(head.signal),
            flight.i.payload.layer.eq(head.layer),
            flight.i.payload.address.eq(head_address),
            flight.o.ready.eq(self.done),
            self.busy.eq(~idle | self.instructions.valid | flight.o.valid),
        ]
        self._retire(m, flight)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                m.d.sync += [
                    head.eq(header),
                    head_address.eq(self.instructions.payload.address),
                ]
                with m.If(self.instructions.valid & flight.i.ready):
                    with m.If(header.opcode != Opcode.SYNC):
                        m.next = "WAIT"
                    with m.Elif(~flight.o.valid):
                        m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += client.request.eq(1)
                with m.If(client.grant):
                    m.next = "OFFER"
            with m.State("OFFER"):
                self._offer(m, flight, head)
        return m

    def _offer(self, m: Module, flight: StreamQueue, head: data.View) -> None:
        is_sync = head.opcode == Opcode.SYNC
        m.d.comb += self.command.valid.eq(~is_sync)
        with m.If(is_sync | self.command.ready):
            m.d.comb += [self.instructions.ready.eq(1), flight.i.valid.eq(~is_sync)]
            m.next = "IDLE"
        with m.If(is_sync):
            m.d.comb += [
                self.retired.eq(1),
                self.oldest.layer.eq(head.layer),
                self.semaphores.signal.eq(head.signal),
            ]

    def _retire(self, m: Module, flight: StreamQueue) -> None:
        m.d.comb += self.oldest.eq(flight.o.payload)
        with m.If(self.done & flight.o.valid):
            m.d.comb += [
                self.retired.eq(1),
                self.semaphores.signal.eq(flight.o.payload.signal),
            ]

"""Executes host requests: words of the external memory and control registers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.host_port import HOST_REQUESTS, HOST_RESPONSES, HostOperation, HostRequest
from hw.payloads import MemoryPortSignature

__all__ = ["HostAccess", "RegisterPortSignature"]

REGISTER_WIDTH = 8


class RegisterPortSignature(wiring.Signature):
    """Access to the control registers, from the host's viewpoint."""

    def __init__(self) -> None:
        super().__init__(
            {
                "address": Out(REGISTER_WIDTH),
                # One cycle.
                "write": Out(1),
                "write_data": Out(32),
                # Of the address of 2 cycles before.
                "read_data": In(32),
            }
        )


class HostAccess(wiring.Component):
    """One request at a time, in order.

    A register write takes 2 cycles, a register read 4, a memory access the time of a burst of one
    word. A response that is not taken stalls the host only: the memory's word is taken at once.
    """

    #: From the link.
    requests: In(HOST_REQUESTS)
    #: To the link.
    responses: Out(HOST_RESPONSES)
    #: External memory; bursts of one word.
    memory: Out(MemoryPortSignature())
    #: Control registers.
    registers: Out(RegisterPortSignature())

    def elaborate(self, platform):
        m = Module()
        request = Signal(HostRequest)
        wait = Signal()
        is_register = Signal()
        memory, registers = self.memory, self.registers

        m.d.comb += [
            is_register.eq(request.address[REGISTER_WIDTH:] == 0),
            registers.address.eq(request.address),
            registers.write_data.eq(request.data),
            memory.requests.payload.address.eq(request.address),
            memory.requests.payload.length.eq(1),
            memory.requests.payload.write.eq(request.operation == HostOperation.WRITE_MEMORY),
            memory.write_data.payload.eq(request.data),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.requests.ready.eq(1)
                m.d.sync += [request.eq(self.requests.payload), wait.eq(1)]
                with m.If(self.requests.valid), m.Switch(self.requests.payload.operation):
                    with m.Case(HostOperation.WRITE_REGISTER):
                        m.next = "WRITE REGISTER"
                    with m.Case(HostOperation.READ_REGISTER):
                        m.next = "READ REGISTER"
                    with m.Default():
                        m.next = "REQUEST"
            with m.State("WRITE REGISTER"):
                m.d.comb += registers.write.eq(is_register)
                m.next = "IDLE"
            with m.State("READ REGISTER"):
                m.d.sync += [
                    wait.eq(0),
                    self.responses.payload.data.eq(registers.read_data),
                ]
                with m.If(~is_register):
                    m.d.sync += self.responses.payload.data.eq(0)
                with m.If(~wait):
                    m.next = "RESPOND"
            with m.State("REQUEST"):
                m.d.comb += memory.requests.valid.eq(1)
                with m.If(memory.requests.ready):
                    with m.If(memory.requests.payload.write):
                        m.next = "WRITE"
                    with m.Else():
                        m.next = "READ"
            with m.State("WRITE"):
                m.d.comb += memory.write_data.valid.eq(1)
                with m.If(memory.write_data.ready):
                    m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += memory.read_data.ready.eq(1)
                m.d.sync += self.responses.payload.data.eq(memory.read_data.payload)
                with m.If(memory.read_data.valid):
                    m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += self.responses.valid.eq(1)
                with m.If(self.responses.ready):
                    m.next = "IDLE"
        return m

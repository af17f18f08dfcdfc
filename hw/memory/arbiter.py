"""Shares the external memory port among instruction fetch, DMA and host."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from hw.payloads import MemoryPortSignature, MemoryRequest

__all__ = ["MemoryArbiter"]


class Owner(enum.Enum, shape=2):
    """Requesters."""

    FETCH = 0
    DMA = 1
    HOST = 2


class MemoryArbiter(wiring.Component):
    """One burst at a time; fetch comes first, then DMA and host in turns.

    Bursts are atomic, so requesters keep theirs short. A burst costs 2 cycles besides its words
    and the latency of the memory.

    Invariant: a burst that the memory has accepted is always completed. When ``abandon`` is 1 the
    fetch or DMA engine has forgotten its burst (it was reset), so the arbiter takes the rest of
    the words that it reads and writes zeros for the rest of the words that it would have written.

    A burst of the DMA engine that is not inside the memory gives a pulse on ``bad_address``. Fetch
    and host may exceed it: the memory gives zeros, which are no instruction, and drops writes.

    Parameters
    ----------
    words
        Size of the external memory in 32-bit words.
    """

    #: Bursts of the instruction fetch.
    fetch: In(MemoryPortSignature())
    #: Bursts of the DMA engine.
    dma: In(MemoryPortSignature())
    #: Accesses of the host.
    host: In(MemoryPortSignature())
    #: The shared port.
    memory: Out(MemoryPortSignature())
    #: Fetch and DMA are being reset.
    abandon: In(1)
    #: One cycle: the DMA engine asked for words beyond the memory.
    bad_address: Out(1)

    def __init__(self, words: int) -> None:
        self._words = words
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        request = Signal(MemoryRequest)
        owner = Signal(Owner)
        left = Signal(20)
        orphan = Signal()
        memory = self.memory

        m.d.comb += memory.requests.payload.eq(request)
        with m.If(self.abandon & (owner != Owner.HOST)):
            m.d.sync += orphan.eq(1)

        with m.FSM():
            with m.State("IDLE"):
                self._choose(m, request, owner, orphan)
                with m.If(self._any_request):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += memory.requests.valid.eq(1)
                m.d.sync += left.eq(request.length)
                with m.If(memory.requests.ready):
                    m.next = "DATA"
            with m.State("DATA"):
                self._route(m, owner, request.write, orphan)
                moved = (memory.read_data.valid & memory.read_data.ready) | (
                    memory.write_data.valid & memory.write_data.ready
                )
                with m.If(moved):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "IDLE"
        self._check_range(m, request, owner)
        return m

    @property
    def _ports(self) -> dict[Owner, wiring.PureInterface]:
        return {Owner.FETCH: self.fetch, Owner.DMA: self.dma, Owner.HOST: self.host}

    @property
    def _any_request(self) -> Value:
        return self.fetch.requests.valid | self.dma.requests.valid | self.host.requests.valid

    def _choose(self, m: Module, request: Signal, owner: Signal, orphan: Signal) -> None:
        """Take one request; one that is abandoned right now is taken as an orphan."""
        host_turn = Signal()
        host_first = host_turn & self.host.requests.valid

        def take(name: Owner, port: wiring.PureInterface) -> None:
            m.d.comb += port.requests.ready.eq(1)
            m.d.sync += [
                request.eq(port.requests.payload),
                owner.eq(name),
                orphan.eq(self.abandon if name != Owner.HOST else 0),
            ]

        with m.If(self.fetch.requests.valid):
            take(Owner.FETCH, self.fetch)
        with m.Elif(self.dma.requests.valid & ~host_first):
            take(Owner.DMA, self.dma)
            m.d.sync += host_turn.eq(1)
        with m.Elif(self.host.requests.valid):
            take(Owner.HOST, self.host)
            m.d.sync += host_turn.eq(0)

    def _route(self, m: Module, owner: Signal, write: Value, orphan: Signal) -> None:
        memory = self.memory
        for name, port in self._ports.items():
            m.d.comb += port.read_data.payload.eq(memory.read_data.payload)
            with m.If((owner == name) & ~orphan):
                m.d.comb += [
                    port.read_data.valid.eq(memory.read_data.valid & ~write),
                    memory.read_data.ready.eq(port.read_data.ready & ~write),
                    memory.write_data.valid.eq(port.write_data.valid & write),
                    memory.write_data.payload.eq(port.write_data.payload),
                    port.write_data.ready.eq(memory.write_data.ready & write),
                ]
        with m.If(orphan):
            m.d.comb += [memory.read_data.ready.eq(~write), memory.write_data.valid.eq(write)]

    def _check_range(self, m: Module, request: Signal, owner: Signal) -> None:
        end = Signal(25)
        fresh = Signal(2)
        m.d.sync += [
            end.eq(request.address + request.length),
            fresh.eq((fresh << 1) | (self.dma.requests.valid & self.dma.requests.ready)),
            self.bad_address.eq(fresh[1] & (end > self._words)),
        ]

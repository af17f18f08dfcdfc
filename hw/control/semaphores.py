"""Counting semaphores that order the engines among one another."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.isa import SEMAPHORE_WIDTH, SEMAPHORES

__all__ = ["SemaphoreClient", "Semaphores"]


class SemaphoreClient(wiring.Signature):
    """Access to the semaphores, from the viewpoint of an engine's gate."""

    def __init__(self) -> None:
        super().__init__(
            {
                # An instruction wants to start; holds until the grant.
                "request": Out(1),
                # Semaphores that it waits for.
                "wait": Out(SEMAPHORES),
                # One cycle: it may start, its semaphores are decremented.
                "grant": In(1),
                # One cycle: semaphores to increment.
                "signal": Out(SEMAPHORES),
            }
        )


class Semaphores(wiring.Component):
    """The counters. Grants at most one request at a time, the lowest client first.

    A counter holds up to 2 ** SEMAPHORE_WIDTH - 1 and stays there when it is signalled further.
    Any number of clients may signal in one cycle. A grant can follow a signal after 3 cycles, and
    another grant after 3, because tests, decrements and increments each have a register between.

    Parameters
    ----------
    clients
        Number of engines.
    """

    def __init__(self, clients: int) -> None:
        if clients < 1:
            raise ValueError(f"semaphore clients must be at least 1, not {clients}")
        self._count = clients
        super().__init__({"clients": In(SemaphoreClient()).array(clients)})

    def elaborate(self, platform):
        m = Module()
        clients = [self.clients[index] for index in range(self._count)]
        positive = Signal(SEMAPHORES)
        taken = Signal(SEMAPHORES)
        # Tests that saw a counter before the last decrement do not count.
        recent = Signal(2)
        blocked = recent.any()
        m.d.sync += [recent.eq(recent << 1), taken.eq(0)]

        for client in clients:
            m.d.sync += client.grant.eq(0)
        free = ~blocked
        for client in clients:
            fits = Signal()
            m.d.comb += fits.eq(client.request & ~client.grant & ~(client.wait & ~positive).any())
            with m.If(fits & free):
                m.d.sync += [client.grant.eq(1), taken.eq(client.wait), recent.eq(1)]
            free = free & ~fits
        for semaphore in range(SEMAPHORES):
            signals = [client.signal[semaphore] for client in clients]
            self._count_one(m, signals, taken[semaphore], positive[semaphore])
        return m

    def _count_one(self, m: Module, signals, taken, positive) -> None:
        raised = Signal(range(self._count + 1))
        count = Signal(SEMAPHORE_WIDTH)
        total = Signal(SEMAPHORE_WIDTH + 1)
        m.d.comb += total.eq(count + raised - taken)
        m.d.sync += [
            raised.eq(sum(signals)),
            count.eq(Cat(bit | total[-1] for bit in total[:-1])),
            positive.eq(count != 0),
        ]

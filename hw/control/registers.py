"""Control registers, performance counters, and the state of a run."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.host import RegisterPortSignature
from hw.isa import IDENTITY_MAGIC, PROTOCOL_VERSION, Counter, Register, Trap

__all__ = ["RunControl"]

CLEAR_CYCLES = 4
"""Length of the reset pulse before a run and after a trap."""


class RunControl(wiring.Component):
    """Starts, watches and stops runs.

    START resets the engines, so that every run begins with empty queues, semaphores at zero and
    no POST_CONFIG; it is ignored while a run is under way. A trap or RESET resets them as well.
    The counters hold the last run's values until the next START or RESET; RESET also clears the
    status, but not the watchdog's limit.

    Parameters
    ----------
    fingerprint
        Of the configuration.
    """

    def __init__(self, *, fingerprint: int) -> None:
        self._fingerprint = fingerprint
        super().__init__(
            {
                # Access of the host.
                "registers": In(RegisterPortSignature()),
                # Level: hold the engines, queues and semaphores in reset.
                "engine_reset": Out(1),
                # One cycle after the reset: fetch from `start_address` on.
                "start": Out(1),
                "start_address": Out(24),
                # Level: every instruction is done and every engine idle.
                "finished": In(1),
                # Reasons to stop, each with the address of the instruction.
                "illegal": In(1),
                "bad_fetch": In(1),
                "fetch_address": In(24),
                "bad_dma": In(1),
                "dma_address": In(24),
                "bad_fill": In(1),
                "fill_address": In(24),
                # What is counted in this cycle, in the order of `Counter`; TOTAL is not used.
                "events": In(len(Counter)),
                # A run is under way.
                "busy": Out(1),
                # How the last run ended.
                "done": Out(1),
                "trapped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cause = Signal(Trap)
        trap_address = Signal(24)
        watchdog = Signal(32)
        counters = [Signal(32, name=f"counter_{name.name.lower()}") for name in Counter]
        expired = Signal()
        running = Signal()
        abort = Signal()
        m.d.sync += expired.eq((watchdog != 0) & (counters[0] >= watchdog))

        trap = self._trap(m, cause, trap_address, expired, running)
        self._run(m, trap, running, abort)
        self._count(m, counters, running, abort)
        self._read(m, cause, trap_address, watchdog, counters)
        with m.If(self._written(Register.WATCHDOG)):
            m.d.sync += watchdog.eq(self.registers.write_data)
        return m

    def _written(self, register: Register) -> Value:
        return self.registers.write & (self.registers.address == register.value)

    def _run(self, m: Module, trap: Value, running: Signal, abort: Signal) -> None:
        """The states of a run. START and RESET are remembered until their state is reached."""
        left = Signal(range(CLEAR_CYCLES))
        pending = Signal()
        m.d.comb += self.busy.eq(pending | (running & ~abort))

        def clear(state: str) -> None:
            m.d.sync += [self.engine_reset.eq(1), left.eq(CLEAR_CYCLES - 1)]
            m.next = state

        def cleared(state: str) -> None:
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += self.engine_reset.eq(0)
                m.next = state

        with m.FSM():
            with m.State("IDLE"):
                with m.If(abort):
                    clear("STOP")
                with m.Elif(pending):
                    m.d.sync += [self.done.eq(0), self.trapped.eq(0), pending.eq(0)]
                    clear("CLEAR")
            with m.State("CLEAR"):
                m.d.comb += running.eq(1)
                cleared("START")
            with m.State("START"):
                m.d.comb += [running.eq(1), self.start.eq(1)]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(abort):
                    clear("STOP")
                with m.Elif(trap):
                    m.d.sync += self.trapped.eq(1)
                    clear("STOP")
                with m.Elif(self.finished):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("STOP"):
                m.d.sync += abort.eq(0)
                cleared("IDLE")

        with m.If(self._written(Register.START) & ~self.busy):
            m.d.sync += [pending.eq(1), self.start_address.eq(self.registers.write_data)]
        with m.If(self._written(Register.RESET)):
            m.d.sync += [abort.eq(1), pending.eq(0), self.done.eq(0), self.trapped.eq(0)]

    def _trap(
        self, m: Module, cause: Signal, trap_address: Signal, expired: Signal, running: Signal
    ) -> Value:
        """The first reason stays. A run that is late has no culprit: its next instruction."""
        reasons = (
            (self.illegal, Trap.ILLEGAL_INSTRUCTION, self.fetch_address),
            (self.bad_fetch, Trap.BAD_ADDRESS, self.fetch_address),
            (self.bad_dma, Trap.BAD_ADDRESS, self.dma_address),
            (self.bad_fill, Trap.BAD_ADDRESS, self.fill_address),
            (expired, Trap.WATCHDOG, self.fetch_address),
        )
        trap = Signal()
        m.d.comb += trap.eq(Cat(condition for condition, _, _ in reasons).any())
        for condition, trap_cause, address in reversed(reasons):
            with m.If(running & condition & ~self.engine_reset):
                m.d.sync += [cause.eq(trap_cause), trap_address.eq(address)]
        with m.If(self.start):
            m.d.sync += [cause.eq(Trap.NONE), trap_address.eq(0)]
        return trap

    def _count(self, m: Module, counters: list[Signal], running: Signal, abort: Signal) -> None:
        events = Signal(len(Counter))
        counting = Signal()
        m.d.sync += [
            events.eq(Cat(1, self.events[1:])),
            counting.eq(running & ~self.engine_reset),
        ]
        for counter, event in zip(counters, events, strict=True):
            with m.If((running & self.engine_reset) | abort):
                m.d.sync += counter.eq(0)
            with m.Elif(counting & event):
                m.d.sync += counter.eq(counter + 1)

    def _read(
        self,
        m: Module,
        cause: Signal,
        trap_address: Signal,
        watchdog: Signal,
        counters: list[Signal],
    ) -> None:
        values = {
            Register.IDENTITY.value: IDENTITY_MAGIC | PROTOCOL_VERSION,
            Register.FINGERPRINT.value: self._fingerprint,
            Register.START.value: self.start_address,
            Register.STATUS.value: Cat(
                self.busy, self.done, self.trapped, Const(0, 5), Mux(self.trapped, cause, 0)
            ),
            Register.WATCHDOG.value: watchdog,
            Register.TRAP_ADDRESS.value: trap_address,
        }
        for offset, counter in enumerate(counters):
            values[Register.COUNTERS.value + offset] = counter
        m.d.sync += self.registers.read_data.eq(0)
        with m.Switch(self.registers.address):
            for address, value in values.items():
                with m.Case(address):
                    m.d.sync += self.registers.read_data.eq(value)

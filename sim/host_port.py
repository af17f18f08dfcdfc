"""The host port of the simulated accelerator, as the test bench drives it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import (
    ClockCycles,
    FallingEdge,
    ReadOnly,
    SimTimeoutError,
    with_timeout,
)

from hw.isa import Register, Status, Trap
from hw.link.host_port import HostOperation
from hw.memory.sdram_model import SdramRule

from .monitor import SDRAM_PORT

__all__ = ["Host", "RunError"]

PERIOD_NS = 10
RESET_CYCLES = 4
FLUSH_CYCLES = 4
"""Cycles from the fall of busy until the trace file is complete."""
START_CYCLES = 1000
"""Longest time from a request to its effect: an answer, or that the accelerator is busy."""
TRAP_CYCLES = 100
"""Longest time that the accelerator needs to stop after the watchdog has run out."""


class RunError(RuntimeError):
    """A run that did not end as it should."""


class Host:
    """Drives the host port at falling edges, so that rising edges see stable requests."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._falling = FallingEdge(dut.clk)
        self._settled = ReadOnly()
        dut.request_valid.value = 0
        dut.response_ready.value = 1
        dut.dump.value = 0
        dut.rst.value = 1
        Clock(dut.clk, PERIOD_NS, unit="ns").start()

    async def reset(self) -> None:
        """Reset the design, whatever it does."""
        dut = self._dut
        dut.request_valid.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, RESET_CYCLES)
        await self._falling
        dut.rst.value = 0
        await self._falling

    async def _send(self, operation: HostOperation, items: Iterable[tuple[int, int]]) -> None:
        """One request per cycle, as long as the design is ready."""
        dut = self._dut
        dut.request_operation.value = operation.value
        dut.request_valid.value = 1
        for address, word in items:
            dut.request_address.value = address
            dut.request_data.value = word
            await self._settled
            while not dut.request_ready.value:
                await self._falling
                await self._settled
            await self._falling
        dut.request_valid.value = 0

    async def _receive(self) -> int:
        dut = self._dut
        for _ in range(START_CYCLES):
            if dut.response_valid.value:
                word = dut.response_data.value
                if not word.is_resolvable:
                    raise RunError(f"response must have known bits, not {word}")
                await self._falling
                return word.to_unsigned()
            await self._falling
        raise RunError(f"response must come within {START_CYCLES} cycles")

    async def write_memory(self, address: int, words: Iterable[int]) -> None:
        await self._send(HostOperation.WRITE_MEMORY, enumerate(words, address))

    async def write_register(self, register: Register, word: int) -> None:
        await self._send(HostOperation.WRITE_REGISTER, [(register.value, word)])

    async def read_memory(self, address: int, count: int) -> list[int]:
        words = []
        for index in range(count):
            await self._send(HostOperation.READ_MEMORY, [(address + index, 0)])
            words.append(await self._receive())
        return words

    async def read_register(self, register: Register, offset: int = 0) -> int:
        await self._send(HostOperation.READ_REGISTER, [(register.value + offset, 0)])
        return await self._receive()

    async def start(self, entry: int) -> None:
        """Start a run and wait until it is under way."""
        await self.write_register(Register.START, entry)
        for _ in range(START_CYCLES):
            if self._dut.busy.value:
                return
            await self._falling
        raise RunError(f"accelerator must be busy within {START_CYCLES} cycles of START")

    async def _until_idle(self) -> None:
        # In an event-driven simulator a combinational `busy` may fall for no time within a step.
        while self._dut.busy.value:
            await FallingEdge(self._dut.busy)
            await self._falling

    async def finish(self, timeout_cycles: int) -> None:
        """Wait for the end of the run; raise :class:`RunError` if it was not the regular one."""
        dut = self._dut
        limit = (timeout_cycles + TRAP_CYCLES) * PERIOD_NS
        try:
            await with_timeout(self._until_idle(), limit, "ns")
        except SimTimeoutError:
            raise RunError(f"run must end within {timeout_cycles} cycles") from None
        await ClockCycles(dut.clk, FLUSH_CYCLES)
        await self._falling
        status = await self.read_register(Register.STATUS)
        if status & Status.TRAPPED.value:
            cause = Trap(status >> 8 & 0xFF).name
            address = await self.read_register(Register.TRAP_ADDRESS)
            raise RunError(f"run must not trap: {cause} at external word {address}")
        if hasattr(dut, SDRAM_PORT) and dut.broken.value:
            rule = SdramRule(dut.broken.value.to_unsigned()).name
            raise RunError(f"rules of the SDRAM must hold, {rule} is broken")
        if not status & Status.DONE.value:
            raise RunError(f"status must be DONE after a run, not {status:#x}")

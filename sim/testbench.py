"""The cocotb test bench: runs in the simulator's process, as the host of the accelerator.

It loads the program through the host port, stage by stage (a large external memory starts with
it), runs every image of the job, and compares all that the trace shows with the expected arrays
(:mod:`sim.check`). Everything that happens in every cycle is done by the design and by the monitor
around it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import (
    ClockCycles,
    FallingEdge,
    ReadOnly,
    SimTimeoutError,
    with_timeout,
)

from compiler.compile import image_words
from compiler.program_file import load_program
from hw.isa import Counter, Register, Status, Trap
from hw.link.host_port import HostOperation
from hw.memory.sdram_model import SdramRule

from .check import check_layer, check_logits
from .job import (
    ACCUMULATOR_SUFFIX,
    FOLDER_VARIABLE,
    IMAGES_FILE,
    PROGRAM_FILE,
    ImageResult,
    Job,
    load_expected,
)
from .monitor import SDRAM_PORT, TRACE_FILE
from .trace import Trace, layer_cycles, parse_trace

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

    async def reset(self) -> None:
        """Start the clock and reset the design."""
        dut = self._dut
        dut.request_valid.value = 0
        dut.response_ready.value = 1
        dut.dump.value = 0
        dut.rst.value = 1
        Clock(dut.clk, PERIOD_NS, unit="ns").start()
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


class TestBench:
    """The job with everything that its runs share."""

    __test__ = False

    def __init__(self, dut: Any, folder: Path) -> None:
        self.folder = folder
        self.job = Job.load(folder)
        self.program = load_program(folder / PROGRAM_FILE)
        self.images = np.load(folder / IMAGES_FILE, allow_pickle=False)
        self.host = Host(dut)
        self.dut = dut
        self._position = 0

    def read_trace(self) -> Trace:
        """Events since the last call."""
        with (self.folder / TRACE_FILE).open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return parse_trace(whole, self.job.geometry)

    async def prepare(self) -> None:
        """Reset, check the configuration, load the program, running its stages."""
        await self.host.reset()
        fingerprint = await self.host.read_register(Register.FINGERPRINT)
        if fingerprint != self.job.fingerprint:
            raise RunError(
                f"design must have the fingerprint {self.job.fingerprint:#010x}, "
                f"not {fingerprint:#010x}"
            )
        await self.host.write_register(Register.WATCHDOG, self.job.timeout_cycles)
        for stage in self.program.stages:
            await self.host.write_memory(0, stage.memory.tolist())
            await self.host.start(stage.entry)
            await self.host.finish(self.job.timeout_cycles)
        words = self.program.memory
        if self.job.preloaded:
            # All but what the stages have overwritten is there.
            words = words[: max((len(stage.memory) for stage in self.program.stages), default=0)]
        await self.host.write_memory(0, words.tolist())
        self.read_trace()

    async def load_image(self, image: int) -> None:
        words = image_words(self.images[image]).tolist()
        await self.host.write_memory(self.program.image_address, words)

    def choose_planes(self, run: int) -> None:
        """From now on start the program as run number ``run`` of the job shall."""
        if self.job.planes:
            self.program = self.program.with_planes(self.job.planes[run])

    async def run_image(self, image: int) -> ImageResult:
        """One image: load, run, read back, compare."""
        began = time.perf_counter()
        await self.load_image(image)
        error: str | None = None
        words: list[int] = []
        counters: list[int] = []
        try:
            await self.host.start(self.program.image_entry)
            await self.host.finish(self.job.timeout_cycles)
            words = await self.host.read_memory(
                self.program.result_address, self.program.result_words
            )
            for counter in Counter:
                counters.append(await self.host.read_register(Register.COUNTERS, counter.value))
        except RunError as failure:
            error = str(failure)
        trace = self.read_trace()
        logits = self.program.logits(np.array(words, np.uint32).view(np.int32)).ravel().tolist()
        return self._result(image, trace, logits, counters, error, began)

    def _result(
        self,
        image: int,
        trace: Trace,
        logits: list[int],
        counters: list[int],
        error: str | None,
        began: float,
    ) -> ImageResult:
        expected = load_expected(self.folder, image)
        checks = [
            check_layer(
                self.program,
                layer,
                trace,
                self.job.geometry,
                expected,
                expected.get(layer.name + ACCUMULATOR_SUFFIX),
            )
            for layer in self.program.layers
        ]
        checks.append(check_logits(self.program, logits, expected))
        cycles = [*layer_cycles(trace, [layer.tag for layer in self.program.layers]), 0]
        first = next((check.first for check in checks if check.first), None)
        return ImageResult(
            image=image,
            cycles=trace.stop - trace.start,
            seconds=time.perf_counter() - began,
            logits=logits,
            counters=counters,
            layers=[
                {
                    "name": check.name,
                    "cycles": count,
                    "values_compared": check.values_compared,
                    "values_mismatched": check.values_mismatched,
                }
                for check, count in zip(checks, cycles, strict=True)
            ],
            mismatch=first.to_dict() if first else None,
            error=error,
        )

    async def record_waves(self, image: int, first: int, last: int) -> None:
        """Run an image up to cycle ``last`` and record the cycles from ``first`` on."""
        await self.load_image(image)
        await self.host.start(self.program.image_entry)
        await ClockCycles(self.dut.clk, max(1, first))
        await FallingEdge(self.dut.clk)
        self.dut.dump.value = 1
        await ClockCycles(self.dut.clk, last - first)


@cocotb.test()
async def runs_program_like_reference(dut: Any) -> None:
    """Every image gives the expected tensors; fails after the last image if one did not."""
    bench = TestBench(dut, Path(os.environ[FOLDER_VARIABLE]))
    await bench.prepare()
    window = bench.job.window
    if window is not None:
        bench.choose_planes(0)
        await bench.record_waves(bench.job.images[0], window.first, window.last)
        return
    failures = []
    for run, image in enumerate(bench.job.images):
        bench.choose_planes(run)
        result = await bench.run_image(image)
        result.append(bench.folder)
        if result.error:
            failures.append(f"image {image}: {result.error}")
            break
        if result.mismatch:
            failures.append(f"image {image}: {result.mismatch}")
    assert not failures, "\n".join(failures)

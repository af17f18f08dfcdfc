"""The cocotb test bench: runs in the simulator's process, as the host of the accelerator.

For each job it resets the design, loads the program through the host port, stage by stage (a large
external memory starts with it), runs every image, and compares all that the trace shows with the
expected arrays (:mod:`sim.check`). Memories keep what the job before has left there, as on a board.
Everything that happens in every cycle is done by the design and by the monitor around it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge

from compiler.compile import image_words
from compiler.program_file import load_program
from hw.isa import Counter, Register

from .check import check_layer, check_logits
from .host_port import Host, RunError
from .job import (
    ACCUMULATOR_SUFFIX,
    IMAGES_FILE,
    PROGRAM_FILE,
    ImageResult,
    Job,
    folders_of_environment,
    load_expected,
)
from .monitor import TRACE_FILE
from .trace import Geometry, Trace, layer_cycles, parse_trace


class TraceFile:
    """The file that the monitor writes, read piece by piece."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read(self, geometry: Geometry) -> Trace:
        """Events since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return parse_trace(whole, geometry)


class TestBench:
    """A job with everything that its runs share."""

    __test__ = False

    def __init__(self, dut: Any, host: Host, trace: TraceFile, folder: Path) -> None:
        self.folder = folder
        self.job = Job.load(folder)
        self.program = load_program(folder / PROGRAM_FILE)
        self.images = np.load(folder / IMAGES_FILE, allow_pickle=False)
        self.host = host
        self.trace = trace
        self.dut = dut

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
        self.trace.read(self.job.geometry)

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
        trace = self.trace.read(self.job.geometry)
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
async def runs_programs_like_reference(dut: Any) -> None:
    """Every image of every job gives the expected tensors; fails after the last job if one did
    not."""
    folders = folders_of_environment()
    host, trace = Host(dut), TraceFile(folders[0] / TRACE_FILE)
    failures = []
    for folder in folders:
        bench = TestBench(dut, host, trace, folder)
        await bench.prepare()
        window = bench.job.window
        if window is not None:
            bench.choose_planes(0)
            await bench.record_waves(bench.job.images[0], window.first, window.last)
            return
        for run, image in enumerate(bench.job.images):
            bench.choose_planes(run)
            result = await bench.run_image(image)
            result.append(folder)
            if result.error:
                failures.append(f"{bench.program.network}, image {image}: {result.error}")
                break
            if result.mismatch:
                failures.append(f"{bench.program.network}, image {image}: {result.mismatch}")
    assert not failures, "\n".join(failures)

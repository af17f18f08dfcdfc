"""A place and a way to run programs on the RTL: its configuration, simulator and folder."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from compiler.program import Program
from hw.config import AcceleratorConfig
from hw.memory.external import is_preloaded

from .job import Job
from .simulator import Simulator, SimulatorError
from .trace import Geometry

__all__ = ["BUILDS", "OUT", "SIMULATORS", "VERILOG_FOLDER", "Bench", "make_simulator"]

SIMULATORS = ("verilator", "icarus")
OUT = Path("build/sim")
BUILDS = "LQFPGA_BUILDS"
"""Environment variable: the folder of simulator builds that runs in several folders share. Without
it a run keeps them in its own."""
VERILOG_FOLDER = "verilog"
TIMEOUT_CYCLES = 200_000
TIMEOUT_FACTOR = 40
"""A run may take this many times the cycles of a fully used array, and TIMEOUT_CYCLES."""

GenerateVerilog = Callable[[AcceleratorConfig, Path], object]


def make_simulator(name: str, *, waves: bool = False) -> Simulator:
    """The simulator called ``name``; raises :class:`SimulatorError` if it is not installed."""
    if name not in SIMULATORS:
        raise SimulatorError(f"simulator must be one of {', '.join(SIMULATORS)}, not {name!r}")
    if name == "icarus":
        from .icarus import Icarus

        simulator: Simulator = Icarus(waves=waves)
    else:
        from .verilator import Verilator

        simulator = Verilator(waves=waves)
    simulator.check()
    return simulator


@dataclass
class Bench:
    """A place and a way to run programs on the RTL."""

    config: AcceleratorConfig
    simulator: Simulator
    generate: GenerateVerilog
    out: Path = OUT
    console: Console = field(default_factory=Console)
    memory_latency: int = 0
    """Of the external memory that ``generate`` makes, for the cycle model."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by step, added up."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step, and name it on a terminal while it runs."""
        began = time.perf_counter()
        try:
            if self.console.is_terminal:
                with self.console.status(f"{name} ..."):
                    yield
            else:
                yield
        finally:
            took = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.console.print(f"{name}: {took:.1f} s", markup=False, highlight=False)

    def build(self, simulator: Simulator) -> Path:
        """Generate the Verilog and compile it, or find the build of an earlier call."""
        self.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="verilog-", dir=self.out) as folder:
            verilog = Path(folder) / "simulation_top.v"
            with self.step("generate Verilog"):
                self.generate(self.config, verilog)
            with self.step("build simulator"):
                root = Path(os.environ.get(BUILDS) or self.out).absolute()
                return simulator.build(verilog, root, self.config.name)

    def job(self, program: Program, images: Iterable[int]) -> Job:
        """A job that runs ``images`` of a program."""
        macs = sum(layer.binary_macs for layer in program.layers)
        ideal = macs // self.config.array.binary_macs_per_cycle
        return Job(
            geometry=Geometry(
                rows=self.config.array.rows,
                activation_words=self.config.memory.activation_words,
                stream_vectors=self.config.memory.stream_places,
                stream_width=self.config.datapath.stream_width,
            ),
            fingerprint=self.config.fingerprint,
            images=tuple(images),
            timeout_cycles=TIMEOUT_CYCLES + TIMEOUT_FACTOR * ideal,
            preloaded=is_preloaded(self.config.memory.external_words),
        )

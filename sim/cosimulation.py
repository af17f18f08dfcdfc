"""Co-simulation: an exported model on the RTL, compared with the integer reference bit for bit.

The steps are: compile the model, run the integer reference, generate and build the RTL, run every
image on it, report. On a mismatch the failing image runs once more with a waveform of the cycles
around it.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from compiler.program import Program
from compiler.program_file import save_program
from hw.config import AcceleratorConfig, preset
from hw.memory.external import is_preloaded

from .cycles.compare import find_difference
from .cycles.model import run_program
from .images import ImageSet, load_images, stacked
from .job import (
    FOLDER_VARIABLE,
    IMAGES_FILE,
    MEMORY_FILE,
    PROGRAM_FILE,
    ImageResult,
    Job,
    ResultReader,
    Window,
    expected_file,
)
from .report import Report, make_report, print_report
from .simulator import RUN_LOG, Simulator, SimulatorError, tail
from .trace import Geometry

__all__ = [
    "SIMULATORS",
    "VERILOG_FOLDER",
    "Bench",
    "cosimulate",
    "make_simulator",
    "random_images",
    "simulate",
]

SIMULATORS = ("verilator", "icarus")
OUT = Path("build/sim")
VERILOG_FOLDER = "verilog"
RANDOM_SEED = 1
POLL_SECONDS = 0.1
WINDOW_SIZE = 8_000_000
"""Cycles times binary multiply-accumulates per cycle before a mismatch that the waveform shows:
about 80 MB of VCD at every size of the array, a tenth of that as FST."""
WINDOW_CYCLES = (500, 4000)
"""Bounds of the cycles before a mismatch."""
WINDOW_AFTER = 100
TIMEOUT_CYCLES = 200_000
TIMEOUT_FACTOR = 40
"""A run may take this many times the cycles of a fully used array, and TIMEOUT_CYCLES."""

Arrays = Mapping[str, NDArray[Any]]
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


def random_images(shape: tuple[int, int, int], count: int, seed: int = RANDOM_SEED) -> ImageSet:
    """Noise, for runs without data: the comparison needs no real images."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    return ImageSet(
        pixels=pixels,
        names=tuple(f"noise-{index}" for index in range(count)),
        labels=(None,) * count,
    )


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
                return simulator.build(verilog, self.out.absolute(), self.config.name)

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


def _watched_run(
    bench: Bench, build: Path, folder: Path, simulator: Simulator, total: int, run_name: str
) -> list[ImageResult]:
    """Run the simulator in a thread and show the runs as they are done: images, or batches."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            simulator.run(build, folder, {FOLDER_VARIABLE: str(folder)})
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    reader, results = ResultReader(folder), list[ImageResult]()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=bench.console,
        disable=not bench.console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(run_name, total=total)
        thread.start()
        running = True
        while running:
            thread.join(POLL_SECONDS)
            running = thread.is_alive()
            for result in reader.new():
                results.append(result)
                bar.update(task, completed=len(results))
                _print_result(bench.console, result, len(results), total, run=run_name)
    if failures:
        raise failures[0]
    return results


def _print_result(
    console: Console, result: ImageResult, done: int, total: int, *, run: str
) -> None:
    wrong = sum(layer["values_mismatched"] for layer in result.layers)
    if console.is_terminal and not wrong and not result.error:
        return
    state = result.error or (f"{wrong:,} mismatches" if wrong else "equal")
    console.print(
        f"{run} {done}/{total}: {result.cycles:,} cycles, {result.seconds:.1f} s, {state}",
        markup=False,
        highlight=False,
    )


def _write_inputs(
    folder: Path, program: Program, images: NDArray[np.uint8], expected: Iterable[Arrays]
) -> list[list[int]]:
    """Files that the test bench reads; the logits of the reference."""
    save_program(program, folder / PROGRAM_FILE)
    np.save(folder / IMAGES_FILE, images)
    name = next(tensor.name for tensor in program.tensors if tensor.kind == "raw")
    logits = []
    for index, arrays in enumerate(expected):
        np.savez(expected_file(folder, index), **arrays)
        logits.append(np.asarray(arrays[name]).ravel().tolist())
    return logits


def _window(result: ImageResult, config: AcceleratorConfig) -> Window:
    """Cycles to look at: before the mismatch, or before the end if nothing was written."""
    end = result.cycles
    if result.mismatch:
        end = result.mismatch["cycle"]
        if end is None:
            end = 0
            for layer in result.layers:
                end += layer["cycles"]
                if layer["name"] == result.mismatch["layer"]:
                    break
    shortest, longest = WINDOW_CYCLES
    before = min(max(WINDOW_SIZE // config.array.binary_macs_per_cycle, shortest), longest)
    return Window(first=max(0, end - before), last=end + WINDOW_AFTER)


def _record_waves(bench: Bench, folder: Path, job: Job, result: ImageResult) -> str:
    """Run the failing image once more with a waveform; the file's path."""
    window = _window(result, bench.config)
    bench.console.print(
        f"run {result.image} failed: recording a waveform of its cycles {window.first} to "
        f"{window.last}",
        markup=False,
    )
    simulator = replace(bench.simulator, waves=True)
    build = bench.build(simulator)
    planes = job.planes[result.image : result.image + 1]
    replace(job, images=(result.image,), window=window, planes=planes).save(folder)
    with bench.step("record waveform"):
        simulator.run(build, folder, {FOLDER_VARIABLE: str(folder)})
    final = bench.out / simulator.wave_file
    shutil.move(folder / simulator.wave_file, final)
    return str(final)


def cosimulate(
    bench: Bench,
    program: Program,
    images: ImageSet,
    expected: Iterable[Arrays],
    *,
    model: str = "",
    waves: bool = True,
    check_cycles: bool = True,
    planes: Sequence[int] = (),
) -> Report:
    """Run a compiled program on the RTL and compare it with ``expected``, one entry per run: an
    image, or a batch of them.

    Raises :class:`SimulatorError` if there is no result to report. With ``waves`` a failing
    run leaves a waveform file. ``check_cycles`` compares the cycles of every layer and all
    counters with the cycle model. ``planes`` are the weight planes that each image is run with, of
    those that the program has.
    """
    build = bench.build(bench.simulator)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=bench.out)).absolute()
    try:
        with bench.step("integer reference"):
            runs = stacked(images.pixels, program.images)
            logits = _write_inputs(folder, program, runs, expected)
        job = replace(bench.job(program, range(len(runs))), planes=tuple(planes))
        job.save(folder)
        if job.preloaded:
            lines = (f"{word:08x}\n" for word in program.memory.tolist())
            (folder / MEMORY_FILE).write_text("".join(lines))
        with bench.step("simulate"):
            name = "batch" if program.images > 1 else "image"
            results = _watched_run(bench, build, folder, bench.simulator, len(job.images), name)
        if len(results) < len(job.images) and not (results and results[-1].error):
            raise SimulatorError(
                f"test bench must report every image; it ended early:\n{tail(folder / RUN_LOG)}"
            )
        report = make_report(
            program,
            bench.config,
            results,
            model=model or program.network,
            simulator=bench.simulator.name,
            labels=images.labels,
            golden_logits=logits,
        )
        if check_cycles and report.error is None:
            report.cycle_difference = _cycle_difference(bench, program, results, job.planes)
        failed = next((result for result in results if result.error or result.mismatch), None)
        if waves and failed is not None:
            report.waveform = _record_waves(bench, folder, job, failed)
        report.seconds = dict(bench.seconds)
        report.save(bench.out)
        return report
    finally:
        if (folder / RUN_LOG).exists():
            shutil.copy(folder / RUN_LOG, bench.out / RUN_LOG)
        shutil.rmtree(folder, ignore_errors=True)


def _cycle_difference(
    bench: Bench, program: Program, results: list[ImageResult], planes: tuple[int, ...]
) -> str | None:
    """Where the cycle model and the RTL differ, if they do; the runs are those of ``planes``."""
    tags = [layer.tag for layer in program.layers]
    for count in dict.fromkeys(planes or (None,)):
        chosen = program if count is None else program.with_planes(count)
        own = [result for result in results if count is None or planes[result.image] == count]
        run = run_program(chosen, bench.config, latency=bench.memory_latency)
        difference = find_difference(run, tags, own)
        if difference is not None:
            return difference
    return None


def simulate(
    model: Path,
    images: Path | None = None,
    *,
    limit: int | None = None,
    batch: int = 1,
    preset_name: str = "ulx3s-85f",
    simulator: str = "verilator",
    out: Path = OUT,
    waves: bool = True,
    console: Console | None = None,
) -> Report:
    """Co-simulate an exported model, print the tables and write ``report.json`` below ``out``.

    Without ``images`` the input is noise (``limit`` images of it, one batch by default). ``batch``
    images are computed at once. Raises ``ModelError``, ``ProgramError``, ``ConfigError``,
    ``ImageError`` or :class:`SimulatorError`.
    """
    from compiler.compile import compile_network
    from golden.batching import batched
    from golden.lowering import lower
    from golden.onnx_import import import_model

    from .design import cached_verilog
    from .reference import expected_arrays

    bench = Bench(
        config=preset(preset_name),
        simulator=make_simulator(simulator),
        generate=partial(cached_verilog, cache=out / VERILOG_FOLDER),
        out=out,
        console=console or Console(),
    )
    with bench.step("compile model"):
        network = batched(lower(import_model(model)), batch)
        program = compile_network(network, bench.config)
    shape = program.image_shape
    chosen = (
        load_images(images, shape, classes=program.labels, limit=limit)
        if images is not None
        else random_images(shape, limit or batch)
    )
    expected = expected_arrays(network, stacked(chosen.pixels, batch))
    report = cosimulate(bench, program, chosen, expected, model=model.stem, waves=waves)
    print_report(report, bench.console)
    bench.console.print(f"report: {out / 'report.json'}", markup=False)
    return report

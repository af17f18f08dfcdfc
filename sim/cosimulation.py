"""Co-simulation: an exported model on the RTL, compared with the integer reference bit for bit.

The steps are: compile the model, run the integer reference, generate and build the RTL, run every
image on it, report. On a mismatch the failing image runs once more with a waveform of the cycles
around it.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from compiler.program import Program
from compiler.program_file import save_program
from hw.config import preset

from .bench import OUT, VERILOG_FOLDER, Bench, make_simulator
from .cycles.compare import find_difference
from .cycles.model import run_program
from .failure_waves import record_waves
from .images import ImageSet, load_images, random_images, stacked
from .job import (
    FOLDER_VARIABLE,
    IMAGES_FILE,
    MEMORY_FILE,
    PROGRAM_FILE,
    ImageResult,
    ResultReader,
    expected_file,
)
from .report import Report, make_report, print_report
from .simulator import RUN_LOG, Simulator, SimulatorError, tail

__all__ = ["cosimulate", "simulate"]

POLL_SECONDS = 0.1

Arrays = Mapping[str, NDArray[Any]]


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
            report.waveform = record_waves(bench, folder, job, failed)
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

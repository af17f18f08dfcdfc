"""Co-simulation: an exported model on the RTL, compared with the integer reference bit for bit.

The steps are: compile the model, run the integer reference, generate and build the RTL, run every
image on it, report. On a mismatch the failing image runs once more with a waveform of the cycles
around it. Several programs can take turns on one simulated accelerator, which saves the start of a
simulator for each.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from compiler.program import Program
from compiler.program_file import save_program
from hw.config import preset

from .bench import OUT, VERILOG_FOLDER, Bench, make_simulator
from .cycles.compare import find_difference
from .cycles.model import run_program
from .failure_waves import record_waves
from .images import ImageSet, load_images, random_images, stacked
from .job import (
    IMAGES_FILE,
    MEMORY_FILE,
    PROGRAM_FILE,
    ImageResult,
    Job,
    expected_file,
)
from .report import Report, make_report, print_report
from .simulator import RUN_LOG, SimulatorError, tail
from .watched_run import watched_run

__all__ = ["Case", "cosimulate", "cosimulate_all", "simulate"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A compiled program, its input, and what it shall compute."""

    program: Program
    images: ImageSet
    expected: Iterable[Arrays]
    """One entry per run: an image, or a batch of them."""
    model: str = ""
    """Name in the report; empty: the network's."""
    planes: Sequence[int] = ()
    """Weight planes that each image is run with, of those that the program has."""

    @property
    def name(self) -> str:
        return self.model or self.program.network

    @property
    def runs(self) -> NDArray[np.uint8]:
        """Input of each run."""
        return stacked(self.images.pixels, self.program.images)


def _write_inputs(folder: Path, case: Case) -> list[list[int]]:
    """Files that the test bench reads; the logits of the reference for each run."""
    program = case.program
    save_program(program, folder / PROGRAM_FILE)
    np.save(folder / IMAGES_FILE, case.runs)
    name = next(tensor.name for tensor in program.tensors if tensor.kind == "raw")
    logits = []
    for index, arrays in enumerate(case.expected):
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
    """Run one program as :func:`cosimulate_all` does, and write ``report.json``."""
    case = Case(program=program, images=images, expected=expected, model=model, planes=planes)
    (report,) = cosimulate_all(bench, [case], waves=waves, check_cycles=check_cycles)
    report.save(bench.out)
    return report


def cosimulate_all(
    bench: Bench, cases: Sequence[Case], *, waves: bool = True, check_cycles: bool = True
) -> list[Report]:
    """Run compiled programs on the RTL, one after the other in one process of the simulator, and
    compare each with what it shall compute; a report for each of ``cases``.

    Raises :class:`SimulatorError` if there is no result of one of them to report, such as after a
    stage of one that does not end; the others' are lost then, too. With ``waves``
    the first failing run leaves a waveform file. ``check_cycles`` compares the cycles of every
    layer and all counters with the cycle model.

    Before each program the accelerator is reset, but memories keep what is there, as on a board:
    no result may depend on it.
    """
    if not cases:
        return []
    build = bench.build(bench.simulator)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=bench.out)).absolute()
    folders = [folder / f"{index:04d}" for index in range(len(cases))]
    try:
        with bench.step("integer reference"):
            logits = []
            for own, case in zip(folders, cases, strict=True):
                own.mkdir()
                logits.append(_write_inputs(own, case))
        jobs = [
            replace(bench.job(case.program, range(len(case.runs))), planes=tuple(case.planes))
            for case in cases
        ]
        # A large external memory starts with the first program; the host writes the others.
        jobs[1:] = [replace(job, preloaded=False) for job in jobs[1:]]
        for own, job in zip(folders, jobs, strict=True):
            job.save(own)
        if jobs[0].preloaded:
            lines = (f"{word:08x}\n" for word in cases[0].program.memory.tolist())
            (folders[0] / MEMORY_FILE).write_text("".join(lines))
        with bench.step("simulate"):
            name = "batch" if any(case.program.images > 1 for case in cases) else "image"
            total = sum(len(job.images) for job in jobs)
            results = watched_run(bench, build, folders, total, name)
        reports = [
            _checked(bench, case, job, own, golden, check_cycles, folders[0] / RUN_LOG)
            for case, job, own, golden in zip(cases, jobs, results, logits, strict=True)
        ]
        if waves:
            _record_first_failure(bench, folders, jobs, results, reports)
        for report in reports:
            report.seconds = dict(bench.seconds)
        return reports
    finally:
        # A run that records a waveform has its log in the folder of its case.
        logs = [own / RUN_LOG for own in folders if (own / RUN_LOG).exists()]
        if logs:
            shutil.copy(max(logs, key=lambda log: log.stat().st_mtime_ns), bench.out / RUN_LOG)
        shutil.rmtree(folder, ignore_errors=True)


def _checked(
    bench: Bench,
    case: Case,
    job: Job,
    results: list[ImageResult],
    golden_logits: list[list[int]],
    check_cycles: bool,
    log: Path,
) -> Report:
    """The report of one case, which must be complete."""
    if len(results) < len(job.images) and not (results and results[-1].error):
        raise SimulatorError(
            f"test bench must report every image of {case.name}; it ended early:\n{tail(log)}"
        )
    report = make_report(
        case.program,
        bench.config,
        results,
        model=case.name,
        simulator=bench.simulator.name,
        labels=case.images.labels,
        golden_logits=golden_logits,
    )
    if check_cycles and report.error is None:
        report.cycle_difference = _cycle_difference(bench, case.program, results, job.planes)
    return report


def _record_first_failure(
    bench: Bench,
    folders: list[Path],
    jobs: list[Job],
    results: list[list[ImageResult]],
    reports: list[Report],
) -> None:
    """Leave a waveform of the first run that failed, if one did."""
    for folder, job, own, report in zip(folders, jobs, results, reports, strict=True):
        failed = next((result for result in own if result.error or result.mismatch), None)
        if failed is not None:
            report.waveform = record_waves(bench, folder, job, failed)
            return


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
    preset_name: str | None = None,
    simulator: str = "verilator",
    out: Path = OUT,
    waves: bool = True,
    console: Console | None = None,
) -> Report:
    """Co-simulate an exported model, print the tables and write ``report.json`` below ``out``.

    Without ``images`` the input is noise (``limit`` images of it, one batch by default). ``batch``
    images are computed at once. Without ``preset_name`` the first default preset is taken that
    holds the model (:mod:`compiler.preset_choice`).

    Raises ``ModelError``, ``ProgramError``, ``ConfigError``, ``ImageError`` or
    :class:`SimulatorError`.
    """
    from compiler.preset_choice import DEFAULT_PRESETS, compile_for_preset
    from golden.batching import batched
    from golden.lowering import lower
    from golden.onnx_import import import_model

    from .design import cached_verilog
    from .reference import expected_arrays

    bench = Bench(
        config=preset(preset_name or DEFAULT_PRESETS[0]),
        simulator=make_simulator(simulator),
        generate=partial(cached_verilog, cache=out / VERILOG_FOLDER),
        out=out,
        console=console or Console(),
    )
    with bench.step("compile model"):
        network = batched(lower(import_model(model)), batch)
        program, config, note = compile_for_preset(network, preset_name)
    if note:
        bench.console.print(note, markup=False, highlight=False)
    bench = replace(bench, config=config)
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

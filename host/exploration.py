"""A search from the command line: progress, tables, files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_model
from host.calibration import split
from host.routed_clock import board_clock
from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.area import AreaModel
from sim.explore.candidate import Judge
from sim.explore.measurements import read_measurements
from sim.explore.metrics import METRICS
from sim.explore.question import default_question, read_question
from sim.explore.search import Progress, Result, search
from sim.explore.store import Store
from sim.explore.tables import candidates_csv, front_latex, front_table
from sim.explore.workers import ClusterWorkers, InProcess, LocalWorkers, Workers
from sim.profile import Clock

__all__ = ["run_exploration"]

OUTCOMES, STUDY = "outcomes.db", "study.log"


def run_exploration(
    model: Path,
    *,
    board_name: str,
    space: Path | None,
    trials: int,
    jobs: int | None,
    scheduler: str | None,
    seed: int,
    output: Path,
    console: Console | None = None,
) -> Result:
    """Search, print the front and write it below ``output``.

    Raises:
        ModelError: The model cannot be read.
        SpaceError: The space file makes no sense.
        MeasurementError: There are no area data.
        StoreError, StudyError: Files of an earlier search are not of this version.
        WorkerError: No scheduler, or workers that do not live.
    """
    console = console or Console()
    target = board(board_name)
    question = read_question(space, target) if space else default_question(target)
    clock = board_clock(preset(target.preset))
    fitted, _ = split(read_measurements())
    judge = Judge(question, target, clock, AreaModel(fitted))
    network = lower(import_model(model))
    model_hash = hashlib.sha256(model.read_bytes()).hexdigest()
    with (
        Store(output / OUTCOMES) as store,
        _workers(network, jobs, scheduler) as workers,
        _bar(Console(stderr=True)) as bar,
    ):
        task = bar.add_task("search", total=None, best="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                best=_best_text(progress, question.objectives[0]),
            )

        result = search(
            judge,
            model_hash,
            workers=workers,
            store=store,
            trials=trials,
            study=output / STUDY,
            seed=seed,
            on_progress=show,
        )
    caption = f"{model.stem} on {target.device}, {_clock_text(clock)}"
    _write(output, judge, result, caption)
    _print(console, judge, result, caption)
    console.print(f"written: {output}/front.tex, candidates.csv", markup=False, highlight=False)
    return result


def _workers(network: IntegerNetwork, jobs: int | None, scheduler: str | None) -> Workers:
    if scheduler:
        return ClusterWorkers(network, scheduler)
    count = jobs or os.cpu_count() or 1
    return InProcess(network) if count == 1 else LocalWorkers(network, count)


def _bar(console: Console) -> ProgressBar:
    return ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[best]}"),
        console=console,
    )


def _best_text(progress: Progress, objective: str) -> str:
    if progress.best is None:
        return "nothing feasible yet"
    metric = METRICS[objective]
    value = metric.text(progress.best.metrics[objective])
    return f"{progress.feasible} feasible, best: {value} {objective} ({progress.best.config.name})"


def _clock_text(clock: Clock) -> str:
    kind = "routed" if clock.is_routed else "asked for, not routed"
    return f"at {clock.mhz:g} MHz, the preset's clock ({kind}: {clock.source})"


def _write(output: Path, judge: Judge, result: Result, caption: str) -> None:
    """Each file in one step."""
    space = judge.question.space
    files = {
        "candidates.csv": candidates_csv(space, result.candidates, result.front),
        "front.tex": front_latex(space, result.front, caption),
    }
    for name, text in files.items():
        temporary = output / f"{name}.{os.getpid()}.part"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(output / name)


def _print(console: Console, judge: Judge, result: Result, caption: str) -> None:
    how = "all points" if result.is_exhaustive else "NSGA-II"
    feasible = sum(candidate.is_feasible for candidate in result.candidates)
    console.print(front_table(judge.question.space, result.front))
    console.print(
        f"{caption}\n{len(result.candidates):,} points ({how}), {feasible:,} feasible, "
        f"{len(result.front)} on the front; {result.evaluated:,} evaluated now in "
        f"{result.seconds:.1f} s",
        markup=False,
        highlight=False,
    )

"""A search from the command line: progress, tables, files."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_model
from host.calibration import split
from host.confirmation import (
    ROUTED_BOARDS,
    Confirmation,
    confirm,
    confirmed_table,
    print_confirmed,
)
from hw.board.ulx3s import Board, board
from hw.config import AcceleratorConfig
from sim.explore.area import AreaModel
from sim.explore.candidate import Judge
from sim.explore.candidate_clocks import candidate_clocks
from sim.explore.choice import Chosen, choose, look_closely
from sim.explore.clocks import read_clocks
from sim.explore.evaluation import evaluate_case
from sim.explore.measurements import read_measurements
from sim.explore.metrics import METRICS
from sim.explore.nearest import NothingFeasible, nearest_text
from sim.explore.page import NOT_CONFIRMED, ConfirmedTable, report_page
from sim.explore.pictures import draw_area, draw_front, draw_parallel
from sim.explore.question import default_question, read_question
from sim.explore.routed import largest_routed
from sim.explore.search import Progress, Result, search
from sim.explore.store import Store
from sim.explore.tables import candidates_csv, front_latex, front_table
from sim.explore.workers import ClusterWorkers, Evaluate, InProcess, LocalWorkers, Workers
from sim.profile_pictures import draw_profile, draw_roofline

__all__ = ["run_exploration"]

OUTCOMES, STUDY = "outcomes.db", "study.log"
PAGE = "report.html"
REPORT_WIDTH = 140
"""Columns of tables in a file or pipe."""
CHOSEN = 6
"""Points of the front that are profiled."""


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
    confirmed: int = 0,
    route: bool | None = None,
    console: Console | None = None,
) -> Result:
    """Search, print the front and write it below ``output``.

    Args:
        model: Exported model.
        board_name: Key of ``hw.board.ulx3s.BOARDS``.
        space: TOML file; None for the default space of the board.
        trials: Points to look at.
        jobs: Processes; one per core if None.
        scheduler: Address of a Dask scheduler, in place of processes.
        seed: Of the search.
        output: Folder.
        confirmed: Points of the front to build for real.
        route: Place and route these; only small devices if None.
        console: Where the tables go; standard output if None.

    Raises:
        ModelError: The model cannot be read.
        SpaceError: The space file makes no sense.
        MeasurementError: There are no area data.
        StoreError, StudyError: Files of an earlier search are not of this version.
        WorkerError: No scheduler, or workers that do not live.
        NothingFeasible: Every candidate is beyond a limit; the text names the nearest.
    """
    console = console or _console()
    target = board(board_name)
    question = read_question(space, target) if space else default_question(target)
    fitted, _ = split(read_measurements())
    area_model = AreaModel(fitted)
    memories = question.space.external_memories
    clocks = candidate_clocks(target, memories, area_model, read_clocks())
    judge = Judge(question, target, clocks, area_model)
    network = lower(import_model(model))
    model_hash = hashlib.sha256(model.read_bytes()).hexdigest()
    with (
        Store(output / OUTCOMES) as store,
        _workers(network, jobs, scheduler, partial(evaluate_case, fit=question.fit)) as workers,
        _bar(Console(stderr=True)) as bar,
    ):
        task = bar.add_task("search", total=None, best="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                best=_best_text(progress, judge),
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
    chosen = look_closely(result.front, choose(result.front, CHOSEN), network, model=model.stem)
    report = _Report(title=f"{model.stem} on {target.device}", caption=clocks.text, judge=judge)
    report.print(console, result)
    report.write(output, result, chosen)
    if confirmed:
        confirmations = _confirm(result, board_name, target, confirmed, route, output)
        print_confirmed(confirmations, console)
        report.write(output, result, chosen, confirmed_table(confirmations))
    console.print(f"written: {output / PAGE}", markup=False, highlight=False)
    return result


def _confirm(
    result: Result,
    board_name: str,
    target: Board,
    count: int,
    route: bool | None,
    output: Path,
) -> list[Confirmation]:
    route = target.device in ROUTED_BOARDS if route is None else route
    made: dict[AcceleratorConfig, Confirmation] = {}
    confirmations = []
    for place in choose(result.front, count):
        candidate, number = result.front[place], place + 1
        config = candidate.config
        assert config is not None
        if config not in made:  # points that differ in the batch alone are one accelerator
            out = output / f"point{number}"
            made[config] = confirm(candidate, number, board_name, target, route=route, out=out)
        confirmations.append(replace(made[config], candidate=candidate, number=number))
    return confirmations


@dataclass(frozen=True)
class _Report:
    """What is shown of a search, on the terminal and in files."""

    title: str
    caption: str
    judge: Judge

    def counts(self, result: Result) -> str:
        how = "all points" if result.is_exhaustive else "NSGA-II"
        feasible = sum(candidate.is_feasible for candidate in result.candidates)
        return (
            f"{len(result.candidates):,} points ({how}), {feasible:,} feasible, "
            f"{len(result.front)} on the front; {result.evaluated:,} evaluated now in "
            f"{result.seconds:.1f} s"
        )

    def print(self, console: Console, result: Result) -> None:
        """The front, and what to think of it."""
        if not result.front:
            raise NothingFeasible(nearest_text(self.judge, result))
        console.print(front_table(self.judge.question.space, result.front))
        for line in (f"{self.title}, {self.caption}", self.counts(result)):
            console.print(line, markup=False, highlight=False)
        if any(candidate.is_beyond_routed for candidate in result.front):
            largest = largest_routed(self.judge.board)
            console.print(
                f"* larger than any array that was routed on this device ({largest:,} binary MACs "
                "per cycle): it fits by its cells, and may not route",
                markup=False,
                highlight=False,
            )

    def write(
        self,
        output: Path,
        result: Result,
        chosen: list[Chosen],
        confirmed: ConfirmedTable = NOT_CONFIRMED,
    ) -> None:
        """Page, tables and pictures; each file in one step."""
        space = self.judge.question.space
        files = {
            "candidates.csv": candidates_csv(space, result.candidates, result.front),
            "front.csv": candidates_csv(space, result.front, result.front),
            "front.tex": front_latex(space, result.front, f"{self.title}, {self.caption}"),
            PAGE: report_page(
                self.judge,
                result,
                chosen,
                title=self.title,
                caption=self.caption,
                counts=self.counts(result),
                confirmed=confirmed,
            ),
        }
        for name, text in files.items():
            temporary = output / f"{name}.{os.getpid()}.part"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(output / name)
        draw_front(self.judge, result, chosen, output / "front.png")
        draw_parallel(self.judge, result, output / "parallel.png")
        draw_area(self.judge, chosen, output / "area.png")
        for entry in chosen:
            draw_profile(entry.profile, output / f"point{entry.number}-profile.png")
            draw_roofline(entry.profile, output / f"point{entry.number}-roofline.png")


def _console() -> Console:
    """Standard output; a file or a pipe is wide enough for the table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, REPORT_WIDTH))
    return console


def _workers(
    network: IntegerNetwork, jobs: int | None, scheduler: str | None, function: Evaluate
) -> Workers:
    if scheduler:
        return ClusterWorkers(network, scheduler, function=function)
    count = jobs or os.cpu_count() or 1
    if count == 1:
        return InProcess(network, function=function)
    return LocalWorkers(network, count, function=function)


def _bar(console: Console) -> ProgressBar:
    return ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[best]}"),
        console=console,
    )


def _best_text(progress: Progress, judge: Judge) -> str:
    if progress.best is None:
        return "nothing feasible yet"
    objective = judge.question.objectives[0]
    value = METRICS[objective].text(progress.best.metrics[objective])
    name = judge.question.space.name(progress.best.point)
    return f"{progress.feasible} feasible, best: {value} {objective} ({name})"

"""How many candidates a minute the exploration evaluates: ``python -m host.benchmark_exploration``.

The candidates are drawn from the default space of a board, so that they differ in every size that
a search varies; nothing is in a store beforehand. Beside them stands SCALE-Sim, which is asked for
the same network once.
"""

from __future__ import annotations

import random
import resource
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from golden.lowering import lower
from golden.onnx_import import import_model
from host.command_parameters import FILE, FOLDER
from hw.board.ulx3s import board
from hw.config import ConfigError, preset
from sim import scale_sim
from sim.explore.evaluation import evaluate_case
from sim.explore.question import Question, default_question
from sim.explore.space import Case
from sim.explore.workers import InProcess, LocalWorkers

__all__ = ["MINIMUM", "Rate", "draw", "main", "measure", "peer_text"]

MINIMUM = 1000
"""Candidates a minute that are wanted, of ResNet-20 on two cores."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Evaluations of different candidates."""

    candidates: int
    compiled: int
    """Those that have a program."""
    jobs: int
    seconds: float
    """Wall time, without the start of the workers."""
    cpu_seconds: float
    """Of all processes, with their start."""

    @property
    def per_minute(self) -> float:
        return 60 * self.candidates / self.seconds

    @property
    def per_minute_alone(self) -> float:
        """By the CPU time: what free cores would reach."""
        return 60 * self.candidates * self.jobs / self.cpu_seconds

    @property
    def text(self) -> str:
        return (
            f"{self.candidates} candidates ({self.compiled} with a program) in "
            f"{self.seconds:.1f} s on {self.jobs} jobs: {self.per_minute:,.0f} a minute; "
            f"{1e3 * self.cpu_seconds / self.candidates:.0f} ms of CPU each, so "
            f"{self.per_minute_alone:,.0f} a minute on free cores; at least {MINIMUM:,} wanted"
        )


def draw(question: Question, count: int, seed: int = 1) -> dict[str, Case]:
    """``count`` different candidates that can be built."""
    choose = random.Random(seed)
    space, drawn = question.space, {}
    while len(drawn) < count:
        point = {d.name: choose.choice(d.values) for d in space.dimensions}
        try:
            drawn[repr(point)] = space.case(point)
        except ConfigError:
            continue
    return drawn


def measure(model: Path, board_name: str, count: int, jobs: int) -> Rate:
    """Evaluate ``count`` candidates of the default space of a board."""
    network = lower(import_model(model))
    question = default_question(board(board_name))
    function = partial(evaluate_case, fit=question.fit)
    cases = draw(question, count + jobs)
    keys = list(cases)
    warm = {key: cases.pop(key) for key in keys[:jobs]}
    before = _cpu_seconds()
    with (
        InProcess(network, function=function)
        if jobs == 1
        else LocalWorkers(network, jobs, function=function)
    ) as workers:
        list(workers.run(warm))
        start = time.perf_counter()
        outcomes = dict(workers.run(cases))
        seconds = time.perf_counter() - start
    return Rate(
        candidates=count,
        compiled=sum(outcome.cycles is not None for outcome in outcomes.values()),
        jobs=jobs,
        seconds=seconds,
        cpu_seconds=_cpu_seconds() - before,
    )


def _cpu_seconds() -> float:
    """Of this process and of those that have ended."""
    uses = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def peer_text(model: Path, board_name: str, work: Path, rate: Rate) -> str:
    """What SCALE-Sim takes for one candidate; it is installed below ``work`` on first use.

    Raises:
        PeerError: It cannot be installed or run.
    """
    network = lower(import_model(model))
    array = preset(board(board_name).preset).array
    python = scale_sim.install(work / "scale-sim")
    result = scale_sim.run(python, network, array, work / f"scale-sim-{model.stem}")
    return (
        f"SCALE-Sim 3 takes {result.seconds:.1f} s for one, of {array.rows} x {array.columns} "
        f"elements: {result.seconds * rate.per_minute / 60:,.0f} candidates in that time"
    )


@click.command()
@click.argument("model", type=FILE, default=Path("models/resnet20-cifar10-w2a2.onnx"))
@click.option("--board", "board_name", default="ulx3s", show_default=True)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--peer/--no-peer", default=True, help="Run SCALE-Sim, too.")
@click.option("--work", type=FOLDER, default=Path("build/bench/work"), show_default=True)
def main(model: Path, board_name: str, count: int, jobs: int, peer: bool, work: Path) -> None:
    """Print the rate, and how long SCALE-Sim takes for one; exit code 1 if the rate is too low."""
    rate = measure(model, board_name, count, jobs)
    click.echo(rate.text)
    if peer:
        click.echo(peer_text(model, board_name, work, rate))
    raise SystemExit(0 if rate.per_minute >= MINIMUM else 1)


if __name__ == "__main__":
    main()

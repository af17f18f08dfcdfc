"""How many candidates a minute the exploration evaluates: ``python -m host.benchmark_exploration``.

The candidates are drawn from the default space of a board, so that they differ in every size that
a search varies; nothing is in a store beforehand.
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
from host.command_parameters import FILE
from hw.board.ulx3s import board
from hw.config import AcceleratorConfig, ConfigError
from sim.explore.evaluation import evaluate
from sim.explore.question import Question, default_question
from sim.explore.workers import InProcess, LocalWorkers

__all__ = ["Rate", "draw", "measure"]


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
    def text(self) -> str:
        return (
            f"{self.candidates} candidates ({self.compiled} with a program) in "
            f"{self.seconds:.1f} s on {self.jobs} jobs: {self.per_minute:,.0f} a minute; "
            f"{1e3 * self.cpu_seconds / self.candidates:.0f} ms of CPU each"
        )


def draw(question: Question, count: int, seed: int = 1) -> dict[str, AcceleratorConfig]:
    """``count`` different candidates that can be built."""
    choose = random.Random(seed)
    space, drawn = question.space, {}
    while len(drawn) < count:
        point = {d.name: choose.choice(d.values) for d in space.dimensions}
        try:
            drawn[repr(point)] = space.configuration(point)
        except ConfigError:
            continue
    return drawn


def measure(model: Path, board_name: str, count: int, jobs: int) -> Rate:
    """Evaluate ``count`` candidates of the default space of a board."""
    network = lower(import_model(model))
    question = default_question(board(board_name))
    function = partial(evaluate, fit=question.fit)
    configs = draw(question, count + jobs)
    keys = list(configs)
    warm = {key: configs.pop(key) for key in keys[:jobs]}
    before = _cpu_seconds()
    with (
        InProcess(network, function=function)
        if jobs == 1
        else LocalWorkers(network, jobs, function=function)
    ) as workers:
        list(workers.run(warm))
        start = time.perf_counter()
        outcomes = dict(workers.run(configs))
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


@click.command()
@click.argument("model", type=FILE, default=Path("models/resnet20-cifar10-w2a2.onnx"))
@click.option("--board", "board_name", default="ulx3s", show_default=True)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
def main(model: Path, board_name: str, count: int, jobs: int) -> None:
    """Print the rate."""
    click.echo(measure(model, board_name, count, jobs).text)


if __name__ == "__main__":
    main()

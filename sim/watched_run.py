"""A run of the simulator, shown while it goes on."""

from __future__ import annotations

import threading
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .bench import Bench
from .job import ImageResult, ResultReader

__all__ = ["watched_run"]

POLL_SECONDS = 0.1


def watched_run(
    bench: Bench, build: Path, folders: list[Path], total: int, run_name: str
) -> list[list[ImageResult]]:
    """Run the simulator in a thread and show the runs as they are done: images, or batches. The
    results of each folder."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            bench.simulator.run(build, folders)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    readers = [ResultReader(folder) for folder in folders]
    results: list[list[ImageResult]] = [[] for _ in folders]
    done = 0
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
            for reader, own in zip(readers, results, strict=True):
                for result in reader.new():
                    own.append(result)
                    done += 1
                    bar.update(task, completed=done)
                    _print_result(bench.console, result, done, total, run=run_name)
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

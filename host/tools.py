"""External programs: where they are, running them with a log, and showing how far they are."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

__all__ = ["Stage", "StageDisplay", "ToolError", "ToolRunner", "find_tool"]

FIRST_USE = "first use: compiling the tool for this machine, about 25 s, only once"
REMINDER_SECONDS = 30.0
KILL_SECONDS = 5.0
_NOISE = re.compile(r"^[\s\-=|\[\d.,)*+]*$|^\s*\[|\|")


class ToolError(RuntimeError):
    """A program is missing or failed; the text says which and what to do."""


def find_tool(name: str) -> str | None:
    """Path of the program ``name``, or None.

    First the environment variable that Amaranth uses for it (``YOSYS``, ``NEXTPNR_ECP5``,
    ``ECPPACK``, ...), then this Python's own folder of programs, then ``PATH``; in the last two
    ``yowasp-<name>`` before ``<name>``, because that version is pinned.
    """
    override = os.environ.get(name.upper().replace("-", "_"))
    if override:
        return shutil.which(override)
    own = os.path.dirname(sys.executable)
    for folder in (own, os.environ.get("PATH", "")):
        for candidate in (f"yowasp-{name}", name):
            if path := shutil.which(candidate, path=folder):
                return path
    return None


class Stage:
    """One line of the display: a name, the time since its start, and the latest news."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.news = ""
        self.state = "running"
        self._start = time.monotonic()
        self._end: float | None = None
        self._reminded = self._start

    @property
    def seconds(self) -> float:
        return (self._end or time.monotonic()) - self._start

    def finish(self, state: str) -> None:
        self.state = state
        self._end = time.monotonic()

    def is_reminder_due(self) -> bool:
        """True every ``REMINDER_SECONDS``."""
        due = time.monotonic() - self._reminded >= REMINDER_SECONDS
        if due:
            self._reminded = time.monotonic()
        return due


class StageDisplay:
    """Shows the stages of a long job: live on a terminal, as plain lines otherwise.

    Stages may run at once in several threads.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._stages: list[Stage] = []
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, get_renderable=self._render, refresh_per_second=5
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """A stage that lasts as long as the ``with`` block and fails if that raises."""
        stage = Stage(name)
        self._stages.append(stage)
        self._print(f"{name} ...")
        try:
            yield stage
        except BaseException:
            stage.finish("failed")
            self._print(f"{name} FAILED after {stage.seconds:.0f} s")
            raise
        stage.finish("done")
        self._print(f"{name} done in {stage.seconds:.1f} s{'  ' * bool(stage.news)}{stage.news}")

    def news(self, stage: Stage, line: str) -> None:
        """What the stage does now; without a terminal shown every ``REMINDER_SECONDS``."""
        stage.news = line
        if line == FIRST_USE or stage.is_reminder_due():
            self._print(f"{stage.name} {stage.seconds:.0f} s: {line}")

    def _print(self, line: str) -> None:
        if not self._live:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        marks = {"done": Text("✓", "green"), "failed": Text("✗", "red"), "running": self._spinner}
        for stage in list(self._stages):
            table.add_row(marks[stage.state], stage.name, f"{stage.seconds:.0f} s", stage.news)
        return Group(table)


class ToolRunner:
    """Runs programs in one working folder.

    YoWASP programs see a private folder in place of ``/tmp``: give them names relative to
    ``folder`` only.
    """

    def __init__(self, folder: Path, display: StageDisplay) -> None:
        self.folder = folder
        self._display = display
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop what still runs, so that an interrupted job leaves nothing behind."""
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.terminate()
            try:
                process.wait(KILL_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def run(self, name: str, arguments: list[str], *, stage: Stage, log: str) -> None:
        """Run to the end; raises :class:`ToolError` with the tool's own error line.

        Args:
            name: Of the program, as for :func:`find_tool`.
            arguments: For it.
            stage: Shows what the program says.
            log: File name in ``folder`` for all that the program says.
        """
        path = find_tool(name)
        if path is None:
            raise ToolError(f"{name} must be installed: run `lqfpga doctor` for the command")
        with (
            open(self.folder / log, "w", encoding="utf-8") as log_file,
            subprocess.Popen(
                [path, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            with self._lock:
                self._processes.add(process)
            tail: deque[str] = deque(maxlen=40)
            assert process.stdout is not None
            for line in process.stdout:
                log_file.write(line)
                tail.append(line.rstrip())
                self._show(stage, line)
            status = process.wait()
            with self._lock:
                self._processes.discard(process)
        if status < 0:
            raise ToolError(
                f"{name} was stopped by signal {signal.Signals(-status).name}: is there enough "
                f"memory? (log: {self.folder / log})"
            )
        if status:
            raise ToolError(
                f"{name} failed with exit code {status}: {_error_line(tail)} "
                f"(log: {self.folder / log})"
            )

    def _show(self, stage: Stage, line: str) -> None:
        if line.startswith("Preparing to run"):
            self._display.news(stage, FIRST_USE)
        elif not _NOISE.search(line):
            self._display.news(stage, line.strip().removeprefix("Info:").strip())


def _error_line(tail: deque[str]) -> str:
    """The line that says what went wrong, else the last one."""
    lines = [line for line in tail if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[0 if errors else -1].strip()

"""Progress of a training run: a live bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 60.0
"""Time between two plain lines."""


class Progress:
    """Shows steps, running loss and accuracy, and the time left.

    Args:
        console: Where to write; by default the standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(soft_wrap=True, highlight=False)
        self._bar = Bar(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.1%}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=None, loss=0.0, accuracy=0.0)
        self._total = 0
        self._first = 0
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def start(self, total: int, done: int) -> None:
        """Begin to count: ``total`` steps, of which ``done`` were made by an earlier run."""
        self._total = total
        self._first = done
        self._started = self._last_line = time.monotonic()
        self._bar.update(self._task, total=total, completed=done)

    def update(self, step: int, loss: float, accuracy: float) -> None:
        """Report that ``step`` steps are done, with running loss and accuracy (0..1)."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step, loss=loss, accuracy=accuracy)
            return
        now = time.monotonic()
        if now - self._last_line < LINE_SECONDS:
            return
        self._last_line = now
        pace = (now - self._started) / max(step - self._first, 1)
        left = pace * (self._total - step) / 60
        self.line(
            f"step {step}/{self._total}  loss {loss:.4f}  accuracy {accuracy:.1%}  "
            f"{left:.0f} min left"
        )

    def line(self, text: str) -> None:
        """Write a line of its own."""
        self._console.print(text, markup=False)
        self._console.file.flush()

"""Progress off a terminal."""

import io

import pytest
from rich.console import Console

from golden.progress import Progress


def test_progress_writes_plain_lines_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    now = 0.0
    monkeypatch.setattr("golden.progress.time.monotonic", lambda: now)
    with Progress(Console(file=file, soft_wrap=True)) as progress:
        progress.start(total=100, done=10)
        for step in range(11, 31):
            now += 10.0
            progress.update(step, loss=1.5, accuracy=0.25)
    assert file.getvalue().splitlines() == [
        "step 16/100  loss 1.5000  accuracy 25.0%  14 min left",
        "step 22/100  loss 1.5000  accuracy 25.0%  13 min left",
        "step 28/100  loss 1.5000  accuracy 25.0%  12 min left",
    ]

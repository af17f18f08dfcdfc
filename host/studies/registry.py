"""All studies by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from . import batch, counting, lanes, peers, scaling, widths
from .findings import Findings

__all__ = ["STUDIES"]

STUDIES: dict[str, Callable[[Path, Console], Findings]] = {
    "counting": counting.run,
    "lanes": lanes.run,
    "widths": widths.run,
    "scaling": scaling.run,
    "peers": peers.run,
    "batch": batch.run,
}
"""Each takes a folder to work in, and a console for its progress."""

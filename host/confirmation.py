"""Chosen points of a search, built for real: predicted and real figures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from host.bitstream import TimingError, build
from host.bitstream_report import BitstreamReport, load_json, read_statistics
from host.calibration import measure
from host.synthesis import STATISTICS
from host.tools import ToolError
from hw.board.ulx3s import Board
from sim.explore.candidate import Candidate
from sim.explore.page import ConfirmedTable

__all__ = ["ROUTED_BOARDS", "Confirmation", "confirm", "confirmed_table", "print_confirmed"]

ROUTED_BOARDS = ("LFE5U-12F", "LFE5U-25F")
"""Devices whose designs are placed and routed in minutes: a confirmation does it unasked."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What the tools made of a candidate."""

    number: int
    """Place in the front, from 1."""
    candidate: Candidate
    lut4: int | None = None
    """Of the synthesis, like the prediction."""
    ff: int | None = None
    block_ram: int | None = None
    multipliers: int | None = None
    placed_lut4: int | None = None
    """That nextpnr occupies; None if it was not asked for or failed."""
    clock_mhz: float | None = None
    """That was reached; None like ``placed_lut4``."""
    failure: str = ""

    @property
    def images_per_second(self) -> float | None:
        """At the routed clock."""
        if self.clock_mhz is None:
            return None
        outcome = self.candidate.outcome
        assert outcome is not None
        assert outcome.cycles is not None
        return self.clock_mhz * 1e6 * outcome.images / outcome.cycles


def confirm(
    candidate: Candidate,
    number: int,
    board_name: str,
    board: Board,
    *,
    route: bool,
    out: Path,
    console: Console | None = None,
) -> Confirmation:
    """Synthesise a candidate and, if asked to, place and route it.

    A candidate that a tool refuses, or that misses its clock, is a result: see ``failure``.

    Args:
        candidate: Of the front.
        number: Its place there.
        board_name: Key of ``hw.board.ulx3s.BOARDS``.
        board: The board of that name.
        route: Place and route, too.
        out: Folder of the bitstream and its report.
        console: Where progress is shown.
    """
    assert candidate.config is not None
    # The name is part of the design, where it has 16 characters at most.
    config = replace(candidate.config, name=f"point{number}")
    try:
        if not route:
            real = measure(config, work=out / "work", target=board, console=console)
            return Confirmation(
                number=number,
                candidate=candidate,
                lut4=real.lut4_total,
                ff=real.ff_total,
                block_ram=real.block_ram,
                multipliers=real.multipliers,
            )
        report = build(board_name, config=config, out=out, console=console)
    except TimingError as error:
        return Confirmation(
            number=number, candidate=candidate, failure=str(error), **_synthesised(out)
        )
    except ToolError as error:
        return Confirmation(number=number, candidate=candidate, failure=str(error))
    return _of_report(number, candidate, report, out)


def _of_report(
    number: int, candidate: Candidate, report: BitstreamReport, out: Path
) -> Confirmation:
    return Confirmation(
        number=number,
        candidate=candidate,
        placed_lut4=report.lut4,
        clock_mhz=report.clock_reached_mhz,
        **_synthesised(out),
    )


def _synthesised(out: Path) -> dict[str, int]:
    needs = read_statistics(load_json(out / "work" / STATISTICS))
    names = {"lut4": "LUT4", "ff": "FF", "block_ram": "block RAM", "multipliers": "multiplier"}
    return {key: needs[name] for key, name in names.items()}


def confirmed_table(confirmations: Sequence[Confirmation]) -> ConfirmedTable:
    """Predicted and real figures as text."""
    headings = (
        *("point", "LUT4 predicted", "real", "error", "placed", "FF predicted", "real", "error"),
        *("BRAM predicted", "real", "mult predicted", "real"),
        *("MHz predicted", "real", "error", "images/s at it"),
    )
    return ConfirmedTable(headings, [_row(entry) for entry in confirmations])


def _row(entry: Confirmation) -> list[str]:
    area = entry.candidate.area
    assert area is not None

    def pair(predicted: float, real: int | None) -> tuple[str, str, str]:
        if real is None:
            return f"{predicted:,.0f}", "", ""
        return f"{predicted:,.0f}", f"{real:,}", _error(predicted, real)

    speed = entry.images_per_second
    predicted, error = _clock_texts(entry)
    return [
        f"{entry.number}",
        *pair(area.lut4_total, entry.lut4),
        "" if entry.placed_lut4 is None else f"{entry.placed_lut4:,}",
        *pair(area.ff_total, entry.ff),
        *pair(area.block_ram, entry.block_ram)[:2],
        *pair(area.multipliers, entry.multipliers)[:2],
        predicted,
        (entry.failure or "not routed") if entry.clock_mhz is None else f"{entry.clock_mhz:.1f}",
        error,
        "" if speed is None else f"{speed:,.1f}",
    ]


def _clock_texts(entry: Confirmation) -> tuple[str, str]:
    """The predicted clock and its error, as far as there are such."""
    clock = entry.candidate.clock
    if clock is None or not clock.is_predicted:
        return "", ""
    reached = entry.clock_mhz
    return f"{clock.mhz:.1f}", "" if reached is None else f"{clock.mhz / reached - 1:+.1%}"


def _error(predicted: float, real: int) -> str:
    return f"{predicted / real - 1:+.1%}" if real else f"{predicted - real:+,.0f}"


def print_confirmed(confirmations: Sequence[Confirmation], console: Console) -> None:
    """A line for each figure of each point: predicted, real, error."""
    table = Table(title="Confirmed by the tools", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("point", justify="right")
    table.add_column("figure")
    for heading in ("predicted", "real", "error"):
        table.add_column(heading, justify="right")
    for entry in confirmations:
        area = entry.candidate.area
        assert area is not None
        figures = (
            ("LUT4 of the synthesis", area.lut4_total, entry.lut4),
            ("flip-flops", area.ff_total, entry.ff),
            ("block RAMs", area.block_ram, entry.block_ram),
            ("multipliers", area.multipliers, entry.multipliers),
        )
        for index, (name, predicted, real) in enumerate(figures):
            table.add_row(
                "" if index else f"{entry.number}",
                name,
                f"{predicted:,.0f}",
                "" if real is None else f"{real:,}",
                "" if real is None else _error(predicted, real),
            )
        if entry.placed_lut4 is not None:
            table.add_row("", "LUT4 placed", "", f"{entry.placed_lut4:,}", "")
        if entry.clock_mhz is not None:
            predicted, error = _clock_texts(entry)
            table.add_row("", "clock, MHz", predicted, f"{entry.clock_mhz:.1f}", error)
            table.add_row("", "images/s at it", "", f"{entry.images_per_second:,.1f}", "")
        table.add_section()
    console.print(table)
    for entry in confirmations:
        if entry.failure:
            console.print(f"point {entry.number}: {entry.failure}", markup=False, highlight=False)

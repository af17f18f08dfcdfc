"""The candidates of a search as tables: on the terminal, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich import box
from rich.table import Table

from .candidate import Candidate
from .metrics import METRICS
from .space import BATCH, Space

__all__ = ["candidates_csv", "front_latex", "front_table", "varied"]

_SHOWN = ("images_per_second", "cycles", "lut4", "block_ram", "multipliers", "energy_uj")
"""Metrics on the terminal; the files have all of them."""
_ARRAY = ("rows", "columns", "granules", "drain_lanes")
_COLUMNS = (*_ARRAY, BATCH)


def varied(space: Space, candidates: Sequence[Candidate]) -> list[str]:
    """Dimensions in which the candidates differ, or all if there is but one."""
    names = [dimension.name for dimension in space.dimensions]
    return [
        name
        for name in names
        if len({c.point[name] for c in candidates}) > 1 or len(candidates) < 2
    ]


def front_table(space: Space, front: Sequence[Candidate], rows: int = 20) -> Table:
    """The first candidates of a front: arrays as "rows x columns x lanes, drain lanes", metrics,
    and the other sizes in which they differ; of batches the images and the latency of a run."""
    names = [name for name in varied(space, front) if name not in _COLUMNS]
    has_batches = any(dimension.name == BATCH for dimension in space.dimensions)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("array", no_wrap=True)
    if has_batches:
        table.add_column(BATCH, justify="right", no_wrap=True)
    shown = [METRICS[name] for name in (*_SHOWN, *(["latency_ms"] if has_batches else []))]
    for metric in shown:
        table.add_column(metric.short, justify="right", style="bold", no_wrap=True)
    if names:
        table.add_column("other sizes", overflow="fold")
    for number, candidate in enumerate(front[:rows], 1):
        assert candidate.config is not None
        array = candidate.config.array
        table.add_row(
            f"{number}{'*' * candidate.is_beyond_routed}",
            f"{array.rows} x {array.columns} x {array.lanes}, {array.drain_lanes}",
            *([str(candidate.point[BATCH])] if has_batches else []),
            *(metric.text(candidate.metrics[metric.name]) for metric in shown),
            *([" ".join(f"{name}={candidate.point[name]}" for name in names)] if names else []),
        )
    if len(front) > rows:
        table.caption = f"the first {rows} of {len(front)}: all are in front.csv"
    return table


def candidates_csv(
    space: Space, candidates: Sequence[Candidate], front: Sequence[Candidate]
) -> str:
    """All candidates, infeasible ones with their reasons; ``front`` is 1 for those of the front.

    ``mhz`` is the clock of images/s and latency, ``clock`` what is known of it.
    """
    names = [dimension.name for dimension in space.dimensions]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*names, *METRICS, "mhz", "clock", "feasible", "front", "larger_than_routed", "problems"]
    )
    chosen = {id(candidate) for candidate in front}
    for candidate in candidates:
        writer.writerow(
            [
                *(candidate.point[name] for name in names),
                *(_number(candidate, metric) for metric in METRICS),
                *(("", "") if (clock := candidate.clock) is None else (clock.mhz, clock.kind)),
                int(candidate.is_feasible),
                int(id(candidate) in chosen),
                int(candidate.is_beyond_routed),
                "; ".join(candidate.problems),
            ]
        )
    return text.getvalue()


def _number(candidate: Candidate, metric: str) -> str:
    value = candidate.metrics.get(metric)
    return "" if value is None else f"{value:.6g}"


def front_latex(space: Space, front: Sequence[Candidate], caption: str) -> str:
    """A table for a paper (needs the package booktabs)."""
    names = varied(space, front)
    columns = "r" * (len(names) + len(METRICS))
    heads = [_escaped(name) for name in names] + [
        _escaped(metric.short) for metric in METRICS.values()
    ]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for candidate in front:
        cells = [str(candidate.point[name]) for name in names]
        cells += [metric.text(candidate.metrics[name]) for name, metric in METRICS.items()]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _escaped(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("µ", r"$\mu$")

"""A search as pictures: the front, parallel coordinates, and where the area goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure

from sim.profile_pictures import save_figure

from .candidate import Candidate, Judge
from .choice import Chosen
from .measurements import BLOCKS
from .metrics import METRICS
from .search import Result
from .tables import varied

__all__ = ["draw_area", "draw_front", "draw_parallel"]

FRONT, FEASIBLE, INFEASIBLE = "#d55e00", "#56b4e9", "0.85"
_MOST_LINES = 400
"""Of candidates behind the front: more would only hide one another."""


def draw_front(judge: Judge, result: Result, chosen: Sequence[Chosen], path: Path) -> None:
    """Write a PNG: the first objective over each other one."""
    up, *others = judge.question.objectives
    others = others or ["lut4" if up != "lut4" else "block_ram"]
    figure = Figure(figsize=(6.5 * len(others), 5), layout="constrained")
    groups = (
        ([c for c in result.candidates if c.metrics and not c.is_feasible], INFEASIBLE, 8),
        ([c for c in result.candidates if c.is_feasible], FEASIBLE, 12),
        (result.front, FRONT, 30),
    )
    labels = ("beyond a limit", "feasible", "on the front")
    for index, across in enumerate(others):
        axes = figure.add_subplot(1, len(others), index + 1)
        for (members, colour, size), label in zip(groups, labels, strict=True):
            axes.scatter(
                [c.metrics[across] for c in members],
                [c.metrics[up] for c in members],
                s=size,
                color=colour,
                label=f"{label} ({len(members):,})",
                linewidths=0,
            )
        beyond = [c for c in result.front if c.is_beyond_routed]
        if beyond:
            axes.scatter(
                [c.metrics[across] for c in beyond],
                [c.metrics[up] for c in beyond],
                s=90,
                facecolors="none",
                edgecolors="0.5",
                label="larger than any array routed here",
            )
        for entry in chosen:
            axes.annotate(
                f"{entry.number}",
                (entry.candidate.metrics[across], entry.candidate.metrics[up]),
                (5, 5),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set(xlabel=METRICS[across].label, ylabel=METRICS[up].label)
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.axes[0].legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def draw_parallel(judge: Judge, result: Result, path: Path) -> None:
    """Write a PNG: a line per feasible candidate through its sizes and metrics."""
    space = judge.question.space
    sizes = varied(space, result.front)
    names = [*sizes, *METRICS]
    feasible = [candidate for candidate in result.candidates if candidate.is_feasible]
    figure = Figure(figsize=(1.05 * len(names) + 1, 5), layout="constrained")
    axes = figure.add_subplot()
    steps = {
        dimension.name: [
            v for v in dimension.values if v in {c.point[dimension.name] for c in feasible}
        ]
        for dimension in space.dimensions
        if dimension.name in sizes
    }

    def height(candidate: Candidate, name: str) -> float:
        """0 to 1; sizes at equal distances."""
        if name in steps:
            return steps[name].index(candidate.point[name]) / max(1, len(steps[name]) - 1)
        low, high = ranges[name]
        return (candidate.metrics[name] - low) / ((high - low) or 1)

    ranges = (
        {
            name: (min(c.metrics[name] for c in feasible), max(c.metrics[name] for c in feasible))
            for name in METRICS
        }
        if feasible
        else {}
    )
    behind = feasible[:: max(1, len(feasible) // _MOST_LINES)]
    places = range(len(names))
    for candidate in behind:
        axes.plot(places, [height(candidate, n) for n in names], color="0.6", alpha=0.08, lw=0.8)
    for number, candidate in enumerate(reversed(result.front)):
        colour = colormaps["viridis"](number / max(1, len(result.front) - 1))
        axes.plot(places, [height(candidate, n) for n in names], color=colour, lw=1.4, alpha=0.85)
    for place, name in enumerate(names):
        axes.axvline(place, color="0.4", lw=0.8)
        if name in steps:
            for index, step in enumerate(steps[name]):
                y = index / max(1, len(steps[name]) - 1)
                text = step if isinstance(step, str) else f"{step:,}"
                axes.text(place + 0.04, y, text, fontsize=7, va="center")
        elif feasible:
            for y, value in zip((0, 1), ranges[name], strict=True):
                axes.text(place + 0.04, y, METRICS[name].text(value), fontsize=7, va="center")
    labels = [METRICS[name].short if name in METRICS else name.replace("_", "\n") for name in names]
    axes.set_xticks(places, labels, fontsize=8)
    axes.set_yticks([])
    axes.set_title(
        "feasible candidates; the front in colour, the best of the first objective light"
    )
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def draw_area(judge: Judge, chosen: Sequence[Chosen], path: Path) -> None:
    """Write a PNG: the LUT4 of the chosen points, by block."""
    figure = Figure(figsize=(11, 1.8 + 0.4 * len(chosen)), layout="constrained")
    axes = figure.add_subplot()
    lefts = [0.0] * len(chosen)
    palette = colormaps["tab20"]
    for index, block in enumerate(BLOCKS):
        widths = [entry.candidate.area.lut4[block] for entry in chosen if entry.candidate.area]
        axes.barh(
            range(len(chosen)), widths, left=lefts, color=palette(index), label=block, height=0.75
        )
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    limit = judge.board.lut4 / judge.model.placed_per_lut4
    axes.axvline(limit, color="#b00000", linestyle="--", lw=1)
    axes.set_yticks(range(len(chosen)), [f"point {entry.number}" for entry in chosen])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"LUT4 (model); {limit:,.0f} fill the {judge.board.device} when placed")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    save_figure(figure, path)

"""A search for planes per layer as table, CSV and picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from golden.post_training import PostTraining
from host.mixed_precision import PrecisionPoint
from sim.profile_pictures import save_figure

__all__ = ["draw_precision_front", "planes_text", "points_csv", "precision_table"]

FRONT, MIXED, UNIFORM = "#d55e00", "#56b4e9", "#0072b2"


def planes_text(sites: Sequence[str], planes: dict[str, int]) -> str:
    """Planes of the sites in order, a digit each."""
    return "".join(str(planes[site]) for site in sites)


def precision_table(
    front: Sequence[PrecisionPoint], quantizer: PostTraining, *, title: str
) -> Table:
    """The front as a table for the terminal."""
    table = Table(
        "cycles",
        "accuracy",
        "other images",
        "uniform",
        "weight planes",
        "activation planes",
        title=title,
    )
    for column in table.columns[:3]:
        column.justify = "right"
    for column in table.columns[4:]:
        column.overflow = "fold"
    for point in front:
        other = point.other_accuracy
        table.add_row(
            f"{point.cycles:,}",
            f"{point.accuracy:.2%}",
            "" if other is None else f"{other:.2%}",
            point.uniform,
            planes_text(quantizer.weights, point.planes),
            planes_text(quantizer.activations, point.planes),
        )
    return table


def points_csv(
    points: Sequence[PrecisionPoint], front: Sequence[PrecisionPoint], quantizer: PostTraining
) -> str:
    """All points, a line each; those of the front first."""
    sites = (*quantizer.weights, *quantizer.activations)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["on_front", "uniform", "cycles", "accuracy", "accuracy_other_images", *sites])
    chosen = [point.planes for point in front]
    rest = [point for point in points if point.planes not in chosen]
    for point in (*front, *rest):
        other = "" if point.other_accuracy is None else f"{point.other_accuracy:.6f}"
        writer.writerow(
            [
                int(point.planes in chosen),
                point.uniform,
                point.cycles,
                f"{point.accuracy:.6f}",
                other,
                *(point.planes[site] for site in sites),
            ]
        )
    return text.getvalue()


def draw_precision_front(
    points: Sequence[PrecisionPoint], front: Sequence[PrecisionPoint], path: Path, *, title: str
) -> None:
    """Write a PNG: accuracy over cycles, the front as steps, uniform choices by name."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    groups = (
        ([p for p in points if not p.uniform], MIXED, 14, "mixed"),
        ([p for p in points if p.uniform], UNIFORM, 26, "uniform"),
    )
    for members, colour, size, label in groups:
        axes.scatter(
            [p.cycles for p in members],
            [100 * p.accuracy for p in members],
            s=size,
            color=colour,
            linewidths=0,
            label=f"{label} ({len(members)})",
        )
    axes.step(
        [p.cycles for p in front],
        [100 * p.accuracy for p in front],
        where="post",
        color=FRONT,
        linewidth=1,
        label=f"front ({len(front)})",
    )
    for point in points:
        if point.uniform:
            axes.annotate(
                point.uniform,
                (point.cycles, 100 * point.accuracy),
                (4, -9),
                textcoords="offset points",
                fontsize=7,
            )
    axes.set(xlabel="cycles per image", ylabel="accuracy on validation images, %", title=title)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    save_figure(figure, path)

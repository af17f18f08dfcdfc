"""Weight and activation planes against images/s and accuracy on CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from golden.data import DataError, load_cifar10
from golden.integer_reference import classify
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.routed import preset_clock
from sim.explore.store import source_hash

from .findings import Findings, Table
from .networks import integer_network, profile_network

__all__ = ["PAPER", "WIDTHS", "measured_accuracy", "run"]

PRESET, BOARD = "simulation-large", "ulx3s-85f"
"""The array of the board, with memories that hold VGG-Small."""
WIDTHS = ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 3), (4, 4))
PAPER: Mapping[str, Mapping[tuple[int, int], float]] = {
    "resnet20": {(1, 2): 88.4, (2, 2): 90.2, (2, 3): 91.1, (3, 3): 91.6},
    "vgg-small": {(1, 2): 93.4, (2, 2): 93.5, (2, 3): 93.8, (3, 3): 93.8},
}
"""Top-1 in percent on CIFAR-10 as Zhang et al., "LQ-Nets" (ECCV 2018), report it. Nothing of this
project: its widths are (weights, activations)."""
SHIPPED = "models/{name}-cifar10-w{weights}a{activations}.onnx"
FIRST_LAYER_BITS = {"resnet20": 5}
"""Planes of the weights of a first layer, as the shipped models have them; else eight."""
BATCH = 100


@dataclass(frozen=True, kw_only=True)
class _Point:
    cycles: int
    images_per_second: float
    paper: float | None
    measured: float | None


def run(
    work: Path,
    console: Console,
    *,
    widths: tuple[tuple[int, int], ...] = WIDTHS,
    names: tuple[str, ...] = tuple(PAPER),
    limit: int | None = None,
) -> Findings:
    """Cycles of example models at each pair of widths, images/s at the routed clock of the array,
    and what is known of their accuracy."""
    clock = preset_clock(preset(board(BOARD).preset))
    config = preset(PRESET)
    points: dict[tuple[str, int, int], _Point] = {}
    for name, (weights, activations) in track(
        [(name, pair) for name in names for pair in widths], "widths", console=console
    ):
        bits = FIRST_LAYER_BITS.get(name)
        network = integer_network(name, weights, activations, first_layer_bits=bits)
        shipped = Path(SHIPPED.format(name=name, weights=weights, activations=activations))
        profile = profile_network(network, config, name, clock)
        points[name, weights, activations] = _Point(
            cycles=profile.cycles_per_image,
            images_per_second=profile.images_per_second,
            paper=PAPER[name].get((weights, activations)),
            measured=measured_accuracy(shipped, console, limit) if shipped.exists() else None,
        )
    rows = [
        (
            f"{name} W{weights}A{activations}",
            f"{weights * activations}",
            f"{point.cycles:,}",
            f"{point.images_per_second:,.0f}",
            f"{point.paper:.1f}" if point.paper else "",
            f"{point.measured:.2f}" if point.measured else "",
        )
        for (name, weights, activations), point in points.items()
    ]
    headings = ("network", "pairs of planes", "cycles", "images/s", "top-1 % of the paper")
    return Findings(
        tables=[Table(name="widths", headings=[*headings, "top-1 % measured here"], rows=rows)],
        figures={"widths": _figure(points)},
        origin=f"cycle model, {clock.mhz:g} MHz ({clock.source}, routed), sources "
        f"{source_hash()[:8]}",
    )


def measured_accuracy(model: Path, console: Console, limit: int | None = None) -> float | None:
    """Top-1 in percent of the integer network on the CIFAR-10 test images; None without them."""
    try:
        test = load_cifar10().test
    except DataError as error:
        console.print(f"accuracy is not measured: {error}", markup=False)
        return None
    network = lower(import_model(model))
    images, labels = test.pixels[:limit], test.labels[:limit]
    starts = range(0, len(images), BATCH)
    found = [classify(network, images[start : start + BATCH]) for start in starts]
    return 100 * float(np.mean(np.concatenate(found) == labels))


def _figure(points: Mapping[tuple[str, int, int], _Point]) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(dict.fromkeys(name for name, *_ in points)):
        own = {(w, a): point for (n, w, a), point in points.items() if n == name}
        products = [w * a for w, a in own]
        cycles = [point.cycles for point in own.values()]
        left.plot(products, cycles, "o", color=f"C{number}", label=name)
        for (w, a), point in own.items():
            if point.paper:
                place = (point.images_per_second, point.paper)
                right.plot(*place, "o", color=f"C{number}", fillstyle="none")
                right.annotate(f"W{w}A{a}", place, (5, 4), textcoords="offset points", fontsize=8)
            if point.measured:
                right.plot(
                    point.images_per_second, point.measured, "*", color=f"C{number}", markersize=10
                )
    left.set(xlabel="pairs of planes, Kw x Ka", ylabel="cycles per image", yscale="log")
    left.set(xscale="log")
    left.set_xticks([1, 2, 4, 6, 9, 16], ["1", "2", "4", "6", "9", "16"], minor=False)
    left.set_xticks([], minor=True)
    right.set(xlabel="images/s", ylabel="top-1 on CIFAR-10, %", xscale="log")
    right.set_title("circles: the paper's accuracy; stars: this project's models", fontsize=9)
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(color="0.93")
        axes.spines[["top", "right"]].set_visible(False)
    return figure

"""A profile as pictures: the causes of all cycles, and the layers under the roofline."""

from __future__ import annotations

import os
from math import atan, degrees
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .attribution import MEANINGS, Cause
from .profile import LayerProfile, Profile

__all__ = ["COLOURS", "draw_profile", "draw_roofline", "save_figure", "spread"]

COLOURS = {
    Cause.ARRAY: "#0072b2",
    Cause.DRAIN: "#e69f00",
    Cause.POST: "#d55e00",
    Cause.OUTPUTS: "#cc79a7",
    Cause.FILL: "#009e73",
    Cause.MEMORY: "#56b4e9",
    Cause.FETCH: "#f0e442",
    Cause.CONTROL: "#7f7f7f",
}
"""Okabe and Ito's colours, which the colour-blind can tell apart."""
_METADATA = {"Software": None}
"""Of the file: nothing that changes with the version of the library."""
BAR_INCHES = 0.26
DPI = 100
LABEL_INCHES = 0.17
"""Least distance of labels above one another."""
LABELS = 60
"""Layers with names under the roofline: those of most cycles."""
LABEL_LENGTH = 40
"""Of longer names the middle is left out."""
LABEL_OFFSET, EDGE_LABEL_OFFSET = 0.025, 0.05
"""Of labels to the right of their points, in widths of the axes."""


def draw_profile(profile: Profile, path: Path) -> None:
    """Write a PNG: one bar per layer, its cycles stacked by cause."""
    layers = profile.layers
    figure = Figure(figsize=(11, 2.3 + BAR_INCHES * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    lefts = [0] * len(layers)
    for cause in MEANINGS:
        widths = [layer.causes[cause] for layer in layers]
        if any(widths):
            label = f"{cause.value}: {MEANINGS[cause]} ({profile.causes[cause]:,})"
            axes.barh(
                range(len(layers)),
                widths,
                left=lefts,
                color=COLOURS[cause],
                label=label,
                height=0.8,
            )
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    longest = max(lefts)
    for index, layer in enumerate(layers):
        text = f"{layer.cycles:,}, array {layer.array_share:.0%}"
        axes.text(lefts[index] + 0.006 * longest, index, text, va="center", fontsize=8)
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers], fontsize=8)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.set_xlim(0, 1.16 * longest)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("cycles from the end of the layer before to the layer's own end")
    axes.set_title(
        f"{profile.model} on {profile.preset}: {profile.cycles_per_image:,} cycles per image, "
        f"array busy in {profile.array_share:.1%}"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        title="cause (cycles)",
        title_fontsize=8,
        frameon=False,
    )
    save_figure(figure, path)


def draw_roofline(profile: Profile, path: Path) -> None:
    """Write a PNG: binary MACs per cycle over binary MACs per byte of external memory.

    Layers that move no data over the memory port stand at the right edge; layers without MACs are
    left out.
    """
    shown = [layer for layer in profile.layers if layer.binary_macs and layer.cycles]
    resident = [layer for layer in shown if not layer.external_bytes]
    moving = [layer for layer in shown if layer.external_bytes]
    roof, port = profile.binary_macs_per_cycle, profile.port_bytes_per_cycle
    ridge = roof / port
    places = [layer.binary_macs / layer.external_bytes for layer in moving]
    left, right = min([ridge, *places]) / 8, 8 * max([ridge, *places])
    rates = [layer.binary_macs / layer.cycles for layer in shown]
    bottom, top = min([roof / 4, *(rate / 2 for rate in rates)]), 2 * max([roof, *rates])

    named = {id(layer) for layer in sorted(shown, key=lambda layer: -layer.cycles)[:LABELS]}
    height = max(6.5, 2.4 + LABEL_INCHES * min(LABELS, max(len(resident), len(moving))))
    figure = Figure(figsize=(11, height))
    axes = figure.add_axes((0.08, 1.3 / height, 0.73, 1 - 1.8 / height))
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
    axes.plot([ridge, right], [roof, roof], color="black")
    axes.plot([left, ridge], [left * port, roof], color="black", linestyle="--")
    text = f"array: {roof:,} binary MACs per cycle"
    axes.annotate(text, (ridge, roof), (0, 5), textcoords="offset points", fontsize=9)
    middle = (max(left, bottom / port) * ridge) ** 0.5
    axes.text(
        middle,
        1.06 * middle * port,
        f"memory port: {port} bytes per cycle",
        rotation=degrees(atan(port)),
        rotation_mode="anchor",
        transform_rotates_text=True,
        ha="center",
        va="bottom",
        fontsize=9,
    )
    _draw_points(axes, moving, places, "o", LABEL_OFFSET, named)
    _draw_points(axes, resident, [right] * len(resident), ">", EDGE_LABEL_OFFSET, named)
    axes.set_xlabel("binary MACs per byte that the layer moves over the external memory port")
    axes.set_ylabel("binary MACs per cycle")
    axes.set_title(f"{profile.model} on {profile.preset}: the layers and their limits")
    axes.grid(which="major", color="0.9")
    axes.set_axisbelow(True)
    limits = sorted({layer.limit for layer in shown}, key=list(MEANINGS).index)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[Cause(limit)], label=limit)
        for limit in limits
    ]
    figure.legend(
        handles=handles,
        loc="lower right",
        ncols=len(handles),
        fontsize=8,
        title="cause of most cycles",
        title_fontsize=8,
        frameon=False,
    )
    figure.text(0.02, 0.02, "\n".join(_notes(profile, shown, resident)), fontsize=8, va="bottom")
    save_figure(figure, path)


def _notes(profile: Profile, shown: list[LayerProfile], resident: list[LayerProfile]) -> list[str]:
    """What the picture cannot show."""
    notes = []
    if resident:
        notes.append(
            f"Right edge: {_layers(len(resident))} that move no data over the port; their tables "
            "and activations stay on the chip."
        )
    if any(_is_above(profile, layer) for layer in shown):
        notes.append(
            "Above the roof: part of the layer's work was done before the layer before it ended."
        )
    if len(shown) > LABELS:
        notes.append(f"Named: the {LABELS} layers of most cycles.")
    if len(shown) < len(profile.layers):
        missing = len(profile.layers) - len(shown)
        notes.append(f"Not shown: {_layers(missing)} without binary MACs or cycles.")
    return notes


def _is_above(profile: Profile, layer: LayerProfile) -> bool:
    array, port = profile.binary_macs_per_cycle, profile.port_bytes_per_cycle
    return layer.binary_macs > array * layer.cycles or layer.external_bytes > port * layer.cycles


def _short(name: str) -> str:
    """A name as a label: its begin and end, if it is long."""
    if len(name) <= LABEL_LENGTH:
        return name
    half = LABEL_LENGTH // 2
    return f"{name[:half]}...{name[-half:]}"


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _draw_points(
    axes: Axes,
    layers: list[LayerProfile],
    xs: list[float],
    marker: str,
    offset: float,
    named: set[int],
) -> None:
    """Points, and for the layers with these identities their names, ``offset`` of the axes' width
    to the right of them."""
    if not layers:
        return
    rates = [layer.binary_macs / layer.cycles for layer in layers]
    colours = [COLOURS[Cause(layer.limit)] for layer in layers]
    axes.scatter(xs, rates, c=colours, marker=marker, s=42, clip_on=False, zorder=3)
    labels = [
        (layer, x, rate)
        for layer, x, rate in zip(layers, xs, rates, strict=True)
        if id(layer) in named
    ]
    size = axes.figure.get_size_inches()[1] * axes.get_position().height
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [to_axes.transform((x, rate)) for _, x, rate in labels]
    heights = spread([y for _, y in points], LABEL_INCHES / size)
    for (layer, _, _), (x, y), height in zip(labels, points, heights, strict=True):
        axes.annotate(
            _short(layer.name),
            (x, y),
            (x + offset, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def spread(heights: list[float], gap: float) -> list[float]:
    """Heights from 0 to 1 in the same order, at least ``gap`` apart, with the least sum of squared
    moves. If there are too many for that they go beyond 1."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    # Without the gaps this is a monotone regression: pool neighbours that are out of order.
    pools: list[tuple[float, int]] = []
    for place, index in enumerate(order):
        mean, count = heights[index] - place * gap, 1
        while pools and pools[-1][0] > mean:
            below, others = pools.pop()
            mean, count = (mean * count + below * others) / (count + others), count + others
        pools.append((mean, count))
    result = [0.0] * len(heights)
    highest = max(0.0, 1 - (len(order) - 1) * gap)
    means = [min(max(0.0, mean), highest) for mean, count in pools for _ in range(count)]
    for place, (index, mean) in enumerate(zip(order, means, strict=True)):
        result[index] = mean + place * gap
    return result


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG in one step, as the same bytes whenever the figures are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    figure.savefig(
        temporary,
        format="png",
        dpi=DPI,
        bbox_inches="tight",
        pad_inches=0.15,
        metadata=_METADATA,
        pil_kwargs={"optimize": True},
    )
    temporary.replace(path)

"""One network on all sizes of the board, 12F to 85F."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from compiler.program import ProgramError
from golden.integer_network import IntegerNetwork
from hw.board.ulx3s import board
from hw.config import AcceleratorConfig, preset
from sim.explore.area import AreaModel
from sim.explore.evaluation import evaluate
from sim.explore.fields import changed
from sim.explore.measurements import read_measurements
from sim.explore.memories import memories_of
from sim.explore.routed import preset_clock
from sim.explore.store import source_hash
from sim.profile import Profile
from sim.profile_pictures import COLOURS

from .findings import Findings, Table
from .networks import integer_network, profile_network

__all__ = ["BOARDS", "fitted", "run"]

NETWORK = "resnet20"
SIZES = (32, 16)
"""Sides of the images: the 12F holds the activations of the smaller one only."""
BOARDS = ("ulx3s-12f", "ulx3s-45f", "ulx3s-85f")
"""The open tools use all of a 12F, which is the chip of the 25F."""
COLUMN_GRANULES = (1024, 2048, 4096, 8192)
FITTED = ("activation_words", "stream_vectors")
"""Weights and tables come from the SDRAM when they are needed; tensors must fit on chip."""


@dataclass(frozen=True, kw_only=True)
class _Point:
    size: int
    device: str
    lut4: float
    """By the area model."""
    lut4_share: float
    """Of the device, placed."""
    block_rams: tuple[int, int]
    """Needed, and those of the device."""
    profile: Profile

    @property
    def fits(self) -> bool:
        return self.block_rams[0] <= self.block_rams[1]


def run(
    work: Path,
    console: Console,
    *,
    sizes: Sequence[int] = SIZES,
    boards: Sequence[str] = BOARDS,
) -> Findings:
    """Cycles and images/s of ResNet-20 W2A2 on the array of each board's preset, with SDRAM and
    memories as the network needs them, at the routed clock of the preset."""
    areas = AreaModel(read_measurements())
    points = []
    for size, name in track(
        [(size, name) for size in sizes for name in boards], "boards", console=console
    ):
        network = integer_network(NETWORK, 2, 2, size=size)
        target = board(name)
        config = fitted(network, preset(f"{target.preset}-sdram"))
        without = dataclasses.replace(
            config, sdram=None, memory=dataclasses.replace(config.memory, external_words=1024)
        )
        area = areas.predict(without)
        external = memories_of(without)["external"].block_rams
        points.append(
            _Point(
                size=size,
                device=target.device,
                lut4=area.lut4_total,
                lut4_share=area.lut4_total * areas.placed_per_lut4 / target.lut4,
                block_rams=(area.block_ram - external, target.block_rams),
                profile=profile_network(network, config, NETWORK, preset_clock(target)),
            )
        )
    headings = (
        *(
            "image, device",
            "binary MACs per cycle",
            "cycles",
            "array used",
            "MHz, routed",
            "images/s",
        ),
        *("LUT4 (model)", "of the device", "block RAMs", "images/s per 1,000 LUT4"),
    )
    rows = [
        (
            f"{point.size} x {point.size}, {point.device}",
            f"{point.profile.binary_macs_per_cycle:,}",
            f"{point.profile.cycles_per_image:,}",
            f"{point.profile.utilization:.1%}",
            f"{point.profile.clock.mhz:.1f}",
            f"{point.profile.images_per_second:,.0f}",
            f"{point.lut4:,.0f}",
            f"{point.lut4_share:.0%}",
            "{} of {}".format(*point.block_rams) + " (too many)" * (not point.fits),
            f"{1e3 * point.profile.images_per_second / point.lut4:.1f}",
        )
        for point in points
    ]
    return Findings(
        tables=[Table(name="scaling", headings=headings, rows=rows)],
        figures={"scaling": _figure(points)},
        origin=f"cycle model, clocks of sim/explore/routed.csv, sources {source_hash()[:8]}",
    )


def fitted(network: IntegerNetwork, base: AcceleratorConfig) -> AcceleratorConfig:
    """``base`` with memories as deep as ``network`` needs.

    Raises:
        ProgramError: The network has no program with any depth of the column buffers.
    """
    reason = ""
    for depth in COLUMN_GRANULES:
        config = changed(base, {"column_granules": depth}, name=base.name)
        outcome = evaluate(network, config, FITTED)
        if outcome.cycles is not None:
            return changed(config, outcome.fitted, name=base.name)
        reason = outcome.reason
    raise ProgramError(reason)


def _figure(points: Sequence[_Point]) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, size in enumerate(dict.fromkeys(point.size for point in points)):
        own = [point for point in points if point.size == size]
        macs = [point.profile.binary_macs_per_cycle for point in own]
        rates = [point.profile.images_per_second for point in own]
        left.plot(macs, [rates[0] * count / macs[0] for count in macs], "--", color="0.7")
        for point, count, rate in zip(own, macs, rates, strict=True):
            left.plot(
                count, rate, "o", color=f"C{number}", fillstyle="full" if point.fits else "none"
            )
            left.annotate(
                point.device.removeprefix("LFE5U-"),
                (count, rate),
                (6, -10),
                textcoords="offset points",
                fontsize=9,
            )
        left.plot([], [], "o", color=f"C{number}", label=f"{size} x {size} pixels")
    left.set(xscale="log", yscale="log", xlabel="binary MACs per cycle", ylabel="images/s")
    places = sorted({point.profile.binary_macs_per_cycle for point in points})
    left.set_xticks(places, [f"{place:,}" for place in places], minor=False)
    left.set_xticks([], minor=True)
    left.set_xlim(places[0] / 1.5, places[-1] * 2)
    left.set_title("dashed: in proportion to the array; hollow: does not fit", fontsize=9)
    left.legend(frameon=False, fontsize=9)
    names = [f"{point.size} px\n{point.device.removeprefix('LFE5U-')}" for point in points]
    bottom = [0.0] * len(points)
    for cause, colour in COLOURS.items():
        heights = [
            100 * point.profile.causes[cause.value] / point.profile.cycles_per_image
            for point in points
        ]
        right.bar(names, heights, bottom=bottom, label=cause.value, color=colour)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    right.set(ylabel="% of the cycles, by cause")
    right.tick_params(axis="x", labelsize=8)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure

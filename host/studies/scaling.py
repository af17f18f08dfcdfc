"""The same networks on all sizes of the board, 12F to 85F."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from compiler.program import ProgramError
from host.calibration import split
from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.area import AreaModel
from sim.explore.measurements import read_measurements
from sim.explore.routed import preset_clock
from sim.explore.store import source_hash
from sim.profile import Profile
from sim.profile_pictures import COLOURS

from .findings import Findings, Table
from .networks import PaperNetwork, integer_network, profile_network

__all__ = ["BOARDS", "NETWORKS", "run"]

NETWORKS = (PaperNetwork("resnet20", 16), PaperNetwork("resnet20", 32), PaperNetwork("vgg-small"))
BOARDS = ("ulx3s-12f", "ulx3s-45f", "ulx3s-85f")
"""The open tools use all of a 12F, which is the chip of the 25F."""
NO_PROGRAM = "none"


@dataclass(frozen=True, kw_only=True)
class _Point:
    network: PaperNetwork
    device: str
    lut4: float
    """Of the board's preset, by the area model."""
    profile: Profile | None
    """None if the network has no program."""


def run(
    work: Path,
    console: Console,
    *,
    networks: Sequence[PaperNetwork] = NETWORKS,
    boards: Sequence[str] = BOARDS,
) -> Findings:
    """Cycles and images/s at W2A2 on the SDRAM preset of each board, at the routed clock of the
    preset without SDRAM."""
    fitted, _ = split(read_measurements())
    areas = AreaModel(fitted)
    points, reasons = [], []
    for entry in track(networks, "networks", console=console):
        network = integer_network(entry.name, 2, 2, size=entry.size)
        for name in boards:
            target = board(name)
            profile = None
            try:
                config = preset(f"{target.preset}-sdram")
                clock = preset_clock(preset(target.preset))
                profile = profile_network(network, config, entry.name, clock)
            except ProgramError as error:
                reasons.append((f"{entry.label}, {target.device}", str(error)))
            lut4 = areas.predict(preset(target.preset)).lut4_total
            points.append(_Point(network=entry, device=target.device, lut4=lut4, profile=profile))
    headings = (
        *("network, device", "binary MACs per cycle", "cycles", "array used"),
        *("waits for memory", "MHz, routed", "images/s", "images/s per 1,000 LUT4"),
    )
    tables = [Table(name="scaling", headings=headings, rows=[_row(point) for point in points])]
    if reasons:
        tables.append(Table(name="reasons", headings=("no program", "because"), rows=reasons))
    return Findings(
        tables=tables,
        figures={"scaling": _figure(points)},
        origin=f"cycle model, clocks of sim/explore/routed.csv, sources {source_hash()[:8]}",
    )


def _row(point: _Point) -> tuple[str, ...]:
    profile, name = point.profile, f"{point.network.label}, {point.device}"
    if profile is None:
        return (name, *[NO_PROGRAM] * 7)
    return (
        name,
        f"{profile.binary_macs_per_cycle:,}",
        f"{profile.cycles_per_image:,}",
        f"{profile.utilization:.1%}",
        f"{profile.causes['memory'] / profile.cycles:.1%}",
        f"{profile.clock.mhz:.1f}",
        f"{profile.images_per_second:,.0f}",
        f"{1e3 * profile.images_per_second / point.lut4:.1f}",
    )


def _figure(points: Sequence[_Point]) -> Figure:
    figure = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    known = [(point, point.profile) for point in points if point.profile is not None]
    for number, network in enumerate(dict.fromkeys(point.network for point in points)):
        own = [profile for point, profile in known if point.network == network]
        macs = [profile.binary_macs_per_cycle for profile in own]
        rates = [profile.images_per_second for profile in own]
        left.plot(macs, [rates[-1] * count / macs[-1] for count in macs], "--", color="0.8")
        left.plot(macs, rates, "o-", color=f"C{number}", label=network.label)
    places = sorted({profile.binary_macs_per_cycle for _, profile in known})
    left.set(xscale="log", yscale="log", xlabel="binary MACs per cycle", ylabel="images/s")
    left.set_xticks(places, [f"{place:,}" for place in places], minor=False)
    left.set_xticks([], minor=True)
    left.set_title("dashed: in proportion to the array", fontsize=9)
    left.legend(frameon=False, fontsize=8)
    names = [
        f"{point.network.label.replace(', ', chr(10))}\n{point.device.removeprefix('LFE5U-')}"
        for point, _ in known
    ]
    bottom = [0.0] * len(known)
    for cause, colour in COLOURS.items():
        heights = [100 * profile.causes[cause.value] / profile.cycles for _, profile in known]
        right.bar(range(len(known)), heights, bottom=bottom, label=cause.value, color=colour)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    right.set(ylabel="% of the cycles, by cause")
    right.set_xticks(range(len(known)), names, fontsize=7)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure

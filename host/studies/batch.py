"""Several images at once: weights that are loaded once for all of them, on the board with SDRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from compiler.compile import compile_network
from compiler.program import ProgramError
from golden.batching import batched
from hw.config import AcceleratorConfig, preset
from hw.memory.packing import WORD
from sim.explore.routed import preset_clock
from sim.explore.store import source_hash
from sim.profile import Profile, profile_program
from sim.traffic import Traffic, traffic_of

from .findings import Findings, Table
from .networks import PaperNetwork, integer_network

__all__ = ["BATCHES", "NETWORKS", "PRESET", "run"]

PRESET = "ulx3s-85f-sdram"
NETWORKS = (PaperNetwork("vgg-small"), PaperNetwork("alexnet"), PaperNetwork("resnet18"))
BATCHES = (1, 2, 4, 7)
"""Images; the logits of more than seven do not fit where the networks have 1,000 classes."""
MEGABYTE = 10**6
NO_PROGRAM = "none"


@dataclass(frozen=True, kw_only=True)
class _Point:
    network: PaperNetwork
    images: int
    profile: Profile
    traffic: Traffic

    def megabytes(self, words: int) -> float:
        """Of an image, if a run moves so many words."""
        return words / self.images * WORD / 8 / MEGABYTE


def run(
    work: Path,
    console: Console,
    *,
    networks: Sequence[PaperNetwork] = NETWORKS,
    batches: Sequence[int] = BATCHES,
    config: AcceleratorConfig | None = None,
) -> Findings:
    """Cycles and traffic per image at W2A2, by the images of a run."""
    config = config or preset(PRESET)
    clock = preset_clock(config)
    points: list[_Point] = []
    rows: list[tuple[str, ...]] = []
    reasons: list[tuple[str, str]] = []
    singles = {entry: integer_network(entry.name, 2, 2, size=entry.size) for entry in networks}
    cases = [(entry, images) for entry in networks for images in batches]
    for entry, images in track(cases, "batches", console=console):
        name = f"{entry.label}, {images}"
        try:
            network = batched(singles[entry], images)
            program = compile_network(network, config)
        except ProgramError as error:
            reasons.append((name, str(error)))
            rows.append((name, *[NO_PROGRAM] * 6))
            continue
        profile = profile_program(program, config, model=entry.name, clock=clock)
        point = _Point(
            network=entry,
            images=images,
            profile=profile,
            traffic=traffic_of(program, network, config),
        )
        points.append(point)
        rows.append(_row(name, point))
    headings = (
        *("network, images of a run", "cycles per image", "images/s", "array used"),
        *("waits for memory", "MB per image", "of these tables"),
    )
    tables = [Table(name="batch", headings=headings, rows=rows)]
    if reasons:
        tables.append(Table(name="reasons", headings=("no program", "because"), rows=reasons))
    return Findings(
        tables=tables,
        figures={"batch": _figure(points)},
        origin=f"cycle model, {clock.mhz} MHz ({clock.source}), sources {source_hash()[:8]}",
    )


def _row(name: str, point: _Point) -> tuple[str, ...]:
    profile, traffic = point.profile, point.traffic
    return (
        name,
        f"{profile.cycles_per_image:,}",
        f"{profile.images_per_second:.1f}",
        f"{profile.utilization:.1%}",
        f"{profile.causes['memory'] / profile.cycles:.1%}",
        f"{point.megabytes(traffic.total):.2f}",
        f"{point.megabytes(traffic.tables):.2f}",
    )


def _figure(points: Sequence[_Point]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, network in enumerate(dict.fromkeys(point.network for point in points)):
        own = [point for point in points if point.network == network]
        images = [point.images for point in own]
        first = own[0].profile.images_per_second
        speeds = [point.profile.images_per_second / first for point in own]
        left.plot(images, speeds, "o-", color=f"C{number}", label=network.label)
        total = [point.megabytes(point.traffic.total) for point in own]
        tables = [point.megabytes(point.traffic.tables) for point in own]
        right.plot(images, total, "o-", color=f"C{number}")
        right.plot(images, tables, "o--", color=f"C{number}", markersize=3)
    left.set(xlabel="images of a run", ylabel="images/s, of those one by one", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    right.set(xlabel="images of a run", ylabel="MB per image over the SDRAM", ylim=(0, None))
    right.set_title("dashed: weights and other tables", fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure

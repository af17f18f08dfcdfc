"""Lanes against utilization, for the paper's networks."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from compiler.program import ProgramError
from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig, preset
from sim.explore.area_features import element_lut4
from sim.explore.fields import changed
from sim.explore.store import source_hash
from sim.profile import Clock, Profile

from .findings import Findings, Table
from .networks import NETWORKS, PaperNetwork, integer_network, profile_network

__all__ = ["GRANULES", "SHAPES", "run"]

PRESET = "simulation-large"
GRANULES = (1, 2, 3, 4, 6, 9)
"""Lanes are 16 times as many."""
SHAPES = ((8, 32, 24), (8, 16, 48), (16, 8, 48), (16, 4, 96), (16, 2, 192), (32, 2, 96))
"""Rows, columns and lanes with 6,144 binary MACs per cycle. A quarter of the columns is drained
per cycle, as in the presets, so that the drain's period is the same."""
DRAIN_PERIOD = 4
NO_CLOCK = Clock(mhz=1.0, is_routed=False, source="none")
"""Utilization depends on no clock."""
NO_PROGRAM = "none"


def run(
    work: Path,
    console: Console,
    *,
    networks: tuple[PaperNetwork, ...] = NETWORKS,
    granules: tuple[int, ...] = GRANULES,
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
) -> Findings:
    """Utilization of the array by each network, W2A2, for arrays of 16 x 8 elements with more and
    more lanes, and for arrays of other shapes with as many binary MACs per cycle."""
    by_lanes: dict[str, list[float | None]] = {}
    by_shape: dict[str, list[float | None]] = {}
    waits: dict[str, list[float | None]] = {}
    base = preset(PRESET)
    configs = {
        number: changed(base, {"granules": number}, name=f"{base.array.rows * number} lanes")
        for number in granules
    }
    for entry in track(networks, "networks", console=console):
        network = integer_network(entry.name, 2, 2, size=entry.size)

        profiles = [_profile(network, config) for config in configs.values()]
        by_lanes[entry.label] = [_used(profile) for profile in profiles]
        by_shape[entry.label] = [_used(_profile(network, _shaped(*shape))) for shape in shapes]
        waits[entry.label] = [_waits(profile) for profile in profiles]
    lanes = [config.array.lanes for config in configs.values()]
    return Findings(
        tables=[
            _table(
                "lanes",
                [f"{count} lanes" for count in lanes],
                by_lanes,
                [("LUT4 of an element per lane", [f"{_per_lane(n):.2f}" for n in lanes])],
            ),
            _table("waits", [f"{count} lanes" for count in lanes], waits, []),
            _table("shapes", [" x ".join(map(str, shape)) for shape in shapes], by_shape, []),
        ],
        figures={"lanes": _figure(lanes, by_lanes)},
        origin=f"cycle model, sources {source_hash()[:8]}",
    )


def _profile(network: IntegerNetwork, config: AcceleratorConfig) -> Profile | None:
    """None if the network has no program."""
    try:
        return profile_network(network, config, "network", NO_CLOCK)
    except ProgramError:
        return None


def _used(profile: Profile | None) -> float | None:
    """Binary MACs as a share of what the array can do."""
    return None if profile is None else profile.utilization


def _waits(profile: Profile | None) -> float | None:
    """Share of the cycles that wait for the external memory."""
    return None if profile is None else profile.causes["memory"] / profile.cycles


def _shaped(rows: int, columns: int, lanes: int) -> AcceleratorConfig:
    drained = max(1, columns // DRAIN_PERIOD)
    sizes = {"rows": rows, "columns": columns, "granules": lanes // rows, "drain_lanes": drained}
    return changed(preset(PRESET), sizes, name=f"{rows} x {columns} x {lanes}")


def _per_lane(lanes: int) -> float:
    return element_lut4(lanes, preset(PRESET).array.count_width) / lanes


def _table(
    name: str,
    headings: list[str],
    shares: dict[str, list[float | None]],
    more: list[tuple[str, list[str]]],
) -> Table:
    rows = [
        (label, *(NO_PROGRAM if share is None else f"{share:.1%}" for share in row))
        for label, row in shares.items()
    ]
    rows += [(label, *cells) for label, cells in more]
    return Table(name=name, headings=["W2A2", *headings], rows=rows)


def _figure(lanes: list[int], shares: dict[str, list[float | None]]) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (label, row) in enumerate(shares.items()):
        style = {"marker": "o", "markersize": 4, "color": f"C{number}"}
        known = [(n, share) for n, share in zip(lanes, row, strict=True) if share]
        places = [n for n, _ in known]
        left.plot(places, [100 * share for _, share in known], label=label, **style)
        right.plot(places, [_per_lane(n) / share for n, share in known], **style)
    left.set(xlabel="lanes of an element", ylabel="array used, %", ylim=(0, None))
    right.set(xlabel="lanes of an element", ylabel="LUT4 of elements per used MAC", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(lanes)
        axes.grid(color="0.93")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure

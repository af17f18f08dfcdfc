"""What the benchmark reports: as JSON for programs, as tables for people."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from host.benchmark_evaluation import Evaluation
from host.benchmark_scaling import NETWORK, PRESET, ScalingResult
from host.peers import PEERS

__all__ = ["ARRAY", "DEVICE", "DEVICE_OPTION", "ArrayResult", "Benchmark", "tables"]

ARRAY = {"rows": 4, "columns": 4, "lanes": 32}
DEVICE, DEVICE_OPTION = "LFE5U-25F", "--25k"


@dataclass(frozen=True)
class ArrayResult:
    """A small array in one scheme of counting, placed and routed alone."""

    scheme: str
    binary_macs_per_cycle: int
    lut4: int
    """LUT4, carry cells as two."""
    ff: int
    clock_mhz: float

    @property
    def lut4_per_mac(self) -> float:
        return self.lut4 / self.binary_macs_per_cycle


@dataclass(kw_only=True)
class Benchmark:
    """Everything that ``report.json`` holds."""

    commit: str
    machine: dict[str, Any]
    tools: dict[str, str]
    arrays: list[ArrayResult] = field(default_factory=list)
    board: dict[str, Any] = field(default_factory=dict)
    """Report of the bitstream."""
    networks: list[dict[str, Any]] = field(default_factory=list)
    scaling: list[ScalingResult] = field(default_factory=list)
    """VGG-Small at several widths."""
    peers: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> Path:
        """Write ``report.json`` in one step; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")
        part.replace(path)
        return path


def _table(title: str, first: str, *headings: str) -> Table:
    table = Table(first, title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    return table


def tables(result: Benchmark) -> list[Table]:
    """What a person reads."""
    shape = f"{ARRAY['rows']} x {ARRAY['columns']} x {ARRAY['lanes']}"
    arrays = _table(
        f"Counting: {shape} array alone on the {DEVICE}", "scheme", "LUT4", "per MAC", "FF", "MHz"
    )
    for entry in result.arrays:
        arrays.add_row(
            entry.scheme,
            str(entry.lut4),
            f"{entry.lut4_per_mac:.2f}",
            str(entry.ff),
            f"{entry.clock_mhz:.0f}",
        )
    networks = _table(
        f"{result.board['preset']}: {result.board['binary_macs_per_cycle']} binary MACs per cycle, "
        f"{result.board['clock_reached_mhz']:.1f} MHz, {result.board['lut4']} LUT4",
        "network",
        "cycles/image",
        "utilization",
        "images/s",
        "G MAC/s",
        "simulated s/image",
        "CPU float/s",
        "CPU integers/s",
    )
    for entry in result.networks:
        networks.add_row(
            entry["model"],
            f"{entry['cycles_per_image']:,}",
            f"{entry['utilization']:.1%}",
            f"{entry['images_per_second']:,.0f}",
            f"{entry['binary_macs_per_second'] / 1e9:,.0f}",
            f"{entry['simulation_seconds_per_image']:.2f}",
            f"{entry['cpu']['onnxruntime']:,.0f}",
            f"{entry['cpu']['integers']:,.0f}",
        )
    evaluations = _table(
        "Cycles of one image: seconds until they are known, and the ratio to the cycle model",
        "network",
        "cycle model",
        "Verilator",
        "ratio",
        "SCALE-Sim",
        "ratio",
    )
    for entry in result.networks:
        evaluation = Evaluation(**entry["evaluation"])
        ratio = evaluation.scale_sim_ratio
        evaluations.add_row(
            entry["model"],
            f"{evaluation.cycle_model:.4f}",
            f"{evaluation.verilator:.2f}",
            f"{evaluation.verilator_ratio:,.0f}",
            f"{evaluation.scale_sim:.1f}" if ratio else evaluation.scale_sim_error,
            f"{ratio:,.0f}" if ratio else "",
        )
    scaling = _table(
        f"{NETWORK} on {PRESET}, {result.board['clock_reached_mhz']:.1f} MHz of the board's clock",
        "widths",
        "cycles/image",
        "utilization",
        "images/s",
        "quantized layers",
        "utilization",
        "per plane pair",
        "of the first",
    )
    for entry in result.scaling:
        scaling.add_row(
            f"W{entry.weights} A{entry.activations}",
            f"{entry.cycles_per_image:,}",
            f"{entry.utilization:.1%}",
            f"{result.board['clock_reached_mhz'] * 1e6 / entry.cycles_per_image:,.1f}",
            f"{entry.quantized_cycles:,}",
            f"{entry.quantized_utilization:.1%}",
            f"{entry.cycles_per_pair:,.0f}",
            f"{entry.cycles_per_pair / result.scaling[0].cycles_per_pair:.3f}",
        )
    peers = _table(
        "Published figures of others", "system", "device", "MHz", "MACs/cycle", "images/s"
    )
    for peer in PEERS:
        figures = (peer.clock_mhz, peer.binary_macs_per_cycle, peer.images_per_second)
        peers.add_row(
            peer.system, peer.device, *("" if f is None else f"{f:,.0f}" for f in figures)
        )
    return [arrays, networks, scaling, evaluations, peers]

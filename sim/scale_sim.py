"""The same convolution shapes in SCALE-Sim 3, to compare how long the evaluation takes.

SCALE-Sim models a systolic array of multiply-accumulate elements with whole numbers, so its cycles
are those of another machine; what is comparable is the time that a designer waits for an answer.
It lives in a virtual environment of its own, because it needs an older numpy than this project.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw.config import ArrayConfig

from . import peer_tools
from .peer_tools import PeerError, call

__all__ = [
    "REQUIREMENTS",
    "ScaleSimResult",
    "Topology",
    "install",
    "run",
    "run_topology",
    "topology",
]

Topology = tuple[str | int, ...]
"""Name, padded input height and width, kernel height and width, channels, filters, stride."""

REQUIREMENTS = ("scalesim==3.0.0", "numpy==2.2.6")
"""SCALE-Sim 3.0.0 makes an integer of an array, which numpy refuses from 2.4 on."""
REPORT = "COMPUTE_REPORT.csv"
CYCLES = "Total Cycles"

CONFIGURATION = """\
[general]
run_name = {name}
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
Bandwidth: 10
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
"""
LAYOUT_COLUMNS = 14


@dataclass(frozen=True)
class ScaleSimResult:
    """One run over all layers."""

    seconds: float
    """Wall time of its process, traces not saved."""
    layer_cycles: tuple[int, ...]
    """Of its array."""

    @property
    def cycles(self) -> int:
        """Of all layers together."""
        return sum(self.layer_cycles)


def topology(network: IntegerNetwork) -> list[Topology]:
    """The convolutions of a network, a fully connected layer being one of 1 x 1 pixels."""
    rows: list[Topology] = []
    for layer in network.layers:
        if not isinstance(layer, ConvolutionLayer):
            continue
        height, width, channels = layer.input_shape
        top, left, bottom, right = layer.padding
        kernel = layer.weight_planes.shape[2:4]
        rows.append(
            (
                layer.name,
                height + top + bottom,
                width + left + right,
                *kernel,
                channels,
                layer.convolution_shape[2],
                layer.stride[0],
            )
        )
    return rows


def install(folder: Path) -> Path:
    """The Python of a virtual environment with SCALE-Sim, made in ``folder`` on first use."""
    return peer_tools.install(folder, REQUIREMENTS)


def run(python: Path, network: IntegerNetwork, array: ArrayConfig, folder: Path) -> ScaleSimResult:
    """Evaluate the convolutions of ``network`` on an array of ``rows`` x ``columns`` elements."""
    return run_topology(
        python, topology(network), rows=array.rows, columns=array.columns, folder=folder
    )


def run_topology(
    python: Path,
    layers: Sequence[Topology],
    *,
    rows: int,
    columns: int,
    folder: Path,
    dataflow: str = "os",
) -> ScaleSimResult:
    """Evaluate convolutions.

    Args:
        python: With SCALE-Sim installed.
        layers: What to evaluate.
        rows: Of the array.
        columns: Of the array.
        folder: For its files.
        dataflow: ``os`` (outputs stay), ``ws`` (weights stay) or ``is`` (inputs stay).

    Raises:
        PeerError: It fails, or reports other layers than these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    heading = ("Layer name", *"abcdefg")
    _write_csv(folder / "topology.csv", [heading, *layers])
    layout = [(row[0], *[1] * (LAYOUT_COLUMNS - 1)) for row in layers]
    _write_csv(folder / "layout.csv", [("Layer name", *[""] * (LAYOUT_COLUMNS - 1)), *layout])
    name = "run"
    (folder / "array.cfg").write_text(
        CONFIGURATION.format(name=name, rows=rows, columns=columns, dataflow=dataflow)
    )
    files = ["-c", "array.cfg", "-t", "topology.csv", "-l", "layout.csv", "-p", "results"]
    start = time.perf_counter()
    call([str(python), "-m", "scalesim.scale", *files, "-s", "N"], folder)
    seconds = time.perf_counter() - start
    with (folder / "results" / name / REPORT).open(newline="") as file:
        table = [
            {key.strip(): value for key, value in row.items() if key}
            for row in csv.DictReader(file)
        ]
    if len(table) != len(layers):
        raise PeerError(f"SCALE-Sim must report {len(layers)} layers, not {len(table)}")
    return ScaleSimResult(seconds, tuple(int(float(row[CYCLES])) for row in table))


def _write_csv(path: Path, rows: Iterable[Topology]) -> None:
    """As SCALE-Sim reads it: every row ends with a comma."""
    path.write_text("".join(",".join(map(str, row)) + ",\n" for row in rows))

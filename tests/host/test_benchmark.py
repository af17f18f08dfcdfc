"""The benchmark's parts on their own; the whole is run by hand, it takes minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from host.benchmark import cpu_speeds, measure_arrays
from host.benchmark_report import ArrayResult, Benchmark, tables
from host.benchmark_scaling import ScalingResult
from host.cli import cli
from host.peers import PEERS
from host.tools import StageDisplay
from sim.benchmark_arrays import SCHEMES

MODEL = Path(__file__).parents[2] / "models" / "resnet20-cifar10-w2a2.onnx"
NETWORK = {
    "model": "net",
    "cycles_per_image": 59_044,
    "utilization": 0.5,
    "images_per_second": 1000.4,
    "binary_macs_per_second": 2e11,
    "simulation_seconds_per_image": 0.8,
    "cpu": {"threads": 1, "onnxruntime": 100.0, "integers": 10.0},
    "evaluation": {
        "cycle_model": 0.01,
        "verilator": 0.7,
        "scale_sim": 15.5,
        "scale_sim_cycles": 349_336,
        "scale_sim_error": None,
    },
}


def result() -> Benchmark:
    return Benchmark(
        commit="abc",
        machine={},
        tools={},
        arrays=[ArrayResult("plain sum", 512, 1024, 700, 123.4)],
        board={
            "preset": "p",
            "binary_macs_per_cycle": 4096,
            "clock_reached_mhz": 57.4,
            "lut4": 42_082,
        },
        networks=[NETWORK],
        scaling=[
            scaling(1, 1, cycles=147_490),
            scaling(2, 2, cycles=4 * 147_490 + 65_000),
        ],
    )


def scaling(weights: int, activations: int, *, cycles: int) -> ScalingResult:
    return ScalingResult(
        weights=weights,
        activations=activations,
        cycles_per_image=cycles + 130_000,
        utilization=0.75,
        quantized_cycles=cycles,
        quantized_utilization=0.99,
    )


def test_report_is_written_whole(tmp_path: Path) -> None:
    path = result().save(tmp_path / "new")
    content = json.loads(path.read_text())
    assert content["networks"] == [NETWORK]
    assert content["arrays"][0]["lut4"] == 1024
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_tables_show_the_figures_of_the_run_and_of_others() -> None:
    console = Console(width=140)
    with console.capture() as capture:
        for table in tables(result()):
            console.print(table)
    text = capture.get()
    for part in (
        "2.00",
        "123",
        "59,044",
        "50.0%",
        "1,000",
        "200",
        "4096 binary MACs",
        "57.4 MHz",
        "0.0100",
        "15.5",
        "1,550",
        "W2 A2",
        "1.110",
        "147,490",
    ):
        assert part in text, part
    for peer in PEERS:
        assert peer.system in text
        assert peer.source


def test_cpu_speeds_are_measured_for_both_networks() -> None:
    speeds = cpu_speeds(MODEL, seconds=0.01)
    assert speeds["onnxruntime"] > 0
    assert speeds["integers"] > 0


@pytest.mark.bitstream
def test_carry_chains_take_the_fewest_luts(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log, StageDisplay(Console(file=log)) as display:
        results = {entry.scheme: entry for entry in measure_arrays(tmp_path / "work", display)}
    assert list(results) == list(SCHEMES)
    ours = results.pop("carry chains (ours)")
    assert ours.binary_macs_per_cycle == 4 * 4 * 32
    assert all(ours.lut4 < 0.85 * other.lut4 for other in results.values())
    assert all(entry.clock_mhz > 0 and entry.ff > 0 for entry in results.values())


def test_help_says_what_is_measured_and_a_missing_model_is_named() -> None:
    shown = CliRunner().invoke(cli, ["bench", "--help"])
    assert "area, clock, cycles" in shown.output


def test_missing_model_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    arguments = ["bench", str(MODEL), "no.onnx", "--out", str(tmp_path / "bench")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("error: model file must be readable")
    assert not (tmp_path / "bench").exists()

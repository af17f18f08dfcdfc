"""The co-simulation machinery on a stand-in that plays trace events from its memory."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from hw.config import PRESETS, AcceleratorConfig
from sim.bench import BUILDS, Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.images import random_images
from sim.report import Report, print_report
from tests.sim.replay import generate_verilog
from tests.sim.standin import ENTRY, RESULT, StandIn, stand_in

CONFIG = PRESETS["tiny"]
IMAGES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One build folder: the stand-in is compiled once."""
    return tmp_path_factory.mktemp("cosimulation")


@functools.cache
def stand_in_verilog() -> str:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "replay.v"
        generate_verilog(CONFIG, path)
        return path.read_text()


def write_verilog(config: AcceleratorConfig, path: Path) -> None:
    path.write_text(stand_in_verilog())


def make_bench(folder: Path, simulator: str) -> tuple[Bench, io.StringIO]:
    if simulator == "icarus" and shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    text = io.StringIO()
    console = Console(file=text, width=120)
    bench = Bench(
        config=CONFIG,
        simulator=make_simulator(simulator),
        generate=write_verilog,
        out=folder,
        console=console,
    )
    return bench, text


def run(bench: Bench, stand: StandIn, *, waves: bool = False) -> Report:
    images = random_images(stand.program.image_shape, IMAGES)
    expected = [stand.expected] * IMAGES
    # The stand-in has no instructions whose cycles the model could predict.
    return cosimulate(bench, stand.program, images, expected, waves=waves, check_cycles=False)


def change_memory(stand: StandIn, address: int, mask: int) -> StandIn:
    """The stand-in with flipped bits in one word of the program's memory."""
    memory = stand.program.memory.copy()
    memory[address] ^= mask
    return dataclasses.replace(stand, program=dataclasses.replace(stand.program, memory=memory))


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_equal_values_pass_and_are_counted(folder: Path, simulator: str) -> None:
    bench, text = make_bench(folder, simulator)
    stand = stand_in(CONFIG)
    report = run(bench, stand)
    assert report.passed
    values = sum(array.size for array in stand.expected.values()) + 3  # logits are read back
    assert report.values_compared == IMAGES * values
    assert sum(layer.cycles for layer in report.layers) == report.cycles_per_image
    assert report.predictions_rtl == report.predictions_golden
    print_report(report, bench.console)
    assert "PASSED" in text.getvalue()
    assert "image 2/2" in text.getvalue()
    saved = json.loads((folder / "report.json").read_text())
    assert saved["passed"]
    assert saved["preset"] == "tiny"
    assert saved["simulator"] == simulator
    assert [layer["name"] for layer in saved["layers"]] == ["first", "second"]


def test_second_run_finds_the_build(folder: Path) -> None:
    bench, _ = make_bench(folder, "verilator")
    first = bench.build(bench.simulator)
    changed = (first / "design.v").stat().st_mtime_ns
    assert bench.build(bench.simulator) == first
    assert (first / "design.v").stat().st_mtime_ns == changed
    assert first.parent == Path(os.environ[BUILDS])
    assert not list(folder.glob("verilog-*"))


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_changed_code_is_found_and_leaves_a_waveform(folder: Path, simulator: str) -> None:
    bench, text = make_bench(folder, simulator)
    stand = stand_in(CONFIG)
    tensor = stand.program.tensors[0]
    y, x, channel = 2, 1, 3
    stand.expected[tensor.name][y, x, channel] ^= 4
    report = run(bench, stand, waves=True)
    assert not report.passed
    assert report.values_mismatched == IMAGES
    value = stand.expected[tensor.name][y, x, channel]
    assert report.mismatch is not None
    assert report.mismatch.startswith(
        f"image 0, layer first, tensor codes, channel {channel}, pixel (y {y}, x {x}): "
        f"expected {value}, got {value ^ 4}"
    )
    assert report.waveform is not None
    waveform = Path(report.waveform)
    assert waveform.exists()
    assert waveform.stat().st_size > 1000
    print_report(report, bench.console)
    assert "FAILED: 2 of" in text.getvalue()
    assert "FIRST MISMATCH" in text.getvalue()


def test_event_that_is_missing_is_a_mismatch(folder: Path) -> None:
    bench, _ = make_bench(folder, "verilator")
    stand = stand_in(CONFIG)
    record = ENTRY + 1024 + 2 * 5  # the first activation word: its header gets an unknown kind
    report = run(bench, change_memory(stand, record, 0xC))
    assert report.values_mismatched > 0
    assert report.mismatch is not None
    assert "never written" in report.mismatch


def test_result_that_the_host_reads_is_compared(folder: Path) -> None:
    bench, _ = make_bench(folder, "verilator")
    report = run(bench, change_memory(stand_in(CONFIG), RESULT + 1, 1 << 31))
    assert report.logits_mismatched == report.values_mismatched == IMAGES
    assert report.mismatch is not None
    assert "layer logits, tensor scores, channel 1" in report.mismatch


def test_run_that_does_not_end_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.bench.TIMEOUT_CYCLES", 100)
    monkeypatch.setattr("sim.bench.TIMEOUT_FACTOR", 0)
    bench, _ = make_bench(folder, "verilator")
    report = run(bench, stand_in(CONFIG))
    assert not report.passed
    assert report.error == "image 0: run must end within 100 cycles"

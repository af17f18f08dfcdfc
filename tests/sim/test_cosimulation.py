"""Whole models on the RTL: compiled, run through the host port, compared bit for bit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import compiler.preset_choice
from compiler.program import Program
from golden.random_models import RandomLimits, random_model
from hw.isa import INSTRUCTION_WORDS, DmaTarget, Opcode, decode
from sim.__main__ import main

LIMITS = RandomLimits(
    image=(5, 8),
    channels=10,
    planes=3,
    wide_planes=4,
    blocks=(1, 2),
    kernels=(1, 2, 3),
    strides=(1, 2),
)
SEEDS = (1, 4, 5)
BREVITAS = Path(__file__).parent.parent / "golden" / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("cosimulation")


def cosimulate(folder: Path, seed: int, *options: str) -> Result:
    model = folder / f"random-{seed}.onnx"
    model.write_bytes(random_model(seed, LIMITS).SerializeToString())
    arguments = [str(model), "--preset", "tiny", "--out", str(folder), *options]
    return CliRunner(env={"SIM": "verilator", "COLUMNS": "160"}).invoke(main, arguments)


def invert_first_weights(program: Program) -> None:
    """Change the first external word of the first weights that a DMA instruction loads."""
    runs = [(stage.memory, stage.entry) for stage in program.stages]
    for memory, entry in (*runs, (program.memory, program.image_entry)):
        address, opcode = entry, Opcode.DMA
        while opcode is not Opcode.END:
            words = memory[address : address + INSTRUCTION_WORDS]
            opcode, fields = decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
            if opcode is Opcode.DMA and fields["target"] == DmaTarget.WEIGHTS.value:
                memory[fields["external"]] ^= 0xFFFFFFFF
                return
            address += INSTRUCTION_WORDS
    raise AssertionError("program must load weights")


def corrupting(compile_network: Callable[..., Program]) -> Callable[..., Program]:
    """A compiler whose programs have the first word of weights inverted."""

    def compile_corrupted(*arguments: object) -> Program:
        program = compile_network(*arguments)
        invert_first_weights(program)
        return program

    return compile_corrupted


@pytest.mark.parametrize("seed", SEEDS)
def test_random_model_on_the_rtl_equals_the_reference(folder: Path, seed: int) -> None:
    result = cosimulate(folder, seed, "--limit", "2")
    assert result.exit_code == 0, f"seed {seed}\n{result.output}"
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"]
    assert report["images"] == 2
    assert report["values_compared"] > 0
    assert report["predictions_rtl"] == report["predictions_golden"]
    assert sum(layer["cycles"] for layer in report["layers"]) == report["cycles_per_image"]


@pytest.mark.parametrize("name", ["brevitas-small.onnx", "brevitas-small-opset13.onnx"])
def test_qonnx_file_on_the_rtl_equals_the_reference_and_brevitas(folder: Path, name: str) -> None:
    images = BREVITAS / "brevitas-small.npz"
    arguments = [str(BREVITAS / name), "--images", str(images), "--limit", "3"]
    options = ["--preset", "tiny", "--out", str(folder)]
    result = CliRunner(env={"SIM": "verilator", "COLUMNS": "160"}).invoke(main, arguments + options)
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"]
    with np.load(images) as arrays:
        classes = arrays["scores"][:3].argmax(axis=1)
    assert report["predictions_rtl"] == classes.tolist()


def test_four_state_simulator_finds_no_unknown_values(folder: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    result = cosimulate(folder, SEEDS[0], "--simulator", "icarus")
    assert result.exit_code == 0, result.output


def test_corrupted_weight_is_found_and_leaves_a_waveform(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = corrupting(compiler.preset_choice.compile_network)
    monkeypatch.setattr(compiler.preset_choice, "compile_network", changed)
    result = cosimulate(folder, SEEDS[0])
    assert result.exit_code == 1, result.output
    report = json.loads((folder / "report.json").read_text())
    assert not report["passed"]
    first = re.match(
        r"image 0, layer (\w+), tensor accumulators, channel \d+, pixel \(y \d+, x \d+\): "
        r"expected -?\d+, got -?\d+ \(written in cycle \d+\)",
        report["mismatch"],
    )
    assert first is not None, report["mismatch"]
    assert first[1] == report["layers"][0]["name"]
    assert Path(report["waveform"]).stat().st_size > 10_000
    assert "FIRST MISMATCH" in result.output

"""The host software runs a compiled model on the whole design of a board, through its pins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from compiler.compile import compile_network
from compiler.program_file import save_program
from golden.export import model_bytes
from golden.integer_reference import logits_name, run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_images, random_model
from hw.board.core import BoardCore
from hw.config import preset
from sim.design import write_verilog
from sim.verilator import Verilator
from tests.hw.board.pins_bench import CYCLES_PER_BIT, FOLDER, PERIOD_NS

SEED = 4
LIMITS = RandomLimits(image=(5, 8), channels=6, kernels=(1, 3), blocks=(1, 1), planes=2)
TOP = "board_core"
PORTS = ("clk", "rst", "rx", "tx")


def build(folder: Path) -> None:
    """Compile the design behind the pins; only these are public."""
    frequency = 1e9 / PERIOD_NS
    core = BoardCore(
        preset("tiny"), clock_frequency=frequency, baud_rate=frequency / CYCLES_PER_BIT
    )
    verilog, control = folder / f"{TOP}.v", folder / "public.vlt"
    write_verilog(core, TOP, verilog)
    ports = [f'public_flat_rw -module "{TOP}" -var "{name}"' for name in PORTS]
    control.write_text("\n".join(["`verilator_config", *ports, ""]))
    Verilator().runner().build(
        sources=[str(verilog), str(control)],
        hdl_toplevel=TOP,
        build_dir=folder / "build",
        build_args=Verilator().options(),
        always=True,
        timescale=("1ns", "1ps"),
        log_file=folder / "build.log",
    )


def test_host_software_classifies_images_through_the_pins(tmp_path: Path) -> None:
    model = random_model(SEED, LIMITS)
    network = lower(import_bytes(model_bytes(model)))
    images = random_images(model, 2, SEED)
    save_program(compile_network(network, preset("tiny")), tmp_path / "program.lqp")
    save_program(compile_network(network, preset("ulx3s-12f")), tmp_path / "other.lqp")
    np.save(tmp_path / "images.npy", images)
    build(tmp_path)
    Verilator().runner().test(
        test_module="tests.hw.board.pins_bench",
        hdl_toplevel=TOP,
        hdl_toplevel_lang="verilog",
        build_dir=tmp_path / "build",
        test_dir=tmp_path,
        extra_env={FOLDER: str(tmp_path)},
        log_file=tmp_path / "run.log",
    )
    answers = json.loads((tmp_path / "answers.json").read_text())
    logits = run(network, images)[logits_name(network)].reshape(len(images), -1)
    assert answers["logits"] == logits.tolist()
    assert answers["classes"] == logits.argmax(axis=1).tolist()
    assert answers["preset"] == "tiny"
    assert min(answers["cycles"]) > 100
    assert "must be compiled for the device's preset tiny" in answers["refusal"]
    assert answers["repeated"] == 0

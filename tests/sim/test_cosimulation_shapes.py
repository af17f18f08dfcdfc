"""Whole models on the RTL of arrays with other steps and drains than the presets have."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_network
from golden.export import model_bytes
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, preset
from sim.bench import Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.design import cached_verilog
from sim.images import random_images
from sim.reference import expected_arrays

TINY = preset("tiny")
MEMORY = replace(TINY.memory, window_entries=512)  # a step of one granule takes the most entries
LIMITS = RandomLimits(image=(8, 12), channels=10, blocks=(1, 2))
SHAPES = {
    "a window of 3 x 3 in a step, a multiplier for each element": {
        "granules": 9,
        "drain_lanes": 4,
    },
    "steps of an odd number of granules": {"granules": 3},
    "one granule, more columns than rows": {"granules": 1, "columns": 8, "drain_lanes": 8},
}
SEEDS = (1, 4)


def config_of(shape: str) -> AcceleratorConfig:
    array = replace(TINY.array, **SHAPES[shape])
    return replace(TINY, name="shaped", array=array, memory=MEMORY)


@pytest.mark.parametrize("shape", SHAPES)
def test_models_are_exact_on_the_rtl_of_any_array(tmp_path: Path, shape: str) -> None:
    config = config_of(shape)
    bench = Bench(
        config=config,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=tmp_path / "verilog"),
        out=tmp_path,
        console=Console(file=io.StringIO(), width=160),
    )
    for seed in SEEDS:
        network = lower(import_bytes(model_bytes(random_model(seed, LIMITS))))
        program = compile_network(network, config)
        images = random_images(program.image_shape, 1)
        expected = expected_arrays(network, images.pixels)
        report = cosimulate(bench, program, images, expected)
        text = bench.console.file.getvalue()  # type: ignore[attr-defined]
        assert report.passed, f"seed {seed}\n{text}"
        assert report.values_compared > 0

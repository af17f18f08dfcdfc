"""Layers whose window does not fit half of a column buffer: parts of it take turns on the RTL."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.plan import plan_network
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import preset
from sim.cosimulation import Bench, cosimulate, make_simulator, random_images
from sim.design import cached_verilog
from sim.reference import expected_arrays

TINY = preset("tiny")
CONFIG = replace(
    TINY,
    memory=replace(TINY.memory, column_granules=128, window_entries=1024, pass_entries=512),
)
LIMITS = RandomLimits(image=(3, 5), channels=60, blocks=(1, 2))
SEEDS = (59, 83, 101)
"""Parts are kernel rows; channels of two tiles; channels of one tile."""


def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("parts")


def test_the_models_have_parts_of_both_kinds() -> None:
    kinds = set()
    for seed in SEEDS:
        for layer in plan_network(network_of(seed), CONFIG).layers:
            parts = layer.tables.parts if layer.tables is not None else ()
            kinds |= {(part.granules[0] > 0, layer.channel_tiles > 1) for part, _ in parts}
    assert kinds == {(rows, tiles) for rows in (False, True) for tiles in (False, True)}


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_are_exact_on_the_rtl(folder: Path, seed: int) -> None:
    network = network_of(seed)
    text = io.StringIO()
    bench = Bench(
        config=CONFIG,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog"),
        out=folder,
        console=Console(file=text, width=160),
    )
    program = compile_network(network, CONFIG)
    images = random_images(program.image_shape, 2)
    expected = expected_arrays(network, images.pixels)
    report = cosimulate(bench, program, images, expected)
    assert report.passed, f"seed {seed}\n{text.getvalue()}"
    assert report.cycle_difference is None
    assert report.values_compared > 0

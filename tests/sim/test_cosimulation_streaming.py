"""Models whose weights do not fit the chip on the RTL: units take turns in the weight memory.

The functional simulator executes one instruction at a time; only the RTL shows a load that
overwrites what an engine still reads.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.plan import plan_network
from compiler.units import Table
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import preset
from sim.bench import Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.design import cached_verilog
from sim.images import random_images
from sim.reference import expected_arrays

TINY = preset("tiny")
CONFIG = replace(TINY, memory=replace(TINY.memory, weight_words=256))
LIMITS = RandomLimits(image=(16, 20), channels=10, blocks=(1, 2))
SEEDS = (3, 7, 13, 51)


def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("streaming")


def test_the_models_stream_all_or_some_of_their_weights() -> None:
    shares = []
    for seed in SEEDS:
        plan = plan_network(network_of(seed), CONFIG)
        layers = [layer.tag for layer in plan.layers if layer.tables is not None]
        kept = sum((tag, Table.WEIGHTS) in plan.resident for tag in layers)
        assert kept < len(layers)
        shares.append(kept)
    assert 0 in shares
    assert any(shares)


@pytest.mark.parametrize("seed", SEEDS)
def test_streamed_weights_are_exact_on_the_rtl(folder: Path, seed: int) -> None:
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
    assert report.images == 2
    assert report.values_compared > 0

"""Models on the RTL with an external memory that holds neither all their tables nor all at once.

Each stage overwrites the one before, and the instructions of the inferences overwrite the last:
the engines must be done with a stage when the host hears so, and nothing of it may be left in a
buffer.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.plan import plan_network
from compiler.program import Program
from compiler.units import Table
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.integer_reference import run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import preset
from sim.bench import Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.design import cached_verilog
from sim.functional import FunctionalSimulator
from sim.images import random_images
from sim.reference import expected_arrays

TINY = preset("tiny")
CONFIG = replace(
    TINY,
    name="tiny-staged",
    memory=replace(TINY.memory, weight_words=256, external_words=1024),
)
LIMITS = RandomLimits(
    image=(5, 8),
    channels=10,
    planes=3,
    wide_planes=4,
    blocks=(1, 2),
    kernels=(1, 2, 3),
    strides=(1, 2),
)
SEEDS = (3, 27, 35)


@cache
def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


@cache
def program_of(seed: int) -> Program:
    return compile_network(network_of(seed), CONFIG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("stages")


def test_the_models_need_several_stages_and_some_also_stream_weights() -> None:
    streaming = set()
    for seed in SEEDS:
        assert len(program_of(seed).stages) >= 2
        plan = plan_network(network_of(seed), CONFIG)
        layers = [layer.tag for layer in plan.layers if layer.tables is not None]
        streaming.add(any((tag, Table.WEIGHTS) not in plan.resident for tag in layers))
    assert max(len(program_of(seed).stages) for seed in SEEDS) >= 3
    assert streaming == {False, True}


@pytest.mark.parametrize("seed", SEEDS)
def test_staged_programs_are_exact_in_the_functional_simulator(seed: int) -> None:
    program, network = program_of(seed), network_of(seed)
    images = random_images(program.image_shape, 2).pixels
    expected = run(network, images)[program.tensors[-1].name]
    simulator = FunctionalSimulator(program, CONFIG)
    for image, logits in zip(images, expected, strict=True):
        np.testing.assert_array_equal(simulator.run(image), logits.ravel())


@pytest.mark.parametrize("seed", SEEDS)
def test_staged_programs_are_exact_on_the_rtl(folder: Path, seed: int) -> None:
    text = io.StringIO()
    bench = Bench(
        config=CONFIG,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog"),
        out=folder,
        console=Console(file=text, width=160),
    )
    program = program_of(seed)
    images = random_images(program.image_shape, 2)
    expected = expected_arrays(network_of(seed), images.pixels)
    report = cosimulate(bench, program, images, expected)
    assert report.passed, f"seed {seed}\n{text.getvalue()}"
    assert report.images == 2
    assert report.values_compared > 0

"""Layers that the chip takes piece by piece, on the RTL: windows, their weights, pool windows."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.plan import plan_network
from golden.batching import batched
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, preset
from sim.bench import Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.design import cached_verilog
from sim.images import random_images, stacked
from sim.reference import expected_arrays

TINY = preset("tiny")
CONFIG = replace(
    TINY,
    memory=replace(TINY.memory, column_granules=128, window_entries=1024, pass_entries=512),
)
STARVED = replace(CONFIG, memory=replace(CONFIG.memory, weight_words=64))
"""Weights of a channel tile do not fit half of their memory: they are loaded part by part."""
NARROW = replace(CONFIG, memory=replace(CONFIG.memory, column_granules=64))
POOLED = RandomLimits(image=(3, 9), channels=60, blocks=(1, 2))
POOL_SEEDS = {"parts of rows": (40, NARROW), "rows": (51, CONFIG), "two layers": (52, CONFIG)}
LIMITS = RandomLimits(image=(3, 5), channels=60, blocks=(1, 2))
SEEDS = (59, 83, 101)
"""Parts are kernel rows; channels of two tiles; channels of one tile."""


def network_of(seed: int, limits: RandomLimits = LIMITS) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, limits))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("parts")


def test_the_models_have_parts_of_both_kinds() -> None:
    kinds = set()
    for seed in SEEDS:
        for layer in plan_network(network_of(seed), CONFIG).layers:
            parts = layer.tables.parts if layer.tables is not None else ()
            kinds |= {(part.part.granules[0] > 0, layer.channel_tiles > 1) for part in parts}
    assert kinds == {(rows, tiles) for rows in (False, True) for tiles in (False, True)}


def require_exact(
    folder: Path, network: IntegerNetwork, config: AcceleratorConfig, batch: int = 1
) -> None:
    text = io.StringIO()
    bench = Bench(
        config=config,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog"),
        out=folder,
        console=Console(file=text, width=160),
    )
    network = batched(network, batch)
    program = compile_network(network, config)
    images = random_images(program.image_shape, batch + 1)
    expected = expected_arrays(network, stacked(images.pixels, batch))
    report = cosimulate(bench, program, images, expected)
    assert report.passed, text.getvalue()
    assert report.cycle_difference is None
    assert report.values_compared > 0
    assert report.images == batch + 1
    assert report.predictions_rtl == report.predictions_golden


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_are_exact_on_the_rtl(folder: Path, seed: int) -> None:
    require_exact(folder, network_of(seed), CONFIG)


def test_weights_that_are_loaded_part_by_part_are_exact_on_the_rtl(folder: Path) -> None:
    for seed in (3, 27, 83, 101):
        network = network_of(seed)
        units = plan_network(network, STARVED).units
        assert any(unit.part for unit in units), seed
        require_exact(folder, network, STARVED)


@pytest.mark.parametrize("config", [CONFIG, STARVED], ids=["windows", "weights"])
def test_parts_of_a_batch_are_exact_on_the_rtl(folder: Path, config: AcceleratorConfig) -> None:
    for seed in (27, 83, 101):
        require_exact(folder, network_of(seed), config, batch=3)


@pytest.mark.parametrize("case", POOL_SEEDS)
def test_pool_windows_in_pieces_are_exact_on_the_rtl(folder: Path, case: str) -> None:
    seed, config = POOL_SEEDS[case]
    network = network_of(seed, POOLED)
    pieces = [layer for layer in plan_network(network, config).layers if layer.pieces]
    assert pieces
    widths = {layer.pieces[0].width == layer.shape.pool[1] for layer in pieces if layer.shape}
    assert (True in widths) == (case != "parts of rows")
    require_exact(folder, network, config)

"""Prefixes of a network's weight planes on the RTL of ``tiny``: one program, loaded once.

Each image is run with another number of planes, most of them twice, so that what a run with some
planes leaves behind meets a run with others. Accumulators, tensors, logits, cycles and counters of
every run are those of the prefix.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.prefixes import compile_prefixes
from hw.config import preset
from sim.cosimulation import Bench, cosimulate, make_simulator, random_images
from sim.design import cached_verilog
from sim.reference import expected_arrays
from tests.compiler.prefix_models import prefix_networks

TINY = preset("tiny")
SEEDS = (4, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("prefixes")


@pytest.mark.parametrize("seed", SEEDS)
def test_prefixes_of_one_program_are_exact_on_the_rtl(folder: Path, seed: int) -> None:
    text = io.StringIO()
    bench = Bench(
        config=TINY,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog"),
        out=folder,
        console=Console(file=text, width=160),
    )
    networks = prefix_networks(seed)
    assert len(networks) == 4
    program = compile_prefixes(networks, TINY)
    planes = (4, 1, 3, 2, 4, 1)
    images = random_images(program.image_shape, len(planes), seed)
    expected = [
        next(iter(expected_arrays(networks[count - 1], images.pixels[index : index + 1])))
        for index, count in enumerate(planes)
    ]
    report = cosimulate(bench, program, images, expected, planes=planes)
    assert report.passed, f"seed {seed}\n{text.getvalue()}\n{report.cycle_difference}"
    assert report.images == len(planes)


def test_runs_with_other_planes_than_expected_fail(folder: Path) -> None:
    bench = Bench(
        config=TINY,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog"),
        out=folder,
        console=Console(file=io.StringIO()),
    )
    networks = prefix_networks(SEEDS[0])
    program = compile_prefixes(networks, TINY)
    images = random_images(program.image_shape, 1)
    expected = expected_arrays(networks[3], images.pixels)
    report = cosimulate(bench, program, images, expected, planes=(3,), waves=False)
    assert not report.passed

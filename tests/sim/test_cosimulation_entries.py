"""Programs with several entries on the RTL of ``tiny``, loaded once.

Prefixes of a network's weight planes: each image is run with another number of planes, most of them
twice, so that what a run with some planes leaves behind meets a run with others. Parts of the last
layer: each run goes on with what the one before has left. Accumulators, tensors, logits, cycles and
counters of every run are those of the prefix, or of the part.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from compiler.early_exit import exit_plan, part_of
from compiler.exit_program import compile_exits
from compiler.prefixes import compile_prefixes
from compiler.program import Prefix
from compiler.program_file import save_program
from golden.integer_reference import logits_name, run
from hw.config import preset
from sim.bench import Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.cycles.compare import find_difference
from sim.cycles.model import run_program
from sim.design import cached_verilog
from sim.images import random_images
from sim.job import IMAGES_FILE, PROGRAM_FILE, ResultReader, expected_file
from sim.reference import expected_arrays
from tests.compiler.prefix_models import prefix_networks

TINY = preset("tiny")
SEEDS = (4, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: the RTL is compiled once."""
    return tmp_path_factory.mktemp("prefixes")


def bench_in(folder: Path, text: io.StringIO) -> Bench:
    return Bench(
        config=TINY,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog"),
        out=folder,
        console=Console(file=text, width=160),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_prefixes_of_one_program_are_exact_on_the_rtl(folder: Path, seed: int) -> None:
    text = io.StringIO()
    bench = bench_in(folder, text)
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


def test_parts_of_the_last_layer_are_exact_on_the_rtl_and_add_up(
    folder: Path, tmp_path: Path
) -> None:
    network = prefix_networks(SEEDS[0])[-1]
    plan = exit_plan(network)
    cuts = (2, 7)
    program = compile_exits(network, cuts, TINY, plan=plan)
    edges = (0, *cuts, len(plan.groups))
    parts = [
        part_of(network, plan.groups[first:last], bias=first == 0)
        for first, last in pairwise(edges)
    ]
    ways = tuple(
        Prefix(
            planes=number,
            image_entry=part.image_entry,
            result_fraction=program.result_fraction,
            layers=part.layers,
            tensors=part.tensors,
        )
        for number, part in enumerate(program.exits, 1)
    )
    runs = (1, 2, 3, 1, 2, 3)
    pixels = random_images(program.image_shape, 2).pixels.repeat(3, axis=0)
    bench = bench_in(folder, io.StringIO())
    build = bench.build(bench.simulator)
    save_program(replace(program, prefixes=ways), tmp_path / PROGRAM_FILE)
    np.save(tmp_path / IMAGES_FILE, pixels)
    for index, number in enumerate(runs):
        expected = next(expected_arrays(parts[number - 1], pixels[index : index + 1]))
        np.savez(expected_file(tmp_path, index), **expected)
    replace(bench.job(program, range(len(runs))), planes=runs).save(tmp_path)
    bench.simulator.run(build, [tmp_path])
    results = ResultReader(tmp_path).new()
    assert len(results) == len(runs)
    name = logits_name(network)
    full = run(network, pixels[::3])[name].reshape(2, -1)
    for number, result in zip(runs, results, strict=True):
        assert result.error is None
        assert sum(layer["values_mismatched"] for layer in result.layers) == 0
        assert sum(layer["values_compared"] for layer in result.layers) > 0
        way = ways[number - 1]
        predicted = run_program(replace(program, image_entry=way.image_entry), TINY)
        assert find_difference(predicted, [layer.tag for layer in way.layers], [result]) is None
    for image in range(2):
        sums = np.sum([result.logits for result in results[3 * image : 3 * image + 3]], axis=0)
        np.testing.assert_array_equal(sums, full[image])


def test_runs_with_other_planes_than_expected_fail(folder: Path) -> None:
    bench = bench_in(folder, io.StringIO())
    networks = prefix_networks(SEEDS[0])
    program = compile_prefixes(networks, TINY)
    images = random_images(program.image_shape, 1)
    expected = expected_arrays(networks[3], images.pixels)
    report = cosimulate(bench, program, images, expected, planes=(3,), waves=False)
    assert not report.passed

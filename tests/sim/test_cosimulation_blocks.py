"""Tensors in the external memory, on the RTL: block by block, bit for bit, cycle for cycle."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.program import Program, ProgramError
from golden.batching import batched
from golden.export import model_bytes
from golden.graph import ModelError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, preset
from hw.memory.sdram_part import sdram_part
from sim.bench import Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.design import cached_verilog
from sim.images import random_images, stacked
from sim.reference import expected_arrays

PART = "16Mx16"
LIMITS = RandomLimits(image=(20, 34), channels=12, blocks=(1, 3))
LEAST_BLOCKS = 4


def crowded(rows: int, activation_words: int, stream_vectors: int) -> AcceleratorConfig:
    """``tiny`` with an SDRAM, and memories that are too small for most models."""
    tiny = preset("tiny")
    return replace(
        tiny,
        name=f"crowded-{rows}",
        array=replace(tiny.array, rows=rows),
        memory=replace(
            tiny.memory,
            activation_words=activation_words,
            column_granules=1024,
            stream_vectors=stream_vectors,
            spill_vectors=stream_vectors,
            external_words=sdram_part(PART).words,
        ),
        sdram=PART,
    )


def bench_of(config: AcceleratorConfig, folder: Path) -> Bench:
    return Bench(
        config=config,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=folder / "verilog", latency=0),
        out=folder,
        console=Console(file=io.StringIO(), width=160),
    )


def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


def spilled(program: Program) -> list[str]:
    """Kinds of the tensors in the external memory that are written in several blocks."""
    return [tensor.kind for tensor in program.tensors if len(tensor.blocks) >= LEAST_BLOCKS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "words", "vectors", "count"), [(4, 1024, 256, 5), (8, 512, 128, 4), (16, 512, 128, 4)]
)
def test_models_larger_than_the_chip(
    tmp_path: Path, rows: int, words: int, vectors: int, count: int
) -> None:
    config = crowded(rows, words, vectors)
    bench = bench_of(config, tmp_path)
    done: list[list[str]] = []
    for seed in range(100):
        try:
            network = network_of(seed)
            program = compile_network(network, config)
        except (ModelError, ProgramError):
            continue
        kinds = spilled(program)
        # Every other model must spill a stream.
        if not kinds or (len(done) % 2 and "stream" not in kinds):
            continue
        images = random_images(program.image_shape, 1)
        expected = expected_arrays(network, images.pixels)
        report = cosimulate(bench, program, images, expected, waves=False)
        assert report.cycle_difference is None, f"seed {seed}: {report}"
        assert report.passed, f"seed {seed}: {report}"
        done.append(kinds)
        if len(done) == count:
            return
    raise AssertionError(f"{count} models must spill, not {done}")


@pytest.mark.slow
def test_batches_larger_than_the_chip(tmp_path: Path) -> None:
    config = crowded(4, 1024, 256)
    bench = bench_of(config, tmp_path)
    done = 0
    for seed in range(100):
        batch = 2 + seed % 3
        try:
            network = batched(network_of(seed), batch)
            program = compile_network(network, config)
        except (ModelError, ProgramError):
            continue
        if not spilled(program):
            continue
        images = random_images(program.image_shape, batch)
        expected = expected_arrays(network, stacked(images.pixels, batch))
        report = cosimulate(bench, program, images, expected, waves=False)
        assert report.passed, f"seed {seed}: {report}"
        done += 1
        if done == 3:
            return
    raise AssertionError(f"3 batches must spill, not {done}")

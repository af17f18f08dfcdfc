"""The cycle model against the RTL: random programs on random presets, every layer and counter.

The programs of a preset run one after the other on the same simulated accelerator.
"""

from __future__ import annotations

import io
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.program import Program, ProgramError
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, ArrayConfig, ConfigError, preset
from hw.memory.sdram_part import SDRAM_PARTS, sdram_part
from sim.bench import Bench, make_simulator
from sim.cosimulation import Case, cosimulate_all
from sim.design import cached_verilog
from sim.images import random_images
from sim.reference import expected_arrays

PRESETS = range(10)
PROGRAMS = 30
"""Programs for each preset."""
SDRAM_PRESETS = range(10, 12)
"""Presets whose external memory is an SDRAM of the board."""
SDRAM_PROGRAMS = 8
BOARD_PRESET = 12
"""Preset with weight words of 48 bits, as the largest board has: two in three external words."""
BOARD_PROGRAMS = 12
DRAWS = 200
"""Models drawn for each preset; the compiler refuses those that do not fit."""
LATENCIES = 4
"""The external memory of preset n answers after n modulo this many cycles more."""
LIMITS = RandomLimits(image=(5, 12), channels=12, blocks=(1, 2))


def random_config(number: int) -> AcceleratorConfig:
    """A small array with any step, drain and number of comparators, and memories around it."""
    draw = random.Random(number)
    while True:
        columns = draw.choice((2, 4, 8))
        sizes = {
            "rows": draw.choice((4, 4, 8)),
            "columns": columns,
            "granules": draw.choice((1, 2, 2, 3, 4, 5, 9)),
            "drain_lanes": draw.choice([lanes for lanes in (1, 2, 4, 8) if lanes <= columns]),
            "count_width": draw.choice((10, 12, 13)),
        }
        tiny = preset("tiny")
        memory = replace(
            tiny.memory,
            window_entries=512,
            column_granules=draw.choice((256, 512, 1024, 4096)),
            weight_words=draw.choice((128, 256, 1024, 2048)),
            coefficient_words=draw.choice((128, 512, 1024)),
            external_words=draw.choice((4096, 8192, 16384)),
        )
        datapath = replace(tiny.datapath, comparators=draw.choice((1, 2, 3, 5)))
        try:
            array = ArrayConfig(**sizes)
        except ConfigError:
            continue
        return AcceleratorConfig(
            name=f"random-{number}", array=array, memory=memory, datapath=datapath
        )


def with_sdram(config: AcceleratorConfig, name: str) -> AcceleratorConfig:
    memory = replace(config.memory, external_words=sdram_part(name).words)
    return replace(config, memory=memory, sdram=name)


def programs(
    config: AcceleratorConfig, number: int, count: int
) -> list[tuple[int, Program, IntegerNetwork]]:
    """Seed, program and network of the first ``count`` models that the compiler takes."""
    taken = []
    for seed in range(number * DRAWS, (number + 1) * DRAWS):
        network = lower(import_bytes(model_bytes(random_model(seed, LIMITS))))
        try:
            taken.append((seed, compile_network(network, config), network))
        except ProgramError:
            continue
        if len(taken) == count:
            break
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("number", PRESETS)
def test_every_layer_and_counter_equals_the_rtl(tmp_path: Path, number: int) -> None:
    require_equal(tmp_path, random_config(number), number, PROGRAMS, latency=number % LATENCIES)


@pytest.mark.slow
@pytest.mark.parametrize("number", SDRAM_PRESETS)
def test_every_layer_and_counter_equals_the_rtl_with_an_sdram(tmp_path: Path, number: int) -> None:
    name = list(SDRAM_PARTS)[number % 2]
    require_equal(tmp_path, with_sdram(random_config(number), name), number, SDRAM_PROGRAMS)


@pytest.mark.slow
def test_every_layer_and_counter_equals_the_rtl_with_the_lanes_of_a_board(tmp_path: Path) -> None:
    config = random_config(BOARD_PRESET)
    config = replace(config, array=replace(config.array, rows=8, granules=6))
    assert config.array.lanes == preset("ulx3s-85f").array.lanes
    require_equal(tmp_path, config, BOARD_PRESET, BOARD_PROGRAMS, latency=1)


def test_presets_have_weight_words_that_lie_across_words_of_the_external_memory() -> None:
    """The RTL is compared with wide and narrow ones."""
    numbers = (*PRESETS, *SDRAM_PRESETS)
    lanes = {random_config(number).array.lanes for number in numbers}
    odd = [width for width in lanes if width % 32 and 32 % width]
    assert min(odd) < 32 < max(odd)
    assert lanes & {4, 8, 16, 32}


def require_equal(
    tmp_path: Path, config: AcceleratorConfig, number: int, count: int, *, latency: int = 0
) -> None:
    bench = Bench(
        config=config,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=tmp_path / "verilog", latency=latency),
        out=tmp_path,
        console=Console(file=io.StringIO(), width=160),
        memory_latency=latency,
    )
    taken = programs(config, number, count)
    assert len(taken) == count, f"{config} takes {len(taken)} of {DRAWS} models"
    cases = [case_of(program, network) for _, program, network in taken]
    reports = cosimulate_all(bench, cases, waves=False)
    for (seed, program, network), report in zip(taken, reports, strict=True):
        if not report.passed:
            (alone,) = cosimulate_all(bench, [case_of(program, network)], waves=False)
            pytest.fail(f"seed {seed} on {config}: {report}; run alone, passed={alone.passed}")
        assert report.cycle_difference is None
        assert report.images == 1
        assert report.cycles_per_image > 0


def case_of(program: Program, network: IntegerNetwork) -> Case:
    images = random_images(program.image_shape, 1)
    return Case(program=program, images=images, expected=expected_arrays(network, images.pixels))

"""A model on the RTL with an external memory too large for block RAM, which starts with it."""

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
from golden.random_models import random_model
from hw.config import preset
from hw.memory.external import is_preloaded
from sim.bench import Bench, make_simulator
from sim.cosimulation import Case, cosimulate, cosimulate_all
from sim.design import cached_verilog
from sim.images import random_images
from sim.reference import expected_arrays
from tests.sim.test_cosimulation_cases import wrong
from tests.sim.test_cosimulation_stages import LIMITS

TINY = preset("tiny")
CONFIG = replace(
    TINY,
    name="tiny-preloaded",
    memory=replace(TINY.memory, weight_words=128, external_words=(1 << 16) + 8),
)
SEED = 29


def test_only_memories_beyond_block_ram_are_preloaded() -> None:
    assert is_preloaded(CONFIG.memory.external_words)
    assert is_preloaded(preset("simulation-large").memory.external_words)
    assert not is_preloaded(preset("ulx3s-85f").memory.external_words)


def test_preloaded_programs_are_exact_on_the_rtl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = lower(import_bytes(model_bytes(random_model(SEED, LIMITS))))
    program = compile_network(network, CONFIG)
    (stage,) = program.stages
    # Some words are overwritten by the stage, some only the file holds.
    assert 0 < len(stage.memory) < len(program.memory)
    text = io.StringIO()
    bench = Bench(
        config=CONFIG,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=tmp_path / "verilog"),
        out=tmp_path,
        console=Console(file=text, width=160),
    )
    assert bench.job(program, [0]).preloaded
    images = random_images(program.image_shape, 2)
    expected = list(expected_arrays(network, images.pixels))
    report = cosimulate(bench, program, images, expected)
    assert report.passed, text.getvalue()
    assert report.cycle_difference is None
    assert report.values_compared > 0
    # The first program of several starts in the memory, the host writes the second.
    case = Case(program=program, images=images, expected=expected)
    reports = cosimulate_all(bench, [wrong(case), wrong(case)])
    for report in reports:
        assert report.values_mismatched == 1
        assert report.cycle_difference is None
    assert [report.waveform is not None for report in reports] == [True, False]
    second = cosimulate_all(bench, [case, wrong(case)])[1]
    assert second.values_mismatched == 1
    assert Path(second.waveform or "").stat().st_size > 0

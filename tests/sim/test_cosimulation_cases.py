"""Several programs that take turns on one simulated accelerator."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from compiler.compile import compile_network
from compiler.program import Program
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import random_model
from hw.config import preset
from hw.isa import INSTRUCTION_WORDS, SEMAPHORES, decode, encode
from sim.bench import Bench, make_simulator
from sim.cosimulation import Case, cosimulate, cosimulate_all
from sim.design import cached_verilog
from sim.images import random_images
from sim.reference import expected_arrays
from sim.simulator import Simulator, SimulatorError
from tests.sim.test_cosimulation import LIMITS, SEEDS

TINY = preset("tiny")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One folder for all tests: the RTL is compiled once."""
    out = tmp_path_factory.mktemp("cases")
    return Bench(
        config=TINY,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=out / "verilog"),
        out=out,
        console=Console(file=io.StringIO(), width=160),
    )


@cache
def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


@cache
def program_of(seed: int) -> Program:
    return compile_network(network_of(seed), TINY)


def case_of(seed: int, images: int = 1) -> Case:
    program = program_of(seed)
    chosen = random_images(program.image_shape, images)
    expected = expected_arrays(network_of(seed), chosen.pixels)
    return Case(program=program, images=chosen, expected=expected, model=f"seed {seed}")


def wrong(case: Case) -> Case:
    """The case with one code of the reference changed."""
    arrays = [dict(entry) for entry in case.expected]
    tensor = next(tensor for tensor in case.program.tensors if tensor.kind == "planes")
    changed = np.array(arrays[-1][tensor.name])
    changed.flat[0] ^= 1
    arrays[-1][tensor.name] = changed
    return replace(case, expected=arrays)


def stuck(case: Case) -> Case:
    """The case with a first instruction that waits for all semaphores, which nobody signals."""
    program = case.program
    memory, place = program.memory.copy(), program.image_entry
    words = memory[place : place + INSTRUCTION_WORDS]
    opcode, fields = decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
    word = encode(opcode, fields | {"wait": (1 << SEMAPHORES) - 1})
    words[:] = np.frombuffer(word.to_bytes(4 * INSTRUCTION_WORDS, "little"), "<u4")
    return replace(case, program=replace(program, memory=memory))


def test_programs_take_turns_and_each_is_exact_as_alone(bench: Bench) -> None:
    images = (2, 1, 3)
    reports = cosimulate_all(
        bench, [case_of(seed, count) for seed, count in zip(SEEDS, images, strict=True)]
    )
    assert [report.model for report in reports] == [f"seed {seed}" for seed in SEEDS]
    assert [report.images for report in reports] == list(images)
    for seed, report in zip(SEEDS, reports, strict=True):
        assert report.passed
        case = case_of(seed)
        alone = cosimulate(bench, case.program, case.images, case.expected)
        assert report.cycles == alone.cycles
        assert report.counters == alone.counters
        assert report.values_compared == report.images * alone.values_compared


def test_only_the_program_that_fails_is_reported_so(bench: Bench) -> None:
    first, second, third = SEEDS
    cases = [case_of(first), wrong(case_of(second, 2)), case_of(third)]
    reports = cosimulate_all(bench, cases)
    assert [report.passed for report in reports] == [True, False, True]
    assert reports[1].values_mismatched == 1
    assert reports[1].mismatch is not None
    assert reports[1].mismatch.startswith("image 1, layer ")
    assert [report.waveform is not None for report in reports] == [False, True, False]
    assert Path(reports[1].waveform or "").stat().st_size > 0


def test_a_program_runs_after_one_that_did_not_end(bench: Bench) -> None:
    first, second, _ = SEEDS
    reports = cosimulate_all(bench, [stuck(case_of(first)), case_of(second)], waves=False)
    assert [report.passed for report in reports] == [False, True]
    assert "run must not trap: WATCHDOG" in (reports[0].error or "")


def test_a_program_that_the_simulator_does_not_run_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Simulator.run

    def run_without_last(simulator: Simulator, build: Path, folders: Sequence[Path]) -> Path:
        return run(simulator, build, folders[:-1])

    monkeypatch.setattr(Simulator, "run", run_without_last)
    with pytest.raises(SimulatorError, match=f"every image of seed {SEEDS[1]}"):
        cosimulate_all(bench, [case_of(seed) for seed in SEEDS[:2]])


def test_no_programs_make_no_reports(bench: Bench) -> None:
    assert cosimulate_all(bench, []) == []

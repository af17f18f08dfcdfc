"""Runs of the cycle model: what it predicts, what it refuses, and that the comparison sees all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.program import Program
from golden.export import model_bytes
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw import isa
from hw.config import preset
from hw.isa import Counter, Engine, Opcode
from sim.cycles.compare import find_difference
from sim.cycles.instructions import CycleError
from sim.cycles.model import Run, run_program
from sim.job import ImageResult

CONFIG = preset("tiny")
SEED = 3
WORDS = isa.INSTRUCTION_WORDS


@cache
def program() -> Program:
    graph = random_model(SEED, RandomLimits(image=(8, 10), channels=8, blocks=(1, 1)))
    return compile_network(lower(import_bytes(model_bytes(graph))), CONFIG)


def tags() -> list[int]:
    return [layer.tag for layer in program().layers]


def instructions() -> list[tuple[int, int]]:
    """Word address and encoding of the instructions of an image, without END."""
    found = []
    address = program().image_entry
    while True:
        words = program().memory[address : address + WORDS].astype("<u4").tobytes()
        encoded = int.from_bytes(words, "little")
        if encoded & 15 == Opcode.END.value:
            return found
        found.append((address, encoded))
        address += WORDS


def changed(address: int, encoded: int) -> Program:
    """The program with another instruction at ``address``."""
    memory = program().memory.copy()
    memory[address : address + WORDS] = np.frombuffer(encoded.to_bytes(4 * WORDS, "little"), "<u4")
    return replace(program(), memory=memory)


def result_of(run: Run) -> ImageResult:
    """What a simulation that equals the prediction would report."""
    layers = [
        {"name": layer.name, "cycles": cycles}
        for layer, cycles in zip(program().layers, run.layer_cycles(tags()), strict=True)
    ]
    return ImageResult(
        image=0,
        cycles=run.cycles,
        seconds=1.0,
        counters=[run.counters[counter] for counter in Counter],
        layers=layers,
        logits=[],
        mismatch=None,
        error=None,
    )


def test_layers_add_up_to_the_run() -> None:
    run = run_program(program(), CONFIG)
    assert sum(run.layer_cycles(tags())) == run.cycles
    assert min(run.layer_cycles(tags())) > 0


def test_every_instruction_retires_on_its_engine_in_order() -> None:
    run = run_program(program(), CONFIG)
    assert len(run.retired) == len(instructions())
    cycles = [cycle for cycle, _, _ in run.retired]
    assert cycles == sorted(cycles)
    assert {engine for _, engine, _ in run.retired} == set(Engine)


def test_the_array_is_busy_for_the_words_of_all_commands() -> None:
    run = run_program(program(), CONFIG)
    assert run.counters[Counter.ARRAY_BUSY] == sum(command.words for command in run.commands) > 0
    inside = sum(last - first + 1 for first, last in run.compute_busy)
    assert run.counters[Counter.ARRAY_BUSY] <= inside <= run.cycles


def test_a_slower_memory_takes_longer() -> None:
    totals = [run_program(program(), CONFIG, latency=latency).cycles for latency in (0, 4, 40)]
    assert totals[0] < totals[1] < totals[2]


def test_a_prediction_does_not_differ_from_itself() -> None:
    run = run_program(program(), CONFIG)
    assert find_difference(run, tags(), [result_of(run)] * 2) is None


def test_one_cycle_in_any_layer_is_a_difference() -> None:
    run = run_program(program(), CONFIG)
    for index, layer in enumerate(program().layers):
        other = result_of(run)
        other.layers[index]["cycles"] += 1
        text = find_difference(run, tags(), [result_of(run), other])
        assert text is not None
        assert f"layer {layer.name} took" in text


@pytest.mark.parametrize("counter", Counter)
def test_one_count_in_any_counter_is_a_difference(counter: Counter) -> None:
    run = run_program(program(), CONFIG)
    other = result_of(run)
    other.counters[list(Counter).index(counter)] += 1
    text = find_difference(run, tags(), [other])
    assert text is not None
    assert counter.name in text


def test_a_longer_run_is_a_difference() -> None:
    run = run_program(program(), CONFIG)
    text = find_difference(run, tags(), [replace(result_of(run), cycles=run.cycles + 1)])
    assert text == f"image 0 took {run.cycles + 1:,} cycles, not {run.cycles:,}"


def test_a_program_that_waits_for_ever_is_refused_with_the_engines() -> None:
    """The first FILL does not say that it is done."""
    address, encoded = next(
        (address, encoded)
        for address, encoded in instructions()
        if encoded & 15 == Opcode.FILL.value
    )
    silent = isa.encode(Opcode.FILL, isa.decode(encoded)[1] | {"signal": 0})
    with pytest.raises(CycleError, match="program must end, but .*COMPUTE.* would wait for ever"):
        run_program(changed(address, silent), CONFIG)


def test_an_unknown_opcode_is_refused() -> None:
    address, _ = instructions()[0]
    with pytest.raises(CycleError, match="opcode must be 1 to 7, not 0"):
        run_program(changed(address, 0), CONFIG)


def test_a_program_without_end_is_refused() -> None:
    last = program().image_entry + WORDS * len(instructions())
    cut = replace(program(), memory=program().memory[:last])
    with pytest.raises(CycleError, match="must lie inside the program's memory"):
        run_program(cut, CONFIG)

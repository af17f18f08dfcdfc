"""Causes of cycles: they add up, agree with the counters, and follow waits to their source."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest

from compiler.compile import compile_model, compile_network
from compiler.program import Program, ProgramError
from golden.export import model_bytes
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, preset
from hw.isa import INSTRUCTION_FIELDS, Engine, Opcode, Semaphore, encode
from hw.isa import Counter as PerformanceCounter
from sim.attribution import MEANINGS, Cause, attribute
from sim.cycles.compute import Command
from sim.cycles.control import Wait
from sim.cycles.instructions import Instruction
from sim.cycles.model import BUSY_BEFORE, Run, run_program

RESNET20 = Path("models/resnet20-cifar10-w2a2.onnx")
LIMITS = RandomLimits(image=(5, 11), channels=11, blocks=(1, 2))
SEEDS = range(16)
TINY = preset("tiny")
CONFIGS = {
    "tiny": TINY,
    # Tables do not stay on chip: COMPUTE waits for loads, too.
    "streaming": replace(TINY, memory=replace(TINY.memory, weight_words=256)),
    "ulx3s-85f": preset("ulx3s-85f"),
}
SEQUENCER_CAUSES = {
    Cause.ARRAY: PerformanceCounter.ARRAY_BUSY,
    Cause.DRAIN: PerformanceCounter.WAIT_DRAIN,
    Cause.POST: PerformanceCounter.WAIT_POST,
}


@cache
def random_programs(name: str) -> list[Program]:
    """Those of the seeds that compile."""
    programs = []
    for seed in SEEDS:
        network = lower(import_bytes(model_bytes(random_model(seed, LIMITS))))
        try:
            programs.append(compile_network(network, CONFIGS[name]))
        except ProgramError:
            continue
    assert len(programs) > len(SEEDS) // 2
    return programs


def tags_of(program: Program) -> list[int]:
    return [layer.tag for layer in program.layers]


def total(counts: list[Counter[Cause]]) -> Counter[Cause]:
    return sum(counts, Counter())


def check_sums(program: Program, config: AcceleratorConfig, latency: int) -> list[Counter[Cause]]:
    """Every cycle has one cause, and the sequencer's causes are those that the RTL counts; the
    causes by layer."""
    run = run_program(program, config, latency=latency)
    causes = attribute(run, config, tags_of(program)).causes
    assert [layer.total() for layer in causes] == run.layer_cycles(tags_of(program))
    assert all(cycles > 0 for layer in causes for cycles in layer.values())
    everything = total(causes)
    assert everything.total() == run.cycles
    for cause, counter in SEQUENCER_CAUSES.items():
        assert everything[cause] == run.counters[counter], cause
    return causes


def test_causes_of_the_shipped_model_sum_to_the_cycles_of_each_layer() -> None:
    config = preset("ulx3s-85f")
    everything = total(check_sums(compile_model(RESNET20, config), config, latency=0))
    assert set(everything) == set(MEANINGS)


@pytest.mark.parametrize("latency", [0, 30])
@pytest.mark.parametrize("name", CONFIGS)
def test_causes_of_random_programs_sum_to_the_cycles_of_each_layer(name: str, latency: int) -> None:
    for program in random_programs(name):
        check_sums(program, CONFIGS[name], latency)


def test_slower_memory_adds_no_cycle_in_which_the_array_works() -> None:
    config = CONFIGS["streaming"]
    waiting = 0
    for program in random_programs("streaming"):
        layers = [check_sums(program, config, latency) for latency in (0, 100)]
        fast, slow = (total(causes) for causes in layers)
        assert slow[Cause.ARRAY] == fast[Cause.ARRAY]
        assert slow[Cause.FETCH] > fast[Cause.FETCH]
        # The last layer may wait for nothing but the writing of the result, which takes as long
        # whatever a read takes; all other waits are for loads.
        if any(causes[Cause.MEMORY] for causes in layers[0][:-1]):
            waiting += 1
            assert slow[Cause.MEMORY] > fast[Cause.MEMORY]
        else:
            assert slow[Cause.MEMORY] >= fast[Cause.MEMORY]
    assert waiting > len(random_programs("streaming")) // 2


def words_one_by_one(run: Run, config: AcceleratorConfig) -> Iterator[tuple[int, Cause]]:
    """Every cycle of every strip by the rules of ``hw/compute/sequencer.py``. From the model come
    only the cycles that other engines decide on: of a command's begin, and of room for vectors."""
    columns, period = config.array.columns, config.array.drain_period
    pass_end = start = end = -(1 << 30)
    for command in run.commands:
        lengths = command.lengths
        for strip in command.strips:
            cycle = strip.early
            for place, length in enumerate(lengths):
                for word in range(length):
                    starts = place == word == 0
                    last = word == length - 1
                    ends = last and place == len(lengths) - 1
                    while True:
                        if (
                            (last and cycle < pass_end + period)
                            or (starts and cycle < start + columns)
                            or (ends and cycle < end + columns)
                        ):
                            yield cycle, Cause.DRAIN
                        elif ends and cycle < strip.end:
                            yield cycle, Cause.POST
                        else:
                            break
                        cycle += 1
                    yield cycle, Cause.ARRAY
                    start = cycle if starts else start
                    pass_end = cycle if last else pass_end
                    end = cycle if ends else end
                    cycle += 1
            assert end == strip.end


@pytest.mark.parametrize("name", CONFIGS)
def test_strips_that_layers_share_are_split_at_the_very_cycle(name: str) -> None:
    for program in random_programs(name):
        run = run_program(program, CONFIGS[name])
        ends = list(accumulate(run.layer_cycles(tags_of(program)), initial=-BUSY_BEFORE))[1:]
        expected = [Counter[Cause]() for _ in ends]
        for cycle, cause in words_one_by_one(run, CONFIGS[name]):
            expected[bisect_right(ends, cycle)][cause] += 1
        causes = attribute(run, CONFIGS[name], tags_of(program)).causes
        got = [Counter({key: c[key] for key in SEQUENCER_CAUSES if c[key]}) for c in causes]
        assert got == expected


def instruction(
    opcode: Opcode, *, available: int, done: int, layer: int = 0, **fields: int
) -> Instruction:
    zeros = {field.name: 0 for field in INSTRUCTION_FIELDS[opcode]}
    made = Instruction(encode(opcode, zeros | {"layer": layer, **fields}))
    made.available, made.done = available, done
    return made


def wait(made: Instruction, last: int, signaller: Instruction | None = None) -> Wait:
    reason = None if signaller is None else signaller.signal.bit_length() - 1
    return Wait(made, made.available + 1, last, reason, signaller)


STRIP = (175, 175, 179, 181)
"""Cycles of a strip of five words."""


def chain(fill_available: int = 20, strip: tuple[int, int, int, int] = STRIP) -> Run:
    """DMA (done in 99) lets FILL (done in 160) start, that lets COMPUTE start; POST ends layer 0 in
    cycle 177 and layer 1 in cycle 250."""
    load = instruction(Opcode.DMA, available=10, done=99, signal=1 << Semaphore.READY)
    fill = instruction(
        Opcode.FILL, available=fill_available, done=160, signal=1 << Semaphore.FILLED_0
    )
    compute = instruction(Opcode.COMPUTE, available=30, done=200, passes=1, pixels=4, tiles=1)
    posts = [
        instruction(Opcode.POST, available=40, done=177),
        instruction(Opcode.POST, available=50, done=250, layer=1),
    ]
    command = Command(compute, [5], TINY.array.columns, TINY.array.drain_period, 174)
    command.issued.append(strip)
    return Run(
        cycles=254 + BUSY_BEFORE,
        counters={},
        retired=[
            (99, Engine.DMA, 0),
            (160, Engine.FILL, 0),
            (177, Engine.POST, 0),
            (200, Engine.COMPUTE, 0),
            (250, Engine.POST, 1),
        ],
        commands=[command],
        waits={
            Engine.DMA: [wait(load, 12)],
            Engine.FILL: [wait(fill, 105, load)],
            Engine.COMPUTE: [wait(compute, 166, fill)],
            Engine.POST: [wait(posts[0], 42), wait(posts[1], 52)],
        },
        compute_busy=[(170, 200)],
    )


def test_a_wait_is_followed_to_what_the_signalling_engine_does() -> None:
    (causes,) = attribute(chain(), TINY, [0]).causes
    assert causes == {
        # Reset, look at the instruction, FILL's grant after READY, COMPUTE's after FILLED_0, end.
        Cause.CONTROL: 5 + 1 + 5 + 14 + 3,
        Cause.FETCH: 30,
        Cause.MEMORY: 100 - 31,
        Cause.FILL: 161 - 105,
        Cause.ARRAY: 5,
        Cause.POST: 2,
        Cause.OUTPUTS: 251 - 182,
    }


def test_an_engine_that_has_no_instruction_is_waited_for_because_of_the_fetch() -> None:
    early, late = (attribute(chain(available), TINY, [0]).causes[0] for available in (20, 60))
    assert late[Cause.FETCH] == early[Cause.FETCH] + 60 - 31
    assert late[Cause.MEMORY] == early[Cause.MEMORY] - 60 + 31 - 1
    assert late[Cause.CONTROL] == early[Cause.CONTROL] + 1


def test_cycles_go_to_the_layer_that_they_are_in() -> None:
    first, second = attribute(chain(), TINY, [0, 1]).causes
    assert first.total() == 177 + BUSY_BEFORE
    assert first[Cause.ARRAY] == 2
    assert second == {
        Cause.ARRAY: 3,
        Cause.POST: 2,
        Cause.OUTPUTS: 251 - 182,
        Cause.CONTROL: 3,
    }


def test_a_strip_that_begins_late_waits_for_the_drain() -> None:
    first, second = attribute(chain(strip=(175, 180, 184, 186)), TINY, [0, 1]).causes
    assert first[Cause.DRAIN] == 177 - 175
    assert Cause.ARRAY not in first
    assert [second[cause] for cause in SEQUENCER_CAUSES] == [5, 180 - 177, 2]


def test_semaphore_waits_are_named_by_the_semaphore() -> None:
    first, second = attribute(chain(), TINY, [0, 1]).semaphores
    assert first == {Semaphore.FILLED_0: 161 - 31}
    assert not second

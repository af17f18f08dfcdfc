"""Programs with exits: parts that add up to the scores, and a host that really stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.compile import compile_network, image_words
from compiler.early_exit import exit_plan
from compiler.exit_program import compile_exits
from compiler.program import Program, ProgramError
from compiler.program_file import parse_program, program_bytes
from golden.integer_reference import classify, logits_name, run
from host.driver import Accelerator
from hw.config import preset
from hw.isa import Counter
from sim.cycles.model import run_program
from sim.functional import FunctionalSimulator
from sim.images import random_images
from tests.compiler.prefix_models import prefix_networks

TINY = preset("tiny")
IMAGES = 12


class SimulatedAccelerator(Accelerator):
    """The host's driver on the functional simulator; counts the runs."""

    def __init__(self, program: Program) -> None:
        self.simulator = FunctionalSimulator(program, TINY)
        self.runs = 0
        self._client: Any = self  # the one method of a client that is needed

    def write_memory(self, address: int, words: list[int]) -> None:
        self.simulator.memories.external[address : address + len(words)] = words

    def read_memory(self, address: int, count: int) -> list[int]:
        return self.simulator.memories.external[address : address + count].tolist()

    def run(self, entry: int, *, timeout: float = 0) -> None:
        self.runs += 1
        self.simulator._execute(entry)

    def counters(self) -> dict[Counter, int]:
        """As if every run took one cycle."""
        return {Counter.TOTAL: 1}


@pytest.mark.parametrize(("seed", "cuts"), [(1, (11,)), (4, (1, 6, 11)), (12, (8, 12))])
def test_a_host_that_stops_gives_the_class_of_the_full_run(
    seed: int, cuts: tuple[int, ...]
) -> None:
    network = prefix_networks(seed)[-1]
    program = parse_program(program_bytes(compile_exits(network, cuts, TINY)))
    pixels = random_images(program.image_shape, IMAGES, seed).pixels
    classes = classify(network, pixels)
    scores = run(network, pixels)[logits_name(network)].reshape(IMAGES, -1)
    device = SimulatedAccelerator(program)
    parts = []
    for image, expected, full in zip(pixels, classes, scores, strict=True):
        logits, count = device.classify_early(program, image_words(image).tolist())
        assert int(np.argmax(logits)) == expected, f"seed {seed}"
        if count == len(program.exits):
            np.testing.assert_array_equal(logits, full)
        parts.append(count)
        # The whole network is a run of the same program.
        np.testing.assert_array_equal(device.classify(program, image_words(image).tolist()), full)
    assert device.runs == sum(parts) + IMAGES
    assert min(parts) < len(program.exits)


def test_parts_take_fewer_cycles_than_the_network_and_hold_no_weights_of_their_own() -> None:
    network = prefix_networks(4)[-1]
    program, plain = compile_exits(network, (5,), TINY), compile_network(network, TINY)
    full = run_program(program, TINY).cycles
    first, rest = (
        run_program(replace(program, image_entry=part.image_entry), TINY).cycles
        for part in program.exits
    )
    assert full == run_program(plain, TINY).cycles
    assert rest < first < full < first + rest
    assert [layer.name for layer in program.exits[1].layers] == [network.layers[-1].name]
    loaded = [sum(len(stage.memory) for stage in p.stages) for p in (program, plain)]
    assert loaded[0] < loaded[1] + 200


@pytest.mark.parametrize("cuts", [(0,), (5, 5), (99,)])
def test_exits_that_do_not_exist_are_refused(cuts: tuple[int, ...]) -> None:
    network = prefix_networks(4)[-1]
    last = len(exit_plan(network).groups) - 1
    with pytest.raises(ProgramError, match=f"ascending numbers of groups from 1 to {last}, not"):
        compile_exits(network, cuts, TINY)


def test_a_program_without_exits_does_not_stop_early() -> None:
    network = prefix_networks(4)[-1]
    program = compile_network(network, TINY)
    image = random_images(program.image_shape, 1).pixels[0]
    device = SimulatedAccelerator(program)
    with pytest.raises(ValueError, match="must have exits"):
        device.classify_early(program, image_words(image).tolist())

"""One program for all prefixes of weight planes: exact, shared, and as fast as alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.plan import plan_network
from compiler.prefixes import compile_prefixes
from compiler.program import Program, ProgramError
from compiler.program_file import parse_program, program_bytes
from compiler.units import Table
from golden.integer_network import ConvolutionLayer, IntegerNetwork
from golden.integer_reference import logits_name, run
from hw.config import AcceleratorConfig, preset
from hw.isa import INSTRUCTION_WORDS, DmaTarget, Opcode, decode
from hw.memory.packing import bit_items
from sim.cycles.model import run_program
from sim.functional import FunctionalSimulator
from sim.images import random_images
from tests.compiler.prefix_models import prefix_networks

TINY = preset("tiny")
SMALL = replace(
    TINY,
    name="tiny-small",
    memory=replace(
        TINY.memory,
        weight_words=256,
        coefficient_words=128,
        pass_entries=128,
        window_entries=64,
        parameter_words=128,
    ),
)
"""Tables that must be loaded for each image."""
CASES = [
    *((seed, TINY) for seed in (0, 1, 4, 11, 12)),
    *((seed, SMALL) for seed in (0, 2, 3, 6, 7, 9, 11)),
]


def streams_weights(network: IntegerNetwork, config: AcceleratorConfig) -> bool:
    plan = plan_network(network, config)
    return any(
        (layer.tag, Table.WEIGHTS) not in plan.resident
        for layer in plan.layers
        if layer.tables is not None
    )


@pytest.mark.parametrize(("seed", "config"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_each_prefix_is_exact_in_whatever_order_they_run(
    seed: int, config: AcceleratorConfig
) -> None:
    networks = prefix_networks(seed)
    program = compile_prefixes(networks, config)
    image = random_images(program.image_shape, 1, seed).pixels
    expected = [run(network, image)[logits_name(network)].ravel() for network in networks]
    counts = range(1, len(networks) + 1)
    # First on a chip that no other prefix has been on, which might have left the right weights.
    for order in (*([planes] for planes in counts), [*reversed(counts), *counts]):
        simulator = FunctionalSimulator(program, config)
        for planes in order:
            simulator.program = program.with_planes(planes)
            np.testing.assert_array_equal(
                simulator.run(image[0]),
                expected[planes - 1],
                err_msg=f"seed {seed}, {planes} planes",
            )


def test_the_cases_load_weights_once_and_for_each_image() -> None:
    assert {streams_weights(prefix_networks(s)[-1], c) for s, c in CASES} == {False, True}


@pytest.mark.parametrize("seed", [1, 4, 11])
def test_prefixes_take_the_cycles_of_programs_of_their_own_and_fewer_each(seed: int) -> None:
    networks = prefix_networks(seed)
    program = compile_prefixes(networks, TINY)
    together = [
        run_program(program.with_planes(planes), TINY).cycles
        for planes in range(1, len(networks) + 1)
    ]
    alone = [run_program(compile_network(network, TINY), TINY).cycles for network in networks]
    assert together == alone
    assert together == sorted(set(together))


def test_the_chip_holds_weights_and_passes_of_the_whole_network_only() -> None:
    networks = prefix_networks(0)
    program = compile_prefixes(networks, TINY)
    whole = compile_network(networks[-1], TINY)
    for target in (DmaTarget.WEIGHTS, DmaTarget.PASSES):
        # Equal tables of several layers are held once, too, which a program of its own does not.
        assert 0 < entries_loaded(program, target) <= entries_loaded(whole, target)
    assert program.load_words < sum(compile_network(n, TINY).load_words for n in networks)


def test_streamed_weights_are_held_once_in_the_external_memory() -> None:
    networks = prefix_networks(11)
    assert streams_weights(networks[-1], SMALL)
    program = compile_prefixes(networks, SMALL)
    pieces = {
        (fields["external"], fields["count"])
        for planes in range(1, len(networks) + 1)
        for fields in loads(program.memory, program.with_planes(planes).image_entry)
        if fields["target"] == DmaTarget.WEIGHTS.value and not fields["store"]
    }
    covered = {word for first, count in pieces for word in range(first, first + weight_size(count))}
    whole = sum(
        weight_size(fields["count"])
        for fields in loads(program.memory, program.with_planes(len(networks)).image_entry)
        if fields["target"] == DmaTarget.WEIGHTS.value and not fields["store"]
    )
    assert len(covered) == whole
    assert len(pieces) > len(networks)


def test_the_file_keeps_the_prefixes_and_files_without_any_stay_as_they_were() -> None:
    networks = prefix_networks(1)
    program = compile_prefixes(networks, TINY)
    again = parse_program(program_bytes(program))
    assert again.prefixes == program.prefixes
    assert again.with_planes(1).image_entry == program.prefixes[0].image_entry
    plain = compile_network(networks[-1], TINY)
    assert b"prefixes" not in program_bytes(plain)
    assert parse_program(program_bytes(plain)).prefixes == ()


def test_planes_that_a_program_has_not_are_refused() -> None:
    program = compile_prefixes(prefix_networks(1), TINY)
    with pytest.raises(ProgramError, match="weight planes of the program must be 1, 2, 3, not 4"):
        program.with_planes(4)
    plain = compile_network(prefix_networks(1)[0], TINY)
    with pytest.raises(ProgramError, match="must be all planes only, not 1"):
        plain.with_planes(1)


def test_networks_of_other_forms_are_refused() -> None:
    with pytest.raises(ProgramError, match="must be one network: number 1 has other layers"):
        compile_prefixes((prefix_networks(0)[0], prefix_networks(1)[1]), TINY)
    with pytest.raises(ProgramError, match="at least one network"):
        compile_prefixes((), TINY)


def test_weights_that_are_no_prefix_are_held_on_their_own_and_exact() -> None:
    first, second = prefix_networks(7)
    layer = next(x for x in first.layers[1:] if isinstance(x, ConvolutionLayer))
    other = replace(layer, weight_planes=~layer.weight_planes)
    changed = replace(
        first, layers=tuple(other if x is layer else x for x in first.layers), name="changed"
    )
    program = compile_prefixes((changed, second), TINY)
    image = random_images(program.image_shape, 1, 7).pixels
    simulator = FunctionalSimulator(program.with_planes(1), TINY)
    expected = run(changed, image)[logits_name(changed)].ravel()
    np.testing.assert_array_equal(simulator.run(image[0]), expected)
    whole = compile_network(second, TINY)
    weights = DmaTarget.WEIGHTS
    assert entries_loaded(program, weights) == entries_loaded(whole, weights)


def entries_loaded(program: Program, target: DmaTarget) -> int:
    """Entries of an on-chip table that the stages of a program load."""
    return sum(
        fields["count"]
        for stage in program.stages
        for fields in loads(stage.memory, stage.entry)
        if fields["target"] == target.value
    )


def loads(memory: np.ndarray, entry: int) -> Iterator[dict[str, int]]:
    """Fields of the DMA instructions from word ``entry`` to END."""
    for address in range(entry, len(memory), INSTRUCTION_WORDS):
        words = memory[address : address + INSTRUCTION_WORDS]
        opcode, fields = decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
        if opcode is Opcode.END:
            return
        if opcode is Opcode.DMA:
            yield fields


def weight_size(entries: int) -> int:
    """External words of so many rows of weights on ``tiny``."""
    item = bit_items(TINY.array.lanes)
    return -(-entries * item["words"] // item["entries"])

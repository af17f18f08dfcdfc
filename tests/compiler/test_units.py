"""Tests of compiler.units and compiler.loads: what stays on chip, and where tables lie."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import ExternalFull, compile_network
from compiler.emit_ends import image_loads
from compiler.loads import entries_of, place_tables
from compiler.placement import allocate
from compiler.plan import plan_network
from compiler.units import PER_TILE, Plan, Table
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.integer_reference import run
from golden.lowering import lower
from golden.onnx_import import import_bytes, import_model
from golden.random_models import RandomLimits, random_images, random_model
from hw import isa
from hw.config import AcceleratorConfig, preset
from sim.functional import FunctionalSimulator

MODELS = Path(__file__).parents[2] / "models"
LIMITS = RandomLimits(image=(16, 20), channels=10, blocks=(1, 2))
CASES = [
    # seed, weight words per row: all, some and no layers keep their weights.
    (10, 256),
    (2, 64),
    (9, 256),
    (13, 512),
    (3, 256),
    (7, 128),
]


def starved(weight_words: int) -> AcceleratorConfig:
    tiny = preset("tiny")
    return replace(tiny, memory=replace(tiny.memory, weight_words=weight_words))


@cache
def network_of(seed: int) -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(seed, LIMITS))))


def weight_layers(plan: Plan) -> tuple[set[int], set[int]]:
    """Tags of the layers with weights, and of those whose weights stay."""
    tags = {layer.tag for layer in plan.layers if layer.tables is not None}
    return tags, {tag for tag in tags if (tag, Table.WEIGHTS) in plan.resident}


def loads_of(memory: np.ndarray, entry: int, target: isa.DmaTarget) -> list[dict[str, int]]:
    """DMA loads of a target from word ``entry`` of a memory image on."""
    found = []
    while True:
        words = memory[entry : entry + isa.INSTRUCTION_WORDS]
        opcode, fields = isa.decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
        if opcode is isa.Opcode.END:
            return found
        if opcode is isa.Opcode.DMA and not fields["store"] and fields["target"] == target.value:
            found.append(fields)
        entry += isa.INSTRUCTION_WORDS


def test_the_cases_keep_all_some_and_no_weights() -> None:
    kept = [weight_layers(plan_network(network_of(seed), starved(words))) for seed, words in CASES]
    assert any(resident == tags for tags, resident in kept)
    assert any(not resident for _, resident in kept)
    assert sum(set() < resident < tags for tags, resident in kept) >= 2


@pytest.mark.parametrize(("seed", "words"), CASES)
def test_tables_that_are_needed_at_once_lie_apart(seed: int, words: int) -> None:
    plan = plan_network(network_of(seed), starved(words))
    placed = place_tables(plan)
    streamed = [index for index, unit in enumerate(plan.units) if plan.streams(unit)]
    neighbours = set(zip(streamed, streamed[1:], strict=False))
    for table in Table:
        extents = {}
        for index, (unit, bases) in enumerate(zip(plan.units, placed, strict=True)):
            count = entries_of(table, unit)
            extents[index] = (bases[table], bases[table] + count)
            assert extents[index][1] <= plan.capacity[table]
        for (a, one), (b, other) in combinations(enumerate(plan.units), 2):
            stay = [plan.is_resident(unit, table) for unit in (one, other)]
            if table not in PER_TILE and one.plan is other.plan and all(stay):
                assert extents[a] == extents[b]
            elif any(stay) or (a, b) in neighbours:
                (low, low_end), (high, high_end) = extents[a], extents[b]
                assert low_end <= high or high_end <= low, (table, a, b)


@pytest.mark.parametrize(("seed", "words"), CASES)
def test_weights_that_stay_are_loaded_once_and_the_others_for_every_image(
    seed: int, words: int
) -> None:
    network, config = network_of(seed), starved(words)
    plan = plan_network(network, config)
    program = compile_network(network, config)
    tags, resident = weight_layers(plan)
    before = [
        load
        for stage in program.stages
        for load in loads_of(stage.memory, stage.entry, isa.DmaTarget.WEIGHTS)
    ]
    each = loads_of(program.memory, program.image_entry, isa.DmaTarget.WEIGHTS)
    assert {load["layer"] for load in before} == resident
    assert {load["layer"] for load in each} == tags - resident
    for loads, chosen in ((before, resident), (each, tags - resident)):
        totals = {layer.tag: layer.total(Table.WEIGHTS) for layer in plan.layers}
        expected = config.array.rows * sum(totals[tag] for tag in chosen)
        assert sum(load["count"] for load in loads) == expected


@pytest.mark.parametrize(("seed", "words"), CASES)
def test_programs_that_stream_weights_are_exact(seed: int, words: int) -> None:
    network, config = network_of(seed), starved(words)
    program = compile_network(network, config)
    images = random_images(random_model(seed, LIMITS), 2, seed)
    expected = run(network, images)
    simulator = FunctionalSimulator(program, config)
    for index, image in enumerate(images):
        simulator.run(image)
        for info in program.tensors:
            want = expected[info.name][index].reshape(info.height, info.width, info.channels)
            if info.kind == "planes":
                want = want & ((1 << info.planes) - 1)
            np.testing.assert_array_equal(simulator.tensor(info), want, f"{info.name}, seed {seed}")


def test_image_is_loaded_in_parts_that_cover_it() -> None:
    network = network_of(10)
    program = compile_network(network, starved(256))
    loads = loads_of(program.memory, program.image_entry, isa.DmaTarget.ACTIVATIONS)
    image = network.image
    item_words = 4  # a pixel of 32 bits in words of 8 lanes
    assert image.height // 8 == 2 <= len(loads) <= 3  # the first FILL may need less than half
    places = [(load["external"], load["address"], load["count"]) for load in loads]
    external, address, left = program.image_address, places[0][1], image.height * image.width
    for place, target, count in places:
        assert (place, target) == (external, address)
        assert count % (image.width * item_words) == 0  # whole rows
        external += count // item_words
        address += count
        left -= count // item_words
    assert left == 0


@pytest.mark.parametrize(
    ("needed", "ends"),
    [
        ((), [8, 16, 24, 32]),
        ((9, 17, 25, 32), [9, 17, 25, 32]),
        ((3, 4, 7, 13, 19, 25, 31), [3, 13, 19, 25, 32]),
        ((32,), [32]),
    ],
)
def test_parts_of_an_image_end_where_fills_wait_for_them(
    needed: tuple[int, ...], ends: list[int]
) -> None:
    config = preset("ulx3s-85f")
    network = lower(import_model(MODELS / "resnet20-cifar10-w3a3.onnx"))
    addresses = allocate(network, plan_network(network, config), config)
    loads = list(image_loads(network, 100, addresses, config, needed))
    assert [rows for rows, _ in loads] == ends
    assert sum(fields["count"] for _, fields in loads) == 32 * 32
    assert [fields["external"] for _, fields in loads] == [100 + 32 * e for e in [0, *ends[:-1]]]


def test_the_first_fill_waits_for_its_own_rows_only() -> None:
    config = preset("ulx3s-85f")
    network = lower(import_model(MODELS / "resnet20-cifar10-w2a2.onnx"))
    program = compile_network(network, config)
    first = loads_of(program.memory, program.image_entry, isa.DmaTarget.ACTIVATIONS)[0]
    tile = plan_network(network, config).layers[0].tiles[0]
    assert first["count"] == (tile.height + 1) * network.image.width  # a row below, padding above


def test_a_program_that_would_be_too_large_keeps_more_weights_on_chip() -> None:
    config = preset("ulx3s-85f")
    config = replace(config, memory=replace(config.memory, external_words=7936))
    network = lower(import_model(MODELS / "resnet20-cifar10-w3a3.onnx"))
    plain, dense = (plan_network(network, config, dense=dense) for dense in (False, True))
    with pytest.raises(ExternalFull, match=r"needs 79\d\d words .*, preset ulx3s-85f has 7936$"):
        compile_network(network, config, plan=plain)
    program = compile_network(network, config)
    assert len(program.memory) <= config.memory.external_words

    def streamed(plan: Plan) -> int:
        return sum(
            layer.total(Table.WEIGHTS)
            for layer in plan.layers
            if (layer.tag, Table.WEIGHTS) not in plan.resident
        )

    assert 0 < streamed(dense) < streamed(plain)


def test_the_error_of_a_program_that_is_too_large_in_any_case_has_the_plain_numbers() -> None:
    config = preset("ulx3s-85f")
    small = replace(config, memory=replace(config.memory, external_words=4096))
    network = lower(import_model(MODELS / "resnet20-cifar10-w3a3.onnx"))
    with pytest.raises(ExternalFull, match=r"needs 79\d\d words"):
        compile_network(network, small)

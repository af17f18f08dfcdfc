"""Batches, compiled: the functional simulator computes for every image what it gives alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler import placement
from compiler.compile import compile_network
from compiler.plan import plan_network
from compiler.program import ProgramError
from compiler.units import Plan
from golden.batching import batched
from golden.example_model import example_images
from golden.export import model_bytes
from golden.graph import ModelError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_images, random_model
from hw.config import AcceleratorConfig, preset
from hw.memory.sdram_part import sdram_part
from tests.golden.small_networks import FAMILIES, exported
from tests.sim.tensor_comparison import wrong_tensors

PART = "16Mx16"
LIMITS = RandomLimits(image=(12, 24), channels=12, blocks=(1, 2))
SEEDS = range(24)
LEAST_EXACT = 14


def roomy() -> AcceleratorConfig:
    """``tiny`` with room for the tensors of a batch."""
    tiny = preset("tiny")
    sizes = {"activation_words": 16384, "stream_vectors": 4096, "external_words": 65536}
    return replace(tiny, name="roomy", memory=replace(tiny.memory, **sizes))


def crowded() -> AcceleratorConfig:
    """``tiny`` with an SDRAM, and memories that are too small for most batches."""
    tiny = preset("tiny")
    memory = replace(
        tiny.memory,
        activation_words=1024,
        column_granules=1024,
        stream_vectors=256,
        spill_vectors=256,
        external_words=sdram_part(PART).words,
    )
    return replace(tiny, name="crowded", memory=memory, sdram=PART)


@pytest.mark.parametrize("config", [roomy(), crowded()], ids=lambda config: config.name)
def test_batches_of_random_models_are_exact(config: AcceleratorConfig) -> None:
    exact, in_blocks = 0, 0
    for seed in SEEDS:
        model = random_model(seed, LIMITS)
        try:
            network = lower(import_bytes(model_bytes(model)))
            program = compile_network(batched(network, 2 + seed % 3), config)
        except (ModelError, ProgramError):
            continue
        images = random_images(model, 2 + seed % 3, seed)
        assert wrong_tensors(network, program, config, images) == [], f"seed {seed}"
        exact += 1
        in_blocks += any(len(tensor.blocks) > 1 for tensor in program.tensors)
    assert exact >= LEAST_EXACT
    assert in_blocks >= (LEAST_EXACT // 2 if config.spills else 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_of_networks_of_all_families_are_exact(family: str) -> None:
    config = preset("simulation-large")
    network, content = exported(family, 2, 2)
    integers = lower(import_bytes(content))
    program = compile_network(batched(integers, 3), config)
    images = example_images(network.image_shape, 3, seed=2)
    assert wrong_tensors(integers, program, config, images) == []


@pytest.mark.parametrize("weight_words", [2048, 64])
@pytest.mark.parametrize("seed", [3, 27, 83, 101])
def test_windows_of_a_batch_that_are_filled_part_by_part_are_exact(
    seed: int, weight_words: int
) -> None:
    memory = replace(
        roomy().memory,
        column_granules=128,
        window_entries=1024,
        pass_entries=512,
        weight_words=weight_words,
    )
    config = replace(roomy(), name="narrow", memory=memory)
    model = random_model(seed, RandomLimits(image=(3, 5), channels=60, blocks=(1, 2)))
    network = lower(import_bytes(model_bytes(model)))
    plan = plan_network(batched(network, 3), config)
    parts = [layer.tables.parts for layer in plan.layers if layer.tables is not None]
    assert max(map(len, parts)) > 1
    is_by_weights = any(unit.part is not None for unit in plan.units)
    assert is_by_weights == (weight_words < 2048)
    program = compile_network(batched(network, 3), config)
    assert wrong_tensors(network, program, config, random_images(model, 3, seed)) == []


def test_a_batch_of_more_images_than_columns_is_refused() -> None:
    config = preset("tiny")
    network = lower(import_bytes(exported("vgg-small", 2, 2)[1]))
    with pytest.raises(ProgramError, match="at most the array's 4 columns, not 5"):
        compile_network(batched(network, 5), config)


def test_tensors_at_both_ends_of_the_memory_in_turn_are_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As they are placed where they do not fit from one end on."""

    def at_both_ends(
        network: IntegerNetwork, plan: Plan, config: AcceleratorConfig
    ) -> placement.Addresses:
        return placement._allocate(network, plan, config, {}, both_ends=True)

    monkeypatch.setattr("compiler.emit.allocate", at_both_ends)
    exact = 0
    for seed in SEEDS[:12]:
        model = random_model(seed, LIMITS)
        for config in (roomy(), crowded()):
            try:
                network = lower(import_bytes(model_bytes(model)))
                program = compile_network(batched(network, 2), config)
            except (ModelError, ProgramError):
                continue
            images = random_images(model, 2, seed)
            assert wrong_tensors(network, program, config, images) == [], f"seed {seed}"
            exact += 1
    assert exact >= LEAST_EXACT // 2

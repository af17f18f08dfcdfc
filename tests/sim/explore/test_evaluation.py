"""Evaluations: the cycles of the whole compiler and cycle model, from less work."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from compiler.compile import compile_network
from compiler.program import ProgramError
from golden.batching import batched
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import preset
from hw.isa import INSTRUCTION_WORDS, Counter
from sim.cycles.model import run_program
from sim.explore.evaluation import Outcome, evaluate, evaluate_case
from sim.explore.fields import changed, sizes_of
from sim.explore.fitting import FITTED
from sim.explore.space import Case
from sim.profile import profile_program
from tests.sim.explore.questions import CLOCK, network

LARGE = preset("ulx3s-85f")
STREAMED = {"weight_words": 256, "external_words": 1 << 15}
"""Too few for all weights of ResNet-20, so that most are loaded for every image."""


@cache
def resnet() -> IntegerNetwork:
    return lower(import_model(Path("models/resnet20-cifar10-w2a2.onnx")))


@pytest.mark.parametrize("sizes", [{}, {"columns": 4, "granules": 6}, STREAMED])
def test_cycles_and_counters_are_those_of_the_whole_program(sizes):
    config = changed(LARGE, sizes, name="candidate")
    run = run_program(compile_network(resnet(), config), config)
    outcome = evaluate(resnet(), config)
    assert outcome.cycles == run.cycles
    assert outcome.counters == {c.name.lower(): run.counters[c] for c in Counter}
    assert outcome.passes == sum(len(c.strips) * len(c.lengths) for c in run.commands)


@pytest.mark.parametrize(
    ("base", "batch"), [("ulx3s-12f", 2), ("ulx3s-45f-sdram", 1), ("ulx3s-45f-sdram", 2)]
)
def test_a_batch_is_the_program_of_the_stacked_network(base, batch):
    config = preset(base)
    program = compile_network(batched(network(), batch), config)
    profile = profile_program(program, config, model="net", clock=CLOCK)
    outcome = evaluate_case(network(), Case(config=config, batch=batch))
    assert (outcome.images, outcome.cycles) == (batch, profile.cycles)
    assert outcome.cycles_per_image == profile.cycles_per_image
    assert outcome.counters == profile.counters
    assert 4 * outcome.dma_words == sum(layer.external_bytes for layer in profile.layers)
    instruction_bytes = sum(layer.instruction_bytes for layer in profile.layers)
    assert 4 * (outcome.instruction_words - INSTRUCTION_WORDS) == instruction_bytes  # with END


def test_a_batch_without_a_program_says_why():
    outcome = evaluate_case(network(), Case(config=preset("tiny"), batch=5), FITTED)
    assert (outcome.cycles, outcome.images) == (None, 5)
    assert "images of a batch must be at most the array's 4 columns, not 5" in outcome.reason


def test_an_sdram_is_as_large_as_it_is_and_holds_spilled_vectors():
    config = preset("ulx3s-12f-sdram")
    outcome = evaluate(network(), config, FITTED)
    assert set(outcome.fitted) == set(FITTED) - {"external_words"}
    fitted = changed(config, outcome.fitted, name="fitted")
    assert fitted.memory.stream_vectors >= config.memory.spill_vectors
    assert outcome.cycles == run_program(compile_network(network(), fitted), fitted).cycles


def test_the_shipped_model_on_its_preset():
    assert evaluate(resnet(), LARGE).cycles == 38_841


def test_a_network_without_a_program_says_why():
    outcome = evaluate(resnet(), changed(LARGE, {"activation_words": 1024}, name="small"))
    assert outcome.cycles is None
    assert "the activation memory has 1024" in outcome.reason


def test_outcomes_survive_plain_data():
    outcome = evaluate(network(), preset("tiny"), ("weight_words",))
    assert Outcome.from_plain(outcome.to_plain()) == outcome
    assert outcome.fitted


@pytest.mark.parametrize("sizes", [{}, {"columns": 4, "granules": 1}])
def test_fitted_depths_hold_the_network_and_take_the_same_cycles(sizes):
    config = changed(LARGE, sizes, name="candidate")
    outcome = evaluate(resnet(), config, FITTED)
    fitted = changed(config, outcome.fitted, name="fitted")
    assert outcome.cycles == run_program(compile_network(resnet(), fitted), fitted).cycles


@pytest.mark.parametrize("name", ["activation_words", "stream_vectors"])
def test_half_of_a_fitted_memory_is_too_small(name):
    outcome = evaluate(resnet(), LARGE, FITTED)
    sizes = {**outcome.fitted, name: outcome.fitted[name] // 2}
    with pytest.raises(ProgramError):
        compile_network(resnet(), changed(LARGE, sizes, name="half"))


def test_half_of_a_fitted_table_is_loaded_again_for_every_image():
    outcome = evaluate(resnet(), LARGE, FITTED)
    sizes = {**outcome.fitted, "weight_words": outcome.fitted["weight_words"] // 2}
    sizes["external_words"] = 1 << 15
    halved = evaluate(resnet(), changed(LARGE, sizes, name="half"))
    assert halved.counters["dma_busy"] > outcome.counters["dma_busy"]


def test_only_depths_that_are_to_be_fitted_change():
    fit = ("stream_vectors",)
    outcome = evaluate(resnet(), LARGE, fit)
    assert set(outcome.fitted) == set(fit)
    deep = replace(LARGE, memory=replace(LARGE.memory, stream_vectors=16))
    assert evaluate(resnet(), deep, fit) == outcome
    assert sizes_of(LARGE)["stream_vectors"] >= outcome.fitted["stream_vectors"]

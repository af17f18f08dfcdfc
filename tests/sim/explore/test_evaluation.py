"""Evaluations: the cycles of the whole compiler and cycle model, from less work."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from compiler.compile import compile_network
from compiler.program import ProgramError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import preset
from hw.isa import Counter
from sim.cycles.model import run_program
from sim.explore.evaluation import Outcome, evaluate
from sim.explore.fields import changed, sizes_of
from sim.explore.fitting import FITTED
from tests.sim.explore.questions import network

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


def test_the_shipped_model_on_its_preset():
    assert evaluate(resnet(), LARGE).cycles == 42_081


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

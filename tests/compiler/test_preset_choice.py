"""Without a preset, the first one that holds the model is taken, and it is said why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.preset_choice import DEFAULT_PRESETS, compile_for_preset
from compiler.program import ProgramError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes, import_model
from hw.config import ConfigError, preset
from tests.golden.small_networks import exported

MODELS = Path(__file__).parents[2] / "models"
PRESETS = ("tiny", "ulx3s-85f")


@pytest.fixture(scope="module")
def small() -> IntegerNetwork:
    return lower(import_bytes(exported("vgg-small", 1, 1)[1]))


@pytest.fixture(scope="module")
def large() -> IntegerNetwork:
    return lower(import_model(MODELS / "resnet20-cifar10-w2a2.onnx"))


def test_a_model_that_fits_gets_the_first_preset(small: IntegerNetwork) -> None:
    program, config, note = compile_for_preset(small, None, PRESETS)
    assert config == preset("tiny")
    assert note == ""
    assert np.array_equal(program.memory, compile_network(small, config).memory)


def test_a_model_that_does_not_fit_gets_the_next_one_and_the_reason(large: IntegerNetwork) -> None:
    with pytest.raises(ProgramError) as refusal:
        compile_network(large, preset("tiny"))
    program, config, note = compile_for_preset(large, None, PRESETS)
    assert config == preset("ulx3s-85f")
    assert note == f"preset ulx3s-85f, as tiny does not hold the model: {refusal.value}"
    assert np.array_equal(program.memory, compile_network(large, config).memory)


def test_a_named_preset_is_taken_or_refused(large: IntegerNetwork) -> None:
    assert compile_for_preset(large, "ulx3s-85f", PRESETS)[1:] == (preset("ulx3s-85f"), "")
    with pytest.raises(ProgramError):
        compile_for_preset(large, "tiny", PRESETS)
    with pytest.raises(ConfigError, match="ulx3s-99f"):
        compile_for_preset(large, "ulx3s-99f", PRESETS)


def test_the_default_presets_have_one_array() -> None:
    first, second = (preset(name) for name in DEFAULT_PRESETS)
    assert first.array == second.array
    assert second.memory.external_words > first.memory.external_words

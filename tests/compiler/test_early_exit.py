"""Certificates of early exit against all inputs that a layer can have."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.early_exit import certified, exit_plan, part_of
from compiler.program import ProgramError
from golden.integer_network import (
    ConvolutionLayer,
    FixedPointOutput,
    ImageInput,
    IntegerNetwork,
    RawOutput,
)
from golden.integer_reference import IntegerReference, logits_name, run
from hw.config import preset
from sim.cycles.model import run_program
from sim.functional import FunctionalSimulator
from sim.images import random_images
from tests.compiler.prefix_models import prefix_networks

INPUTS, CLASSES, WEIGHTS, PLANES = 4, 3, 3, 3
SEEDS = range(6)


def layer(name: str, source: str, outputs: object, seed: int, ranges: int = 1) -> ConvolutionLayer:
    rng = np.random.default_rng(seed)
    channels = CLASSES if name == "last" else INPUTS
    basis = rng.choice([1, 2, 4, 8, 3], (channels, WEIGHTS))
    bits = np.array([1, 2, -4])
    cut = tuple((INPUTS * i // ranges, INPUTS * (i + 1) // ranges) for i in range(ranges))
    factors = np.arange(1, ranges + 1)[:, None, None, None]
    return ConvolutionLayer(
        name=name,
        source=source,
        input_shape=(1, 1, INPUTS),
        convolution_shape=(1, 1, channels),
        output_shape=(1, 1, channels),
        weight_planes=rng.random((WEIGHTS, channels, 1, 1, INPUTS)) < 0.5,
        coefficients=factors * basis[None, :, :, None] * bits,
        ranges=cut,
        bias=rng.integers(-3, 4, channels),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        weight_label="W3",
        source_label="A3",
        fraction=0,
        outputs=outputs,  # pyright: ignore[reportArgumentType]
    )


def network(seed: int, *, relu: bool = False, ranges: int = 1) -> IntegerNetwork:
    first = layer("first", "image", FixedPointOutput("codes", PLANES, 0, 0), seed + 100)
    last = layer("last", "codes", RawOutput("scores", 0), seed, ranges)
    return IntegerNetwork(
        name="n", image=ImageInput("image", 1, 1, INPUTS), layers=(replace(first, relu=relu), last)
    )


def all_codes(*, unsigned: bool) -> np.ndarray:
    """Every input of the last layer: int64 [N, 1, 1, INPUTS], two's complement."""
    codes = range(2 ** (PLANES - 1) if unsigned else 2**PLANES)
    return np.array(list(itertools.product(codes, repeat=INPUTS))).reshape(-1, 1, 1, INPUTS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("ranges", [1, 2])
def test_certified_classes_are_those_of_the_full_sum_for_all_inputs(
    seed: int, relu: bool, ranges: int
) -> None:
    plan = exit_plan(network(seed, relu=relu, ranges=ranges))
    codes = all_codes(unsigned=relu)
    count = len(plan.groups)
    classes = plan.scores(codes, count).argmax(axis=1)
    for done in range(1, count + 1):
        partial = plan.scores(codes, done)
        safe = certified(partial, plan.bounds[done - 1])
        np.testing.assert_array_equal(partial.argmax(axis=1)[safe], classes[safe])
    assert safe.all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relu", [False, True])
def test_bounds_are_reached_by_some_input(seed: int, relu: bool) -> None:
    plan = exit_plan(network(seed, relu=relu))
    codes = all_codes(unsigned=relu)
    full = plan.scores(codes, len(plan.groups))
    for done, bounds in enumerate(plan.bounds, 1):
        rest = full - plan.scores(codes, done)
        least = (rest[:, :, None] - rest[:, None, :]).min(axis=0)
        np.testing.assert_array_equal(bounds, least)


def test_some_inputs_stop_early_and_a_weaker_bound_would_be_wrong() -> None:
    plan = exit_plan(network(1, relu=True))
    codes = all_codes(unsigned=True)
    classes = plan.scores(codes, len(plan.groups)).argmax(axis=1)
    early, wrong = 0, 0
    for done in range(1, len(plan.groups)):
        partial, bounds = plan.scores(codes, done), plan.bounds[done - 1]
        early += int(certified(partial, bounds).sum())
        loose = certified(partial, bounds // 2)
        wrong += int((partial.argmax(axis=1) != classes)[loose].sum())
    assert early > 0
    assert wrong > 0


def test_equal_scores_are_certified_for_the_first_class_only() -> None:
    bounds = np.zeros((3, 3), np.int64)
    assert certified(np.array([[5, 5, 1]]), bounds).tolist() == [True]
    bounds[0, 1] = -1
    assert certified(np.array([[5, 5, 1], [6, 5, 1], [7, 5, 1]]), bounds).tolist() == [
        False,
        True,
        True,
    ]
    # Class 1 leads by what is left for class 0: class 0 would be first among equals.
    bounds = np.array([[0, 0, 0], [-2, 0, 0], [0, 0, 0]])
    assert certified(np.array([[3, 5, 0], [3, 6, 0]]), bounds).tolist() == [False, True]


def test_groups_come_in_the_order_of_what_they_can_contribute() -> None:
    plan = exit_plan(network(2))
    codes = all_codes(unsigned=False)
    sizes = []
    for done in range(1, len(plan.groups) + 1):
        before = plan.scores(codes, done - 1) if done > 1 else plan.layer.bias
        sizes.append(np.abs(plan.scores(codes, done) - before).max())
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("seed", [1, 4])
def test_scores_of_all_groups_are_those_of_the_network(seed: int) -> None:
    whole = prefix_networks(seed)[-1]
    plan = exit_plan(whole)
    image = whole.image
    images = random_images((image.height, image.width, image.channels), 3, seed).pixels
    name = logits_name(whole)
    tensors = IntegerReference(whole).run(images)
    scores = plan.scores(tensors[plan.layer.source], len(plan.groups))
    np.testing.assert_array_equal(scores, tensors[name].reshape(3, -1))
    for done in (1, len(plan.groups) // 2):
        part = part_of(whole, plan.groups[:done])
        np.testing.assert_array_equal(
            plan.scores(tensors[plan.layer.source], done), run(part, images)[name].reshape(3, -1)
        )


def test_parts_of_the_sum_are_programs_with_fewer_cycles() -> None:
    config, whole = preset("tiny"), prefix_networks(4)[-1]
    plan = exit_plan(whole)
    part = part_of(whole, plan.groups[:2])
    programs = [compile_network(n, config) for n in (part, whole)]
    cycles = [run_program(program, config).cycles for program in programs]
    assert cycles[0] < cycles[1]
    image = random_images(programs[0].image_shape, 1).pixels
    got = FunctionalSimulator(programs[0], config).run(image[0])
    np.testing.assert_array_equal(got, run(part, image)[logits_name(part)].ravel())


def test_layers_that_cannot_stop_are_refused() -> None:
    whole = network(1)
    last = whole.layers[-1]
    assert isinstance(last, ConvolutionLayer)
    for changed in (replace(last, relu=True), replace(last, convolution_shape=(2, 2, CLASSES))):
        with pytest.raises(ProgramError, match="layer last must be fully connected and end in"):
            exit_plan(replace(whole, layers=(whole.layers[0], changed)))

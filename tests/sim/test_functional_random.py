"""Random models: whatever compiles runs exactly, and what does not is refused with a reason."""

from __future__ import annotations

import re

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.plan import plan_network
from compiler.program import ProgramError
from golden.export import model_bytes
from golden.graph import ModelError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import random_images, random_model
from hw.config import preset
from tests.sim.tensor_comparison import wrong_tensors

TINY = preset("tiny")
SEEDS = range(24)
LEAST_EXACT = 22
REASONS = (
    "pool window must be at most",
    "must fit",
)
"""What the compiler may say of these models."""


def lowered(seed: int) -> tuple[IntegerNetwork, np.ndarray]:
    model = random_model(seed)
    return lower(import_bytes(model_bytes(model))), random_images(model, 1, seed)


def test_random_models_are_exact_or_refused_with_a_reason() -> None:
    exact, refused = 0, []
    for seed in SEEDS:
        try:
            network, images = lowered(seed)
        except ModelError:
            continue  # the tests of lowering judge these
        try:
            program = compile_network(network, TINY)
            assert wrong_tensors(network, program, TINY, images) == [], f"seed {seed}"
            exact += 1
        except ProgramError as error:
            refused.append(f"seed {seed}: {error}")
    assert exact >= LEAST_EXACT, refused
    for text in refused:
        assert any(re.search(reason, text) for reason in REASONS), text


def shares_passes(network: IntegerNetwork) -> bool:
    """Whether a layer's plane pairs share passes on ``tiny``."""
    try:
        plans = plan_network(network, TINY).layers
    except ProgramError:
        return False
    return any(
        plan.tables is not None and len(plan.tables.passes) < plan.layer.coefficients[:, 0].size
        for plan in plans
    )


@pytest.mark.parametrize(
    "feature", ["concatenation", "stream layer", "signed codes", "pool", "shared passes"]
)
def test_the_random_models_reach(feature: str) -> None:
    """Guards the test above: without these features it would say little."""
    reached = {
        "concatenation": lambda n: bool(n.concatenations),
        "stream layer": lambda n: any(not hasattr(layer, "weight_planes") for layer in n.layers),
        "signed codes": lambda n: any(
            getattr(layer.outputs, "codes", None) is not None
            and layer.outputs.codes.min() >= 1 << (layer.outputs.planes - 1) > 1
            for layer in n.layers
        ),
        "pool": lambda n: any(layer.pool is not None for layer in n.layers),
        "shared passes": shares_passes,
    }[feature]
    networks = []
    for seed in SEEDS:
        try:
            networks.append(lowered(seed)[0])
        except ModelError:
            continue
    assert sum(reached(network) for network in networks) >= 2

"""Programs are right in whatever order the engines come to their instructions.

Semaphores alone say what must come first. In the RTL the engines' speeds choose one order of many;
here an engine that is always served last, or first, finds what no token guards.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.program import ProgramError
from golden.batching import batched
from golden.export import model_bytes
from golden.graph import ModelError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_images, random_model
from hw.isa import Engine
from sim.functional import FunctionalSimulator
from sim.images import stacked
from tests.sim.test_functional_batches import crowded, roomy

LIMITS = RandomLimits(image=(8, 24), channels=12, blocks=(1, 3))
CONFIGS = {config.name: config for config in (roomy(), crowded())}
CASES = 12
ENGINES = list(Engine)


class Order:
    """Mostly the same order of the engines, which a seed chooses."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._favourite = self._rng.sample(ENGINES, len(ENGINES))

    def __call__(self) -> list[Engine]:
        if self._rng.random() < 0.9:
            return self._favourite
        return self._rng.sample(ENGINES, len(ENGINES))


def random_network(rng: np.random.Generator) -> tuple[IntegerNetwork, np.ndarray]:
    """A network on one to four images, and these."""
    while True:
        try:
            model = random_model(rng, LIMITS)
            count = int(rng.integers(1, 5))
            network = batched(lower(import_bytes(model_bytes(model))), count)
            for config in CONFIGS.values():
                compile_network(network, config)
        except (ModelError, ProgramError):
            continue
        return network, stacked(random_images(model, count, rng), count)[0]


@pytest.mark.parametrize("case", range(CASES))
def test_the_order_of_the_engines_does_not_matter(case: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    network, image = random_network(np.random.default_rng(seed))
    for config in CONFIGS.values():
        program = compile_network(network, config)
        usual = FunctionalSimulator(program, config)
        expected = usual.run(image)
        other = FunctionalSimulator(program, config, order=Order(seed))
        np.testing.assert_array_equal(other.run(image), expected)
        for tensor in program.tensors:
            np.testing.assert_array_equal(
                other.tensor(tensor), usual.tensor(tensor), err_msg=tensor.name
            )

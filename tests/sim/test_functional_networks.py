"""Every family of networks, compiled: the functional simulator computes the integer network."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.compile import compile_network
from golden.example_model import example_images
from golden.integer_reference import run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from hw.config import preset
from sim.functional import FunctionalSimulator
from tests.golden.small_networks import FAMILIES, exported

CONFIG = preset("simulation-large")


@pytest.mark.parametrize("family", FAMILIES)
def test_small_networks_of_all_families_are_exact(family: str) -> None:
    network, content = exported(family, 2, 2)
    integers = lower(import_bytes(content))
    program = compile_network(integers, CONFIG)
    images = example_images(network.image_shape, 1, seed=2)
    expected = run(integers, images)
    simulator = FunctionalSimulator(program, CONFIG)
    simulator.run(images[0])
    for info in program.tensors:
        want = expected[info.name].reshape(info.height, info.width, info.channels)
        if info.kind == "planes":
            want = want & ((1 << info.planes) - 1)
        np.testing.assert_array_equal(simulator.tensor(info), want, err_msg=info.name)

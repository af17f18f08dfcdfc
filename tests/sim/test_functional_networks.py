"""Every family of networks, compiled: the functional simulator computes the integer network."""

from __future__ import annotations

import pytest

from compiler.compile import compile_network
from golden.example_model import example_images
from golden.lowering import lower
from golden.onnx_import import import_bytes
from hw.config import preset
from tests.golden.small_networks import FAMILIES, exported
from tests.sim.tensor_comparison import wrong_tensors

CONFIG = preset("simulation-large")


@pytest.mark.parametrize("family", FAMILIES)
def test_small_networks_of_all_families_are_exact(family: str) -> None:
    network, content = exported(family, 2, 2)
    integers = lower(import_bytes(content))
    program = compile_network(integers, CONFIG)
    images = example_images(network.image_shape, 1, seed=2)
    assert wrong_tensors(integers, program, CONFIG, images) == []

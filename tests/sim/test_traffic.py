"""Traffic: the words that a run really moves, and the fewest that it needs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from compiler.compile import compile_network
from golden.integer_network import ConvolutionLayer
from hw.isa import INSTRUCTION_WORDS, DmaTarget
from hw.memory.packing import entry_formats
from sim.functional import FunctionalSimulator
from sim.images import random_images
from sim.traffic import traffic_of
from tests.compiler.test_blocks import crowded, network_of


@pytest.mark.parametrize("seed", [3, 4, 7, 11])
def test_words_are_those_that_a_run_moves(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, config = network_of(seed), crowded()
    program = compile_network(network, config)
    simulator = FunctionalSimulator(program, config)
    formats = entry_formats(config)
    moved: Counter[str] = Counter()
    run_of = simulator.dma.move

    def watch(fields: dict[str, int]) -> None:
        target = DmaTarget(fields["target"])
        kind = "store" if fields["store"] else "load"
        moved[f"{kind} {target.name.lower()}"] += formats[target].words_of(fields["count"])
        run_of(fields)

    monkeypatch.setattr(simulator.dma, "move", watch)
    simulator.run(random_images(program.image_shape, 1).pixels[0])
    traffic = traffic_of(program, network, config)
    instructions = traffic.moved["instructions"]
    assert traffic.moved == {**moved, "instructions": instructions}
    assert instructions % INSTRUCTION_WORDS == 0
    assert traffic.total == sum(moved.values()) + instructions
    assert traffic.ratio == traffic.total / traffic.least > 1


def test_the_least_is_every_weight_and_outside_tensor_once() -> None:
    network, config = network_of(3), crowded()
    program = compile_network(network, config)
    bits = sum(
        np.size(layer.weight_planes)
        for layer in network.layers
        if isinstance(layer, ConvolutionLayer)
    )
    outside = [tensor for tensor in program.tensors if tensor.blocks]
    assert outside
    for tensor in outside:
        bits += 2 * tensor.height * tensor.width * tensor.channels * tensor.planes
    pixels = network.image.height * network.image.width
    expected = -(-bits // 32) + pixels + program.result_count
    assert traffic_of(program, network, config).least == expected

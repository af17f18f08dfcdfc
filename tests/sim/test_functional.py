"""The functional simulator runs compiled programs exactly as the integer reference says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_network
from compiler.disassembler import disassemble
from compiler.program_file import program_bytes
from golden.integer_network import IntegerNetwork
from golden.integer_reference import run
from golden.lowering import lower
from golden.onnx_import import import_model
from hw import isa
from hw.config import preset
from sim.functional import FunctionalSimulator
from sim.functional_memories import FunctionalError

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    return lower(import_model(MODELS / "resnet20-cifar10-w2a2.onnx"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    with np.load(MODELS / "cifar10-test-8.npz") as content:
        return content["images"]


def test_every_tensor_of_the_shipped_model_is_exact(
    network: IntegerNetwork, images: np.ndarray
) -> None:
    config = preset("ulx3s-85f")
    program = compile_network(network, config)
    simulator = FunctionalSimulator(program, config)
    for image in images[:2]:
        logits = simulator.run(image)
        expected = run(network, image[None])
        assert (logits == expected[program.tensors[-1].name].ravel()).all()
        for info in program.tensors:
            want = expected[info.name].reshape(info.height, info.width, info.channels)
            if info.kind == "planes":
                want = want & ((1 << info.planes) - 1)
            assert (simulator.tensor(info) == want).all(), info.name


def test_compilation_is_deterministic(network: IntegerNetwork) -> None:
    config = preset("ulx3s-85f")
    first, second = (program_bytes(compile_network(network, config)) for _ in range(2))
    assert first == second


def test_the_listing_names_every_layer(network: IntegerNetwork) -> None:
    program = compile_network(network, preset("ulx3s-85f"))
    listing = disassemble(program)
    assert all(layer.name in listing for layer in program.layers)
    assert listing.count("compute ") >= len(program.layers)


def test_a_lost_token_is_a_deadlock_that_names_the_waiting_instruction(
    network: IntegerNetwork, images: np.ndarray
) -> None:
    config = preset("ulx3s-85f")
    program = compile_network(network, config)
    address = program.image_entry  # the first instruction loads the image and signals READY
    word = sum(int(w) << 32 * i for i, w in enumerate(program.memory[address : address + 8]))
    opcode, fields = isa.decode(word)
    word = isa.encode(opcode, {**fields, "signal": 0})
    for index in range(8):
        program.memory[address + index] = (word >> 32 * index) & 0xFFFFFFFF
    with pytest.raises(
        FunctionalError, match=r"waiting: .*FILL of layer \d+, COMPUTE of layer \d+"
    ):
        FunctionalSimulator(program, config).run(images[0])


def test_a_program_for_another_preset_is_refused(network: IntegerNetwork) -> None:
    program = compile_network(network, preset("ulx3s-85f"))
    with pytest.raises(FunctionalError, match=r"^program must be made for preset tiny"):
        FunctionalSimulator(program, preset("tiny"))

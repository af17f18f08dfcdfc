"""Files that Brevitas made: its own numbers are reproduced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from golden import graph as ir
from golden.calibration import model_session
from golden.graph import ModelError
from golden.graph_execution import execute
from golden.integer_network import CodeOutput, ConvolutionLayer, IntegerNetwork, RawOutput
from golden.integer_reference import IntegerReference
from golden.lowering import lower
from golden.onnx_import import import_model

DATA = Path(__file__).parent / "data"
FILES = (DATA / "brevitas-small.onnx", DATA / "brevitas-small-opset13.onnx")


def scores_of(graph: ir.Graph, images: np.ndarray) -> np.ndarray:
    return execute(graph, images)[graph.output]


def raw_output(network: IntegerNetwork) -> tuple[ConvolutionLayer, RawOutput]:
    (found,) = [layer for layer in network.layers if isinstance(layer.outputs, RawOutput)]
    assert isinstance(found, ConvolutionLayer)
    assert isinstance(found.outputs, RawOutput)
    return found, found.outputs


@pytest.fixture(scope="module")
def brevitas() -> dict[str, np.ndarray]:
    with np.load(DATA / "brevitas-small.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_float_graph_reproduces_the_scores_of_brevitas(
    path: Path, brevitas: dict[str, np.ndarray]
) -> None:
    found = scores_of(import_model(path), brevitas["images"])
    # Brevitas computes in float32: about 1e-7 of the scores, which reach 9.
    np.testing.assert_allclose(found, brevitas["scores"], rtol=0, atol=2e-6)


def test_float_graph_reproduces_every_activation_of_brevitas(
    brevitas: dict[str, np.ndarray],
) -> None:
    graph = import_model(FILES[0])
    tensors = execute(graph, brevitas["images"][:4])
    pool = next(node for node in graph.nodes if isinstance(node, ir.MaxPool))
    compared = 0
    for key, expected in brevitas.items():
        name = key.removeprefix("activation:")
        if name != key and name in tensors:
            np.testing.assert_array_equal(tensors[name].astype(np.float32), expected)
            compared += 1
    # The quantizer before the pool was moved behind it; that of the image was folded.
    quantizers = [node for node in graph.nodes if isinstance(node, ir.LearnedActivation)]
    assert compared == len(quantizers) - 1
    before_pool = functional.max_pool2d(
        torch.from_numpy(brevitas["activation:_symbolic_2"]), pool.window
    )
    moved = next(node for node in quantizers if pool.name in node.inputs)
    np.testing.assert_array_equal(tensors[moved.name].astype(np.float32), before_pool.numpy())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_integer_network_has_the_codes_and_classes_of_brevitas(
    path: Path, brevitas: dict[str, np.ndarray]
) -> None:
    graph = import_model(path)
    network = lower(graph)
    images, scores = brevitas["images"], brevitas["scores"]
    codes = [layer.outputs for layer in network.layers if isinstance(layer.outputs, CodeOutput)]
    last, raw = raw_output(network)
    names = [output.tensor for output in codes]
    integers = IntegerReference(network).run(images, keep=[*names, raw.tensor])
    floats = execute(graph, images)
    for output in codes:
        node = graph.node(output.tensor)
        assert isinstance(node, ir.LearnedActivation)
        levels = np.full(1 << output.planes, np.nan)
        levels[output.codes] = node.sorted_levels()[0]
        stored = levels[integers[output.tensor]].transpose(0, 3, 1, 2)
        expected = floats[output.tensor].reshape(stored.shape)
        np.testing.assert_array_equal(stored, expected)
    found = np.ldexp(integers[raw.tensor].reshape(scores.shape).astype(float), -raw.fraction)
    # All codes are equal, so only the last layer's coefficients are rounded: by half a unit for
    # each plane pair and tap, and the bias by half a unit.
    taps = np.prod(last.weight_planes.shape[2:])
    planes = np.prod(last.coefficients.shape[2:])
    bound = np.ldexp(0.5 * (taps * planes + 1), -raw.fraction)
    assert bound < 0.01
    assert np.abs(found - scores).max() <= bound + 2e-6
    np.testing.assert_array_equal(found.argmax(axis=1), scores.argmax(axis=1))
    np.testing.assert_array_equal(found.argmax(axis=1), brevitas["labels"])


def test_both_exporters_give_the_same_integer_network() -> None:
    first, second = (lower(import_model(path)) for path in FILES)
    for a, b in zip(first.layers, second.layers, strict=True):
        assert isinstance(a, ConvolutionLayer)
        assert isinstance(b, ConvolutionLayer)
        np.testing.assert_array_equal(a.weight_planes, b.weight_planes)
        np.testing.assert_array_equal(a.coefficients, b.coefficients)
        np.testing.assert_array_equal(a.bias, b.bias)


def test_onnxruntime_is_not_asked_to_run_a_qonnx_file() -> None:
    with pytest.raises(ModelError, match="must be a file that onnxruntime runs, not QONNX"):
        model_session(FILES[0].read_bytes())

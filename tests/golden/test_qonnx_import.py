"""QONNX files built by hand: every form that is read, and what it computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from golden import graph as ir
from golden.graph_execution import execute
from golden.integer_network import CodeOutput, RawOutput
from golden.integer_reference import IntegerReference
from golden.lowering import lower
from tests.golden.qonnx_file import File, random_images, rounded, stored_weights

RNG = np.random.default_rng(1)


def scores_of(graph: ir.Graph, images: np.ndarray) -> np.ndarray:
    return execute(graph, images)[graph.output]


def integer_scores(graph: ir.Graph, images: np.ndarray) -> np.ndarray:
    """Scores of the integer network, as real numbers."""
    network = lower(graph)
    (raw,) = [layer.outputs for layer in network.layers if isinstance(layer.outputs, RawOutput)]
    integers = IntegerReference(network).run(images, keep=[raw.tensor])[raw.tensor]
    scores = integers.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.ldexp(scores.astype(np.float64), -raw.fraction)


def test_float_image_is_the_normalised_one() -> None:
    file = File()
    weights = file.weights(4, 2, 3, 3)
    file.conv("x", weights)
    images = random_images(3, 6, 6, 2)
    x = torch.from_numpy((images.transpose(0, 3, 1, 2) - 128.0) / 128)
    expected = functional.conv2d(x, stored_weights(file, weights), padding=1)
    np.testing.assert_allclose(scores_of(file.graph(), images), expected, rtol=1e-12, atol=1e-12)


def test_raw_image_is_normalised_by_the_file() -> None:
    file = File(kind=TensorProto.UINT8)
    x = file.node("Cast", "x", to=TensorProto.FLOAT)
    x = file.node("Mul", file.node("Sub", x, file.store(128.0)), file.store(1 / 64))
    x = file.quant(x, 8, 1 / 64)
    weights = file.weights(4, 2, 3, 3)
    file.conv(x, weights)
    images = random_images(3, 6, 6, 2)
    pixels = torch.from_numpy((images.transpose(0, 3, 1, 2) - 128.0) / 64)
    expected = functional.conv2d(pixels, stored_weights(file, weights), padding=1)
    np.testing.assert_allclose(scores_of(file.graph(), images), expected, rtol=1e-12, atol=1e-12)


def test_image_with_an_offset_may_be_read_without_padding() -> None:
    file = File(kind=TensorProto.UINT8)
    mean, deviation = np.array([[[100.0]], [[120.0]]]), np.array([[[50.0]], [[70.0]]])
    x = file.node("Cast", "x", to=TensorProto.FLOAT)
    x = file.node("Div", file.node("Sub", x, file.store(mean)), file.store(deviation))
    weights = RNG.normal(0, 1, (4, 2, 3, 3))
    file.conv(x, file.store(weights), pad=0)
    file.quant(file.nodes[-1].output[0], 4)  # makes it a QONNX file
    graph = file.graph()
    images = random_images(3, 6, 6, 2)
    pixels = torch.from_numpy((images.transpose(0, 3, 1, 2) - mean) / deviation)
    expected = functional.conv2d(pixels, torch.from_numpy(weights.astype(np.float32)).double())
    found = execute(graph, images)[graph.nodes[1].name]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_matrix_product_on_the_flattened_image() -> None:
    file = File(kind=TensorProto.UINT8)
    x = file.node("Cast", "x", to=TensorProto.FLOAT)
    x = file.node("Div", x, file.store(255.0))
    x = file.node("Reshape", x, file.store([1, -1], np.int64))
    weights = file.weights(5, 72)
    file.node("Gemm", x, weights, transB=1)
    images = random_images(3, 6, 6, 2)
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).reshape(3, -1) / 255)
    expected = pixels @ stored_weights(file, weights).T
    found = scores_of(file.graph(), images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(integer_scores(file.graph(), images), found, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("append", "apply"),
    [
        (lambda file, x: file.node("Add", x, file.store(3.0)), lambda x: x + 3),
        (lambda file, x: file.node("Add", file.store(3.0), x), lambda x: x + 3),
        (lambda file, x: file.node("Sub", x, file.store(3.0)), lambda x: x - 3),
        (lambda file, x: file.node("Sub", file.store(3.0), x), lambda x: 3 - x),
        (lambda file, x: file.node("Mul", x, file.store([[[2.0]], [[3.0]]])), None),
        (lambda file, x: file.node("Div", x, file.store(4.0)), lambda x: x / 4),
        (lambda file, x: file.node("Identity", x), lambda x: x),
        (lambda file, x: file.node("Dropout", x), lambda x: x),
        (lambda file, x: file.node("Cast", x, to=TensorProto.FLOAT), lambda x: x),
        (lambda file, x: file.node("Relu", x), lambda x: x.relu()),
        (
            lambda file, x: file.node("ReduceMean", x, axes=[-1, -2], keepdims=1),
            lambda x: x.mean((2, 3), keepdim=True),
        ),
        (lambda file, x: file.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), None),
    ],
)
def test_operators_after_a_layer(
    append: Callable[[File, str], str], apply: Callable[[torch.Tensor], torch.Tensor] | None
) -> None:
    file = File()
    weights = file.weights(2, 2, 3, 3)
    append(file, file.conv("x", weights))
    images = random_images(2, 6, 6, 2)
    x = torch.from_numpy((images.transpose(0, 3, 1, 2) - 128.0) / 128)
    x = functional.conv2d(x, stored_weights(file, weights), padding=1)
    if apply is not None:
        expected = apply(x)
    elif file.nodes[-1].op_type == "Mul":
        expected = x * torch.tensor([2.0, 3.0])[:, None, None]
    else:
        expected = functional.max_pool2d(x, 2)
    np.testing.assert_allclose(scores_of(file.graph(), images), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["gemm", "gemm_transposed", "matmul", "matmul_transpose"])
def test_matrix_products_in_all_their_forms(form: str) -> None:
    file = File((1, 2, 1, 1))
    x = file.quant(file.conv("x", file.weights(3, 2, 1, 1), 0, 1), 4)
    x = file.node("Flatten", x, axis=1)
    if form == "gemm_transposed":
        weights = file.weights(5, 3)
        file.node("Gemm", x, weights, transB=1)
    elif form == "matmul_transpose":
        weights = file.weights(5, 3)
        file.node("MatMul", x, file.node("Transpose", weights, perm=[1, 0]))
    else:
        weights = file.weights(3, 5)
        file.node("Gemm" if form == "gemm" else "MatMul", x, weights)
    matrix = stored_weights(file, weights)
    matrix = matrix.T if form in ("gemm_transposed", "matmul_transpose") else matrix
    graph = file.graph()
    found = execute(graph, random_images(4, 1, 1, 2))
    (layer,) = [node for node in graph.nodes if isinstance(node, ir.Linear)]
    codes = torch.from_numpy(found[layer.inputs[0]])
    np.testing.assert_allclose(found[graph.output], codes @ matrix, rtol=0, atol=1e-12)


def test_quantized_bias_is_rounded() -> None:
    file = File()
    bias = file.quant(file.store([0.3, -0.4]), 16, 0.25)
    pads, shape = [1] * 4, [3, 3]
    weights = file.weights(2, 2, 3, 3)
    file.node("Conv", "x", weights, bias, pads=pads, kernel_shape=shape)
    (layer,) = [node for node in file.graph().nodes if isinstance(node, ir.Convolution)]
    np.testing.assert_array_equal(layer.bias, [0.25, -0.5])


def test_quantizer_before_a_pool_is_moved_behind_it() -> None:
    file = File()
    x = file.quant(file.conv("x", file.weights(4, 2, 3, 3)), 2)
    x = file.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    file.conv(x, file.weights(3, 4, 1, 1), 0, 1)
    graph = file.graph()
    kinds = [type(node) for node in graph.nodes]
    assert kinds == [ir.Image, ir.Convolution, ir.MaxPool, ir.LearnedActivation, ir.Convolution]
    assert graph.nodes[3].name == x
    assert len(lower(graph).layers) == 2


def test_activation_that_something_else_reads_becomes_values_again() -> None:
    file = File()
    x = file.quant(file.conv("x", file.weights(4, 2, 3, 3)), 3)
    y = file.quant(x, 2, 0.5)
    y = file.quant(file.conv(y, file.weights(4, 4, 3, 3)), 4)
    y = file.node("GlobalAveragePool", file.quant(file.node("Add", x, y), 3))
    x = file.node("Flatten", y, axis=1)
    file.node("Gemm", x, file.weights(3, 4), transB=1)
    graph = file.graph()
    images = random_images(3, 6, 6, 2)
    found = integer_scores(graph, images)
    np.testing.assert_allclose(found, scores_of(graph, images), rtol=0, atol=0.02)


def test_stored_tensors_may_be_constant_nodes_and_graph_inputs() -> None:
    file = File()
    weights = file.weights(2, 2, 3, 3)
    file.conv("x", weights)
    constant = file.stored[0]
    file.nodes.insert(0, helper.make_node("Constant", [], [constant.name], value=constant))
    del file.stored[0]
    for tensor in file.stored:
        file.inputs.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        )
    (layer,) = [node for node in file.graph().nodes if isinstance(node, ir.Convolution)]
    values = numpy_helper.to_array(constant).astype(np.float64)
    expected = rounded(torch.from_numpy(values), 0.25, -3, 3)
    np.testing.assert_array_equal(layer.weights.values, expected)


def test_float_weights_may_be_read_too() -> None:
    file = File()
    weights = RNG.normal(0, 1, (4, 2, 3, 3))
    x = file.quant(file.conv("x", file.store(weights)), 4)
    file.conv(x, file.weights(2, 4, 1, 1), 0, 1)
    layer = file.graph().nodes[1]
    assert isinstance(layer, ir.Convolution)
    assert isinstance(layer.weights, ir.FloatWeights)
    np.testing.assert_array_equal(layer.weights.values, weights.astype(np.float32))


def test_ties_of_power_of_two_scales_are_exact_in_integers() -> None:
    file = File()
    x = file.conv("x", file.weights(4, 2, 3, 3))
    codes = file.quant(x, 4, 1 / 8)
    file.conv(codes, file.weights(3, 4, 3, 3))
    graph, images = file.graph(), random_images(8, 6, 6, 2) & 0xF0
    floats = execute(graph, images)
    sums = floats[x] * 8  # in units of the quantizer's scale: every number here is dyadic
    halves = (np.abs(sums) < 7) & (sums % 1 == 0.5)
    assert halves.sum() > 100
    network = lower(graph)
    (output,) = [layer.outputs for layer in network.layers if isinstance(layer.outputs, CodeOutput)]
    stored = IntegerReference(network).run(images, keep=[codes])[codes]
    levels = np.zeros(16)
    node = graph.node(codes)
    assert isinstance(node, ir.LearnedActivation)
    levels[output.codes] = node.sorted_levels()[0]
    np.testing.assert_array_equal(levels[stored].transpose(0, 3, 1, 2), floats[codes])
    np.testing.assert_array_equal(
        integer_scores(graph, images), scores_of(graph, images).reshape(8, -1)
    )


@pytest.mark.parametrize("signed", [0, 1])
def test_relu_behind_a_mean_becomes_a_matter_of_thresholds(signed: int) -> None:
    file = File()
    x = file.conv("x", file.weights(4, 2, 3, 3))
    x = file.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = file.quant(file.node("Relu", x), 3, 0.1, signed=signed)
    file.conv(x, file.weights(3, 4, 1, 1), 0, 1)
    images = random_images(3, 6, 6, 2)
    found, expected = integer_scores(file.graph(), images), scores_of(file.graph(), images)
    np.testing.assert_allclose(found, expected.reshape(3, -1), rtol=0, atol=1e-3)

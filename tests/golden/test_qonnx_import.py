"""QONNX files: Brevitas' own numbers are reproduced; whatever cannot be read is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from golden import graph as ir
from golden.calibration import model_session
from golden.graph import ModelError
from golden.integer_network import CodeOutput, ConvolutionLayer, IntegerNetwork, RawOutput
from golden.integer_reference import IntegerReference
from golden.lowering import lower
from golden.onnx_import import import_bytes, import_model
from tests.golden.graph_execution import execute

DATA = Path(__file__).parent / "data"
FILES = (DATA / "brevitas-small.onnx", DATA / "brevitas-small-opset13.onnx")
RNG = np.random.default_rng(1)
QONNX = "qonnx.custom_op.general"


class File:
    """A QONNX file under construction; node methods return the name of the output."""

    def __init__(
        self, shape: tuple[int, ...] = (1, 2, 6, 6), kind: int = TensorProto.FLOAT
    ) -> None:
        self.inputs = [helper.make_tensor_value_info("x", kind, shape)]
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def store(self, values: object, dtype: type = np.float32) -> str:
        name = f"stored{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: object) -> str:
        name = f"{operator}{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [name], domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def quant(
        self, x: str, bits: int, scale: object = 0.25, *, signed: int = 1, narrow: int = 0
    ) -> str:
        inputs = (x, self.store(scale), self.store(0.0), self.store(float(bits)))
        flags = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
        return self.node("Quant", *inputs, domain=QONNX, **flags)

    def weights(self, *shape: int, bits: int = 3) -> str:
        return self.quant(self.store(RNG.normal(0, 0.5, shape)), bits, narrow=1)

    def conv(self, x: str, weights: str, pad: int = 1, kernel: int = 3) -> str:
        pads, shape = [pad] * 4, [kernel] * 2
        return self.node("Conv", x, weights, pads=pads, kernel_shape=shape, strides=[1, 1])

    def content(self, *outputs: str) -> bytes:
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in outputs or (self.nodes[-1].output[0],)
        ]
        graph = helper.make_graph(self.nodes, "hand", self.inputs, results, self.stored)
        imports = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
        return helper.make_model(graph, opset_imports=imports).SerializeToString()

    def graph(self) -> ir.Graph:
        return import_bytes(self.content())


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def rounded(x: torch.Tensor, scale: float, lowest: int, highest: int) -> torch.Tensor:
    return torch.round(torch.clamp(x / scale, lowest, highest)) * scale


def stored_weights(file: File, name: str) -> torch.Tensor:
    """What the weight quantizer ``name`` (3 bits, narrow, scale 1/4) makes of its tensor."""
    node = next(node for node in file.nodes if node.output[0] == name)
    tensor = next(tensor for tensor in file.stored if tensor.name == node.input[0])
    values = torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float64))
    return rounded(values, 0.25, -3, 3)


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
    network = lower(file.graph())
    _, raw = raw_output(network)
    integers = IntegerReference(network).run(images, keep=[raw.tensor])[raw.tensor]
    np.testing.assert_allclose(np.ldexp(integers.reshape(3, 5), -raw.fraction), found, atol=1e-2)


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
    network = lower(graph)
    _, raw = raw_output(network)
    integers = IntegerReference(network).run(images, keep=[raw.tensor])[raw.tensor]
    found = np.ldexp(integers.reshape(3, -1).astype(float), -raw.fraction)
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


def refused(change: Callable[[File, str], object], kind: int = TensorProto.FLOAT) -> str:
    """The text that refuses a file: a quantized convolution, then ``change``."""
    file = File(kind=kind)
    change(file, file.quant(file.conv("x", file.weights(4, 2, 3, 3)), 4))
    with pytest.raises(ModelError) as caught:
        lower(file.graph())
    return str(caught.value)


def padded_conv_on(operator: str, value: float) -> Callable[[File, str], object]:
    """A padded convolution on raw pixels behind one operator."""

    def change(file: File, x: str) -> None:
        file.nodes.clear()
        x = file.node("Cast", "x", to=TensorProto.FLOAT)
        file.conv(file.node(operator, x, file.store(value)), file.weights(4, 2, 3, 3))

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda file, x: file.node("Sigmoid", x),
            "node 'Sigmoid3': operator must be one of Add, AveragePool, ",
        ),
        (
            lambda file, x: file.node("Trunc", x, domain=QONNX),
            "not qonnx.custom_op.general.Trunc",
        ),
        (
            lambda file, x: file.node("Quant", x),
            "node 'Quant3': operator must be one of",
        ),
        (
            lambda file, x: file.quant(x, 4, [0.5, 0.25, 0.5, 0.25]),
            "node 'Quant3': scale of an activation must be one number",
        ),
        (
            lambda file, x: file.quant(x, 9),
            "node 'Quant3': bit width must be one whole number in 1..8",
        ),
        (
            lambda file, x: file.node(
                "Quant",
                x,
                *(file.store(value) for value in (0.25, 1.0, 4.0)),
                domain=QONNX,
                signed=1,
                narrow=0,
            ),
            "node 'Quant3': zero point must be 0, not [1.0]",
        ),
        (
            lambda file, x: file.node(
                "Quant",
                x,
                *(file.store(value) for value in (0.25, 0.0, 4.0)),
                domain=QONNX,
                signed=1,
                narrow=0,
                rounding_mode="CEIL",
            ),
            "node 'Quant3': attribute 'rounding_mode' must be ROUND, not CEIL",
        ),
        (
            lambda file, x: file.node("BipolarQuant", x, "missing", domain=QONNX),
            "node 'BipolarQuant3': scale must be an initializer, not 'missing'",
        ),
        (
            lambda file, x: file.conv(x, file.quant(file.store(np.full((4, 4, 3, 3), -32)), 8)),
            "node 'Conv4': weights of 'Quant3' must be integers of -127..127 times the scale",
        ),
        (
            lambda file, x: file.conv(
                x, file.quant(file.store(np.ones((4, 4, 3, 3))), 4, np.ones((1, 4, 1, 1)))
            ),
            "node 'Conv4': weight scale of 'Quant3' must be one number, or one per output channel",
        ),
        (
            lambda file, x: file.quant(file.store(np.ones(4)), 4, np.ones(3)),
            "node 'Quant3': scale must fit the tensor [4], not [3]",
        ),
        (
            lambda file, x: file.node(
                "Conv", x, file.weights(4, 1, 3, 3), kernel_shape=[3, 3], group=4
            ),
            "node 'Conv4': attribute 'group' must be 1, not 4",
        ),
        (
            lambda file, x: file.conv(x, file.weights(4, 3, 3, 3)),
            "node 'Conv4': weight must have the shape [4, 4, 3, 3], not [4, 3, 3, 3]",
        ),
        (
            lambda file, x: file.conv(x, x),
            "node 'Conv3': weight must be an initializer, not 'Quant2'",
        ),
        (
            lambda file, x: file.node("Add", x, file.store(np.ones((6, 6)))),
            "node 'Add3': stored operand must be one number, or one per channel, not [6, 6]",
        ),
        (
            lambda file, x: file.node("Div", x, file.store(0.0)),
            "node 'Div3': divisor must not be 0",
        ),
        (
            lambda file, x: file.node("Div", file.store(1.0), x),
            "node 'Div3': operand must be an initializer, not 'Quant2'",
        ),
        (
            lambda file, x: file.node("Reshape", x, file.store([2, -1], np.int64)),
            "node 'Reshape3': shape must be [batch, 144], not [2, -1]",
        ),
        (
            lambda file, x: file.node("ReduceMean", x, axes=[1, 2]),
            "node 'ReduceMean3': axes must be height and width, not [1, 2]",
        ),
        (
            lambda file, x: file.node("Cast", x, to=TensorProto.INT8),
            "node 'Cast3': attribute 'to' must be FLOAT, not INT8",
        ),
        (
            lambda file, x: file.node("Transpose", x, perm=[0, 2, 3, 1]),
            "node 'Transpose3': attribute 'perm' must be 2 integers",
        ),
        (
            lambda file, x: file.node("Relu", "later"),
            "node 'Relu3': input must be written by an earlier node, not 'later'",
        ),
        (
            lambda file, x: file.nodes.append(helper.make_node("Relu", [x], [x])),
            "node 'Quant2': output must be written once, not again",
        ),
        (
            lambda file, x: file.node("Relu", "x"),
            "node 'Relu3': operator on the image must be a convolution or a matrix product",
        ),
        (
            lambda file, x: file.quant("x", 4, 0.125),
            "graph outputs must be one tensor of a node, not ['Quant3']",
        ),
        (
            lambda file, x: file.conv(file.quant("x", 4, 0.125), file.weights(4, 2, 3, 3)),
            "node 'Conv5': 'Quant3' must be a linear function of the pixels 0..255, but is not",
        ),
        (
            lambda file, x: file.conv(
                file.quant("x", 8, 1 / 255, signed=0), file.weights(4, 2, 3, 3)
            ),
            "must be a linear function of the pixels 0..255, but is not",
        ),
        (
            lambda file, x: file.conv(
                file.node("Mul", "x", file.store([[[1.0]], [[2.0]]])), file.weights(4, 2, 3, 3)
            ),
            "an image that quantized weights read must be scaled alike, not by [1.0, 2.0]",
        ),
        (lambda file, x: None, "node 'Quant2': the network's output must be a float value"),
    ],
)
def test_what_cannot_be_read_is_named(change: Callable[[File, str], object], text: str) -> None:
    assert text in refused(change)


@pytest.mark.parametrize(("operator", "value"), [("Div", 255.0), ("Sub", 127.5)])
def test_padded_image_must_be_zero_at_pixel_128(operator: str, value: float) -> None:
    text = refused(padded_conv_on(operator, value), TensorProto.UINT8)
    assert "a padded image must be 0 at pixel 128, not 0.5" in text


@pytest.mark.parametrize(
    ("shape", "kind", "text"),
    [
        ((1, 2, 6), TensorProto.FLOAT, "input 'x' must have the shape [N, 1..4, height, width]"),
        ((1, 5, 6, 6), TensorProto.FLOAT, "input 'x' must have the shape [N, 1..4, height"),
        ((1, 2, 6, 6), TensorProto.INT8, "input 'x' must be UINT8 or FLOAT, not INT8"),
    ],
)
def test_other_inputs_are_refused(shape: tuple[int, ...], kind: int, text: str) -> None:
    file = File(shape, kind)
    file.quant("x", 4)
    with pytest.raises(ModelError) as caught:
        file.graph()
    assert text in str(caught.value)


def test_second_inputs_and_outputs_are_refused() -> None:
    file = File()
    x = file.quant(file.conv("x", file.weights(4, 2, 3, 3)), 4)
    with pytest.raises(ModelError, match="graph outputs must be one tensor of a node"):
        import_bytes(file.content(x, x))
    file.inputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 6, 6]))
    with pytest.raises(ModelError, match="graph inputs must be one image, not 'x', 'y'"):
        import_bytes(file.content())


def test_float_weights_may_be_read_too() -> None:
    file = File()
    weights = RNG.normal(0, 1, (4, 2, 3, 3))
    x = file.quant(file.conv("x", file.store(weights)), 4)
    file.conv(x, file.weights(2, 4, 1, 1), 0, 1)
    layer = file.graph().nodes[1]
    assert isinstance(layer, ir.Convolution)
    assert isinstance(layer.weights, ir.FloatWeights)
    np.testing.assert_array_equal(layer.weights.values, weights.astype(np.float32))


def test_onnxruntime_is_not_asked_to_run_a_qonnx_file() -> None:
    with pytest.raises(ModelError, match="must run in onnxruntime, which QONNX quantizers do not"):
        model_session(FILES[0].read_bytes())

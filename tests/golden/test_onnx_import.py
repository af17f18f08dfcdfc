"""Import: what the exporter writes is read back; everything else is refused by name and rule."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from golden import graph as ir
from golden.export import model_bytes
from golden.graph import Encoding, ModelError
from golden.graph_builder import GraphBuilder
from golden.onnx_import import import_bytes, import_model

RNG = np.random.default_rng(1)
CODES = RNG.integers(0, 4, (5, 4, 3, 3))
BASIS = RNG.normal(0, 1, (2, 5)).astype(np.float32)
ACTIVATION_BASIS = np.array([1.5, 0.5, 0.25], dtype=np.float32)
STATISTICS = tuple(RNG.uniform(0.5, 1.5, 4).astype(np.float32) for _ in range(4))


def small_model() -> onnx.ModelProto:
    """One node of every kind."""
    builder = GraphBuilder("small", (8, 6, 3))
    weight = RNG.normal(0, 1, (4, 3, 3, 3))
    x = builder.convolution("conv0", builder.image, weight, padding=(1, 1, 1, 1))
    x = builder.batch_norm("bn0", x, *STATISTICS)
    x = builder.relu("relu0", x)
    pooled = builder.max_pool("max", x, (3, 3), (2, 2), (0, 0, 1, 1))
    q = builder.learned_activation("act", pooled, ACTIVATION_BASIS, "signed")
    y = builder.quantized_convolution("conv1", q, CODES, BASIS, padding=(1, 1, 1, 1))
    halved = builder.average_pool("half", x, (2, 2), (2, 2))
    padded = builder.channel_pad("pad", halved, 0, 1)
    y = builder.add("add", y, padded)
    y = builder.concat("concat", [y, y])
    z = builder.flatten("flat", builder.global_average_pool("mean", y))
    z = builder.linear("fc1", z, RNG.normal(0, 1, (7, 10)), np.zeros(7))
    z = builder.quantized_linear("fc2", z, RNG.integers(0, 2, (2, 7)), np.ones((1, 2)))
    return builder.model(z, labels=("cat", "dog"), weight_bits=2, activation_bits=3)


def test_everything_is_read_back() -> None:
    graph = import_bytes(model_bytes(small_model()))
    shapes = {node.name: node.shape for node in graph.nodes}
    assert shapes == {
        "image": (3, 8, 6),
        "conv0": (4, 8, 6),
        "bn0": (4, 8, 6),
        "relu0": (4, 8, 6),
        "max": (4, 4, 3),
        "act": (4, 4, 3),
        "conv1": (5, 4, 3),
        "half": (4, 4, 3),
        "pad": (5, 4, 3),
        "add": (5, 4, 3),
        "concat": (10, 4, 3),
        "mean": (10, 1, 1),
        "flat": (10,),
        "fc1": (7,),
        "fc2": (2,),
    }
    assert (graph.name, graph.output, graph.labels) == ("small", "fc2", ("cat", "dog"))
    assert (graph.weight_bits, graph.activation_bits) == (2, 3)
    assert graph.image.shape == (3, 8, 6)


def test_quantized_weights_are_unpacked() -> None:
    node = import_bytes(model_bytes(small_model())).node("conv1")
    assert isinstance(node, ir.Convolution)
    assert isinstance(node.weights, ir.QuantizedWeights)
    np.testing.assert_array_equal(node.weights.planes, [CODES & 1, CODES >> 1])
    np.testing.assert_array_equal(node.weights.basis, BASIS)
    signs = 2.0 * np.array([CODES & 1, CODES >> 1]) - 1
    expected = (signs * BASIS.astype(float)[:, :, None, None, None]).sum(axis=0)
    np.testing.assert_allclose(node.weights.values, expected)


def test_learned_activation_is_read() -> None:
    node = import_bytes(model_bytes(small_model())).node("act")
    assert isinstance(node, ir.LearnedActivation)
    assert (node.encoding, node.planes) == (Encoding.SIGNED, 3)
    levels, codes = node.sorted_levels()
    assert levels.tolist() == [-2.25, -1.75, -1.25, -0.75, 0.75, 1.25, 1.75, 2.25]
    assert codes.tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    assert node.thresholds().tolist() == [-2.0, -1.5, -1.0, 0.0, 1.0, 1.5, 2.0]


def test_batch_norm_is_folded() -> None:
    node = import_bytes(model_bytes(small_model())).node("bn0")
    assert isinstance(node, ir.BatchNorm)
    gamma, beta, mean, variance = (array.astype(float) for array in STATISTICS)
    x = 0.7
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(x * node.scale + node.offset, expected)


def test_unknown_tensor_name() -> None:
    with pytest.raises(KeyError, match="nothing"):
        import_bytes(model_bytes(small_model())).node("nothing")


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.output[0] == name)


def set_attribute(name: str, key: str, value: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        node = node_of(model, name)
        kept = [entry for entry in node.attribute if entry.name != key]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(key, value)])

    return change


def replace_tensor(name: str, values: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(entry for entry in model.graph.initializer if entry.name == name)
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return change


def set_metadata(key: str, value: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        kept = {entry.key: entry.value for entry in model.metadata_props}
        helper.set_model_props(model, {**kept, key: value})

    return change


def set_version(domain: str, version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for entry in model.opset_import:
            if entry.domain == domain:
                entry.version = version

    return change


def set_operator(name: str, operator: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        node_of(model, name).op_type = operator

    return change


def set_input(name: str, index: int, tensor: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        node_of(model, name).input[index] = tensor

    return change


def make_external(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def damage_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"\0"


def drop_function(model: onnx.ModelProto) -> None:
    del model.functions[0]


def change_function(model: onnx.ModelProto) -> None:
    model.functions[1].node[0].op_type = "Identity"


def drop_import(model: onnx.ModelProto) -> None:
    del model.opset_import[1]


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.add(name="fc1")


def input_as_float(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def unknown_image_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "H"


def five_image_channels(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 5


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pictures"


def write_twice(model: onnx.ModelProto) -> None:
    node_of(model, "relu0").output[0] = "bn0"


def second_image(model: onnx.ModelProto) -> None:
    node = helper.make_node("ImageInput", ["images"], ["again"], domain="lqnets")
    model.graph.node.append(node)


def two_outputs(model: onnx.ModelProto) -> None:
    node_of(model, "max").output.append("indices")


def swap_first_nodes(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([nodes[1], nodes[0], *nodes[2:]])


REFUSALS: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (set_version("", 13), r"operator set version must be 20, not 13"),
    (set_version("lqnets", 2), r"domain 'lqnets' version must be 1, not 2"),
    (drop_import, r"domain 'lqnets' version must be 1, not missing"),
    (drop_function, r"function lqnets\.ImageInput must be in the file, not missing"),
    (
        change_function,
        r"function lqnets\.LearnedActivation must have the body of version 1, not another one",
    ),
    (set_metadata("lqnets_format", "2"), r"metadata 'lqnets_format' must be 1, not 2"),
    (set_metadata("labels", "[1]"), r"metadata 'labels' must be a JSON list of texts"),
    (set_metadata("labels", '["a"]'), r"metadata 'labels' must have 2 entries, not 1"),
    (set_metadata("labels", "["), r"metadata 'labels' must be JSON, not: "),
    (set_metadata("ranges", '{"fc1": -1}'), r"metadata 'ranges' must map tensors to numbers"),
    (set_metadata("ranges", '{"fc1": NaN}'), r"metadata 'ranges' must map tensors to numbers"),
    (set_metadata("weight_bits", "two"), r"metadata 'weight_bits' must be a number, not 'two'"),
    (make_external, r"initializer 'conv0\.weight' must be inside the file, not external"),
    (damage_tensor, r"initializer 'conv0\.weight' must hold a valid tensor, not: "),
    (second_output, r"graph outputs must be one tensor of a node, not \['fc2', 'fc1'\]"),
    (rename_input, r"graph inputs must be 'images' alone, not 'pictures'"),
    (input_as_float, r"input 'images' must be UINT8, not FLOAT"),
    (unknown_image_size, r"input 'images' must have the shape \[N, height, width, channels\]"),
    (five_image_channels, r"node 'image': image channels must be in 1\.\.4, not 5"),
    (write_twice, r"node 'bn0': output must be written once, not again"),
    (second_image, r"the first node must be the only ImageInput, not one of 2"),
    (swap_first_nodes, r"node 'conv0': input must be written by an earlier node, not 'image'"),
    (two_outputs, r"node 'max': outputs must be 1, not 2"),
    (
        set_operator("relu0", "Sigmoid"),
        r"node 'relu0': operator must be one of .*Relu, not Sigmoid",
    ),
    (
        set_operator("act", "OtherActivation"),
        r"node 'act': operator must be one of .*, not lqnets\.OtherActivation",
    ),
    (set_input("relu0", 0, "nothing"), r"node 'relu0': input must be written by an earlier node"),
    (set_input("conv0", 1, "nothing"), r"node 'conv0': weight must be an initializer, not 'noth"),
    (set_input("conv0", 1, ""), r"node 'conv0': weight must be an initializer, not 'nothing'"),
    (set_input("fc1", 0, "add"), r"node 'fc1': input must be a vector, not \[5, 4, 3\]"),
    (set_input("max", 0, "flat"), r"node 'max': input must be written by an earlier node"),
    (
        set_input("add", 1, "half"),
        r"node 'add': inputs must have equal shapes, not \[5, 4, 3\] and \[4, 4, 3\]",
    ),
    (
        set_input("concat", 1, "conv0"),
        r"node 'concat': inputs must have equal heights and widths, not \[\[5, 4, 3\], \[4, 8, 6",
    ),
    (
        replace_tensor("act.basis", np.array([1, np.nan, 1], np.float32)),
        r"node 'act': basis must be finite, not NaN or inf",
    ),
    (
        replace_tensor("conv1.basis", np.full((2, 5), np.inf, np.float32)),
        r"node 'conv1': basis must be finite, not NaN or inf",
    ),
    (
        replace_tensor("act.basis", np.array([1, -0.5, 1], np.float32)),
        r"node 'act': basis must not be negative, not -0\.5",
    ),
    (
        replace_tensor("act.basis", np.ones(2, np.float32)),
        r"node 'act': basis must have the shape \[3\], not \[2\]",
    ),
    (
        replace_tensor("act.basis", np.ones(3)),
        r"node 'act': basis must be float32, not float64",
    ),
    (
        replace_tensor("conv1.codes", np.zeros((2, 22), np.uint8)),
        r"node 'conv1': codes must have the shape \[2, 23\], not \[2, 22\]",
    ),
    (
        replace_tensor("conv1.codes", np.full((2, 23), 255, np.uint8)),
        r"node 'conv1': codes must end in zero bits, not ones",
    ),
    (
        replace_tensor("conv1.codes", np.zeros((2, 23), np.int8)),
        r"node 'conv1': codes must be uint8, not int8",
    ),
    (
        replace_tensor("fc1.bias", np.zeros(6, np.float32)),
        r"node 'fc1': bias must have the shape \[7\], not \[6\]",
    ),
    (
        replace_tensor("conv0.weight", np.zeros((4, 3, 9), np.float32)),
        r"node 'conv0': weight must have 4 axes, not 3",
    ),
    (
        replace_tensor("conv0.weight", np.zeros((4, 2, 3, 3), np.float32)),
        r"node 'conv0': weight must have the shape \[4, 3, 3, 3\], not \[4, 2, 3, 3\]",
    ),
    (
        replace_tensor("fc1.weight", np.zeros((7, 9), np.float32)),
        r"node 'fc1': weight must have the shape \[7, 10\], not \[7, 9\]",
    ),
    (
        replace_tensor("fc1.weight", np.zeros(7, np.float32)),
        r"node 'fc1': weight must have 2 axes, not 1",
    ),
    (
        replace_tensor("bn0.variance", np.full(4, -1, np.float32)),
        r"node 'bn0': variance \+ epsilon must be positive, not -0\.99999",
    ),
    (
        replace_tensor("pad.pads", np.array([0, 0, 1, 0, 0, 1, 0, 0])),
        r"node 'pad': pads must add channels only, not \[0, 0, 1, 0, 0, 1, 0, 0\]",
    ),
    (set_attribute("act", "bits", 9), r"node 'act': attribute 'bits' must be in 1\.\.8, not 9"),
    (set_attribute("act", "bits", 0), r"node 'act': attribute 'bits' must be in 1\.\.8, not 0"),
    (
        set_attribute("conv1", "weight_bits", 9),
        r"node 'conv1': attribute 'weight_bits' must be in 1\.\.8, not 9",
    ),
    (
        set_attribute("act", "bits", "three"),
        r"node 'act': attribute 'bits' must be an integer, not b'three'",
    ),
    (
        set_attribute("act", "encoding", "gray"),
        r"node 'act': attribute 'encoding' must be one of unsigned, signed, not gray",
    ),
    (
        set_attribute("act", "encoding", 1),
        r"node 'act': attribute 'encoding' must be a text, not 1",
    ),
    (
        set_attribute("bn0", "epsilon", 1),
        r"node 'bn0': attribute 'epsilon' must be a float, not 1",
    ),
    (
        set_attribute("conv1", "out_channels", 0),
        r"node 'conv1': channels must be positive, not 4 and 0",
    ),
    (
        set_attribute("conv1", "in_channels", 3),
        r"node 'conv1': codes must have the shape \[2, 17\], not \[2, 23\]",
    ),
    (
        set_attribute("conv1", "kernel_shape", [0, 3]),
        r"node 'conv1': kernel_shape must be positive, not \[0, 3\]",
    ),
    (set_attribute("conv0", "group", 3), r"node 'conv0': attribute 'group' must be 1, not 3"),
    (
        set_attribute("conv0", "dilations", [2, 2]),
        r"node 'conv0': attribute 'dilations' must be \[1, 1\], not \[2, 2\]",
    ),
    (
        set_attribute("conv0", "auto_pad", "SAME_UPPER"),
        r"node 'conv0': attribute 'auto_pad' must be b'NOTSET', not b'SAME_UPPER'",
    ),
    (
        set_attribute("conv0", "strides", [0, 1]),
        r"node 'conv0': window and strides must be positive, not \[3, 3\] and \[0, 1\]",
    ),
    (
        set_attribute("conv0", "strides", [1]),
        r"node 'conv0': attribute 'strides' must be 2 integers, not \[1\]",
    ),
    (
        set_attribute("conv0", "pads", [3, 0, 0, 0]),
        r"node 'conv0': pads must be in 0\.\.window - 1, not \[3, 0, 0, 0\]",
    ),
    (
        set_attribute("conv0", "pads", [-1, 0, 0, 0]),
        r"node 'conv0': pads must be in 0\.\.window - 1, not \[-1, 0, 0, 0\]",
    ),
    (
        set_attribute("max", "kernel_shape", [9, 9]),
        r"node 'max': window must fit the input, not \[9, 9\] on \[8, 6\]",
    ),
    (set_attribute("max", "ceil_mode", 1), r"node 'max': attribute 'ceil_mode' must be 0, not 1"),
    (
        set_attribute("half", "pads", [0, 0, 1, 1]),
        r"node 'half': attribute 'pads' must be \[0, 0, 0, 0\], not \[0, 0, 1, 1\]",
    ),
    (set_attribute("fc1", "transB", 0), r"node 'fc1': attribute 'transB' must be 1, not 0"),
    (set_attribute("fc1", "alpha", 0.5), r"node 'fc1': attribute 'alpha' must be 1\.0, not 0\.5"),
    (set_attribute("concat", "axis", 2), r"node 'concat': attribute 'axis' must be 1, not 2"),
    (set_attribute("flat", "axis", 0), r"node 'flat': attribute 'axis' must be 1, not 0"),
    (
        set_attribute("pad", "mode", "reflect"),
        r"node 'pad': attribute 'mode' must be b'constant', not b'reflect'",
    ),
    (
        set_attribute("bn0", "training_mode", 1),
        r"node 'bn0': attribute 'training_mode' must be 0, not 1",
    ),
]


@pytest.mark.parametrize(("change", "rule"), REFUSALS, ids=[rule for _, rule in REFUSALS])
def test_refusal(change: Callable[[onnx.ModelProto], None], rule: str) -> None:
    model = small_model()
    change(model)
    with pytest.raises(ModelError, match="^" + rule):
        import_bytes(model.SerializeToString())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file_is_refused(share: float) -> None:
    content = model_bytes(small_model())
    with pytest.raises(ModelError, match=r"^(model file must be|\w)"):
        import_bytes(content[: int(share * len(content))])


def test_empty_and_foreign_files_are_refused() -> None:
    with pytest.raises(ModelError, match=r"^model file must be an ONNX file with a graph, not an "):
        import_bytes(b"")
    with pytest.raises(ModelError, match=r"^model file must be a complete ONNX file, not 9 bytes"):
        import_bytes(b"\xff" * 9)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    with pytest.raises(
        ModelError, match=rf"^model file must be readable, not {re.escape(repr(str(path)))}: "
    ):
        import_model(path)


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(model_bytes(small_model()))
    assert import_model(path).name == "small"

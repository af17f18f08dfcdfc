"""QONNX files that cannot be read: one error that names the node and the rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from golden.graph import ModelError
from golden.lowering import lower
from golden.onnx_import import import_bytes
from tests.golden.qonnx_file import QONNX, File


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

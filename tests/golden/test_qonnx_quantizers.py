"""Uniform and binary quantizers: the same values as the QONNX definition, ties included."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from golden import graph as ir
from golden.graph import Encoding, ModelError
from golden.graph_execution import quantized
from golden.onnx_reader import NodeReader
from golden.qonnx_quantizers import QuantizedConstant, read_quantizer

SCALE = 0.25
FORMATS = [
    (bits, signed, narrow)
    for bits, signed, narrow in itertools.product(range(1, 9), (0, 1), (0, 1))
    if bits > 1 or not narrow
]


def definition(x: np.ndarray, scale: float, bits: int, signed: int, narrow: int) -> np.ndarray:
    """The QONNX specification of ``Quant`` with zero point 0 and rounding mode ROUND."""
    if signed and bits == 1:
        return np.where(x >= 0, scale, -scale)
    lowest = -(2 ** (bits - 1)) + narrow if signed else 0
    highest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    return np.round(np.clip(x / scale, lowest, highest)) * scale


def reader(
    operator: str,
    scale: object = SCALE,
    zero_point: float = 0.0,
    bits: float = 4.0,
    **attributes: object,
) -> NodeReader:
    stored = {
        "scale": np.asarray(scale, np.float32),
        "zero": np.float32(zero_point),
        "bits": np.asarray(bits, np.float32),
    }
    inputs = ["x", "scale"] if operator == "BipolarQuant" else ["x", "scale", "zero", "bits"]
    node: onnx.NodeProto = helper.make_node(operator, inputs, ["q"], **attributes)
    arrays = {name: np.asarray(value) for name, value in stored.items()}
    return NodeReader(node, {}, arrays, (1, 1, 1))


def quant(bits: int, signed: int, narrow: int, scale: object = SCALE) -> NodeReader:
    flags = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
    return reader("Quant", scale, bits=bits, **flags)


@pytest.mark.parametrize(("bits", "signed", "narrow"), FORMATS)
def test_activation_takes_the_defined_levels_ties_included(
    bits: int, signed: int, narrow: int
) -> None:
    node = read_quantizer(quant(bits, signed, narrow), constant=False).activation("q", "x", (1,))
    x = np.arange(-300, 600) * (SCALE / 2)  # every level, every midpoint, and beyond both ends
    expected = definition(x, SCALE, bits, signed, narrow)
    np.testing.assert_array_equal(quantized(node, torch.from_numpy(x)), expected)
    assert node.planes == bits
    assert node.sorted_levels()[0][0] == expected.min()
    assert node.sorted_levels()[0][-1] == expected.max()


@pytest.mark.parametrize(("bits", "signed", "narrow"), FORMATS)
def test_code_of_zeros_is_zero_so_that_padding_is_exact(
    bits: int, signed: int, narrow: int
) -> None:
    node = read_quantizer(quant(bits, signed, narrow), constant=False).activation("q", "x", (1,))
    if node.encoding is Encoding.SIGNED:
        assert (bits, signed) == (1, 1)  # lowering adds a plane that is one inside the image
        return
    levels, codes = node.sorted_levels()
    assert levels[codes == 0] == 0


def test_sign_of_zero_is_positive() -> None:
    node = read_quantizer(reader("BipolarQuant"), constant=False).activation("q", "x", (1,))
    x = np.array([-1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0])
    np.testing.assert_array_equal(
        quantized(node, torch.from_numpy(x)) / SCALE, [-1, -1, 1, 1, 1, 1]
    )


@pytest.mark.parametrize(("bits", "signed", "narrow"), FORMATS)
def test_weights_take_the_defined_levels_in_one_plane_a_bit_if_symmetric(
    bits: int, signed: int, narrow: int
) -> None:
    scales = np.array([0.25, 0.5, 1.0], np.float32)
    highest = 2 ** (bits - 1) - 1 if signed else (2**bits - 1 - narrow)
    lowest = 0 if not signed else -highest - (not narrow)
    symmetric = max(-lowest, highest)
    rng = np.random.default_rng(bits)
    x = rng.integers(-2 * symmetric - 2, 2 * symmetric + 3, (3, 400)) * (scales[:, None] / 2)
    x = x.astype(np.float32)
    node = quant(bits, signed, narrow, scales[:, None])
    quantizer = read_quantizer(node, constant=True)
    constant = QuantizedConstant("w", quantizer, quantizer.integers(x))
    expected = np.stack(
        [
            definition(row, scale, bits, signed, narrow)
            for row, scale in zip(x, scales.tolist(), strict=True)
        ]
    )
    np.testing.assert_array_equal(constant.values, expected)
    if symmetric > 127:
        with pytest.raises(ModelError, match="must be integers of -127..127 times the scale"):
            constant.weights(node)
        return
    weights = constant.weights(node)
    np.testing.assert_array_equal(weights.values, expected)
    symmetric_range = signed and (narrow or bits == 1)
    assert len(weights.planes) == (bits if symmetric_range else bits + 1)


def test_weights_take_fewer_planes_where_the_extremes_are_not_used() -> None:
    quantizer = read_quantizer(quant(8, 1, 0), constant=True)
    integers = np.array([[-5, 0, 5, 3]])
    weights = QuantizedConstant("w", quantizer, integers).weights(quant(8, 1, 0))
    np.testing.assert_array_equal(weights.values, integers * SCALE)
    np.testing.assert_array_equal(weights.basis[:, 0] / SCALE, [0.5, 1, 2, 1.5])


def test_weights_of_zeros_are_one_plane() -> None:
    quantizer = read_quantizer(quant(4, 1, 1), constant=True)
    weights = QuantizedConstant("w", quantizer, np.zeros((2, 3), int)).weights(quant(4, 1, 1))
    assert weights.planes.shape == (1, 2, 3)
    assert not weights.values.any()


def test_transposed_weights_keep_the_scale_of_each_column() -> None:
    scale = np.array([[0.25, 1.0]], np.float32)
    node = quant(3, 1, 1, scale)
    quantizer = read_quantizer(node, constant=True)
    integers = np.array([[1, 2], [3, -3], [0, 1]])
    weights = QuantizedConstant("w", quantizer, integers).transposed().weights(node)
    np.testing.assert_array_equal(weights.values, (integers * scale).T)


@pytest.mark.parametrize("shape", [(1, 3), (3,), (3, 3)])
def test_weight_scale_along_other_axes_is_refused(shape: tuple[int, ...]) -> None:
    node = quant(3, 1, 1, np.ones(shape))
    quantizer = read_quantizer(node, constant=True)
    constant = QuantizedConstant("w", quantizer, np.ones((3, 3), int))
    with pytest.raises(ModelError, match=r"weight scale of 'w' must be one number, or one per out"):
        constant.weights(node)


def test_biases_may_have_up_to_32_bits() -> None:
    quantizer = read_quantizer(quant(32, 1, 0), constant=True)
    assert quantizer.quantized(np.float32([1000.1])).tolist() == [1000.0]


@pytest.mark.parametrize(
    ("node", "constant", "text"),
    [
        (reader("Quant", bits=9.0), False, "bit width must be one whole number in 1..8, not [9.0]"),
        (reader("Quant", bits=33.0), True, "bit width must be one whole number in 1..32"),
        (reader("Quant", bits=2.5), False, "bit width must be one whole number in 1..8"),
        (reader("Quant", zero_point=3.0), False, "zero point must be 0, not [3.0]"),
        (reader("Quant", scale=0.0), False, "scale must be positive, not 0"),
        (reader("Quant", scale=-1.0), True, "scale must be positive, not -1"),
        (reader("BipolarQuant", scale=0.0), False, "scale must be positive, not 0"),
        (
            reader("Quant", scale=[1.0, 2.0]),
            False,
            "scale of an activation must be one number, not of the shape [2]",
        ),
        (
            reader("Quant", rounding_mode="FLOOR"),
            False,
            "attribute 'rounding_mode' must be ROUND, not FLOOR",
        ),
        (reader("Quant", signed=2), False, "attribute 'signed' must be 0 or 1, not 2"),
        (reader("Quant", bits=1.0, signed=0, narrow=1), False, "must have 2 bits or more"),
    ],
)
def test_other_quantizers_are_refused(node: NodeReader, constant: bool, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_quantizer(node, constant=constant)
    assert str(caught.value).startswith("node 'q': ")
    assert text in str(caught.value)


def test_ties_reach_the_integer_thresholds() -> None:
    node = read_quantizer(quant(3, 1, 0), constant=False).activation("q", "x", (1,))
    assert isinstance(node, ir.LearnedActivation)
    # From odd levels a half goes up: -3.5 stays at -4, -2.5 goes to -2, and so on.
    levels = np.rint(node.sorted_levels()[0] / SCALE)
    np.testing.assert_array_equal(levels, np.arange(-4, 4))
    assert node.inclusive == (False, True, False, True, False, True, False)

"""Model-local ONNX functions of the ``lqnets`` domain, version 1.

Every learned quantizer and quantized layer of an exported file is one node that calls one of
these functions. Their bodies are standard operators, so stock ONNX runtimes execute the file.

Packed codes are uint8 [K, ceil(n / 8)] for the n weights in the order [Cout, Cin, kh, kw]: row i
holds bit i of every code, most significant bit first within a byte; a one stands for +1.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    helper,
)

from golden.onnx_function_parts import (
    DOMAIN,
    OPSET,
    attribute_constant,
    constant,
    function,
    scalar,
)

__all__ = ["DOMAIN", "DOMAIN_VERSION", "IR_VERSION", "OPSET", "functions", "opset_imports"]

DOMAIN_VERSION = 1
IR_VERSION = 10

OFFSET = 128.0
SCALE = 128.0
"""Pixel p enters the network as (p - OFFSET) / SCALE."""


def opset_imports() -> list[OperatorSetIdProto]:
    """Operator sets that a file of this format imports."""
    return [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]


def functions(used: Collection[str] = ()) -> list[FunctionProto]:
    """The functions of a file, in alphabetical order.

    Args:
        used: Operators of the file: those that not every file has come only with it.
    """
    always = [_image_input(), _learned_activation(), _quantized_conv(), _quantized_linear()]
    others = {"FixedPoint": _fixed_point, "HalfLinear": _half_linear}
    added = [body() for name, body in others.items() if name in used]
    return sorted([*always, *added], key=lambda function: function.name)


def _image_input() -> FunctionProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planar"], perm=[0, 3, 1, 2]),
        scalar("offset", OFFSET, TensorProto.FLOAT),
        scalar("scale", SCALE, TensorProto.FLOAT),
        helper.make_node("Sub", ["planar", "offset"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["y"]),
    ]
    return function(
        "ImageInput",
        ["images"],
        [],
        nodes,
        "Raw pixels uint8 [N,H,W,C] -> (pixel - 128) / 128, float32 [N,C,H,W].",
    )


def _fixed_point() -> FunctionProto:
    nodes = [
        scalar("two", 2.0, TensorProto.FLOAT),
        scalar("half", 0.5, TensorProto.FLOAT),
        scalar("one", 1.0, TensorProto.FLOAT),
    ]
    for name in ("fraction", "bits"):
        nodes.append(attribute_constant(f"{name}_integer", "value_int", name))
        nodes.append(helper.make_node("Cast", [f"{name}_integer"], [name], to=TensorProto.FLOAT))
    nodes += [
        helper.make_node("Pow", ["two", "fraction"], ["scale"]),
        helper.make_node("Sub", ["bits", "one"], ["magnitude_bits"]),
        helper.make_node("Pow", ["two", "magnitude_bits"], ["limit"]),
        helper.make_node("Sub", ["limit", "one"], ["high"]),
        helper.make_node("Neg", ["limit"], ["low"]),
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["raised"]),
        helper.make_node("Floor", ["raised"], ["whole"]),
        helper.make_node("Clip", ["whole", "low", "high"], ["limited"]),
        helper.make_node("Div", ["limited", "scale"], ["y"]),
    ]
    return function(
        "FixedPoint",
        ["x"],
        ["fraction", "bits"],
        nodes,
        "Rounded to a multiple of 2^-fraction, halves upward, saturated to 'bits' signed bits.",
    )


def _half_linear() -> FunctionProto:
    nodes = [
        helper.make_node("Cast", ["weight"], ["weight_float"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["x", "weight_float", "bias"], ["y"], transB=1),
    ]
    text = "Matrix product with weights [out, in] that are stored as float16."
    return function("HalfLinear", ["x", "weight", "bias"], [], nodes, text)


def _weight_nodes(shape: str) -> list[NodeProto]:
    """Nodes that turn ``codes`` and ``basis`` into float ``weight`` of the shape ``shape``.

    The sum over planes is made in double precision and rounded once, as in the float network.
    """
    return [
        helper.make_node("ReduceProd", [shape], ["count"], keepdims=1),
        constant("last_axis", value_ints=[2]),
        helper.make_node("Unsqueeze", ["codes", "last_axis"], ["bytes"]),
        constant(
            "shifts",
            value=helper.make_tensor("shifts", TensorProto.UINT8, [8], list(range(7, -1, -1))),
        ),
        helper.make_node("BitShift", ["bytes", "shifts"], ["shifted"], direction="RIGHT"),
        scalar("lowest_bit", 1, TensorProto.UINT8),
        helper.make_node("BitwiseAnd", ["shifted", "lowest_bit"], ["bits"]),
        attribute_constant("planes_scalar", "value_int", "weight_bits"),
        constant("axis_0", value_ints=[0]),
        constant("axis_1", value_ints=[1]),
        helper.make_node("Unsqueeze", ["planes_scalar", "axis_0"], ["planes"]),
        constant("rest", value_ints=[-1]),
        helper.make_node("Concat", ["planes", "rest"], ["rows_shape"], axis=0),
        helper.make_node("Reshape", ["bits", "rows_shape"], ["rows"]),
        helper.make_node("Slice", ["rows", "axis_0", "count", "axis_1"], ["used"]),
        helper.make_node("Cast", ["used"], ["ones"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["ones", "ones"], ["doubled"]),
        scalar("one", 1.0, TensorProto.DOUBLE),
        helper.make_node("Sub", ["doubled", "one"], ["signs"]),
        attribute_constant("out_scalar", "value_int", "out_channels"),
        helper.make_node("Unsqueeze", ["out_scalar", "axis_0"], ["out"]),
        helper.make_node("Concat", ["planes", "out", "rest"], ["grouped_shape"], axis=0),
        helper.make_node("Reshape", ["signs", "grouped_shape"], ["grouped"]),
        helper.make_node("Cast", ["basis"], ["basis_double"], to=TensorProto.DOUBLE),
        helper.make_node("Unsqueeze", ["basis_double", "last_axis"], ["basis_column"]),
        helper.make_node("Mul", ["grouped", "basis_column"], ["scaled"]),
        helper.make_node("ReduceSum", ["scaled", "axis_0"], ["flat"], keepdims=0),
        helper.make_node("Cast", ["flat"], ["flat_float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["flat_float", shape], ["weight"]),
    ]


def _channels(outputs: tuple[str, str]) -> list[NodeProto]:
    """Output and input channel counts as one-element tensors."""
    nodes = [constant("first_axis", value_ints=[0])]
    for output, name in zip(outputs, ("out_channels", "in_channels"), strict=True):
        nodes.append(attribute_constant(f"{output}_scalar", "value_int", name))
        nodes.append(helper.make_node("Unsqueeze", [f"{output}_scalar", "first_axis"], [output]))
    return nodes


def _quantized_conv() -> FunctionProto:
    convolution = helper.make_node("Conv", ["x", "weight", "bias"], ["y"])
    for name in ("kernel_shape", "strides", "pads"):
        convolution.attribute.append(
            AttributeProto(name=name, ref_attr_name=name, type=AttributeProto.INTS)
        )
    nodes = [
        *_channels(("rows_out", "columns_in")),
        attribute_constant("kernel", "value_ints", "kernel_shape"),
        helper.make_node("Concat", ["rows_out", "columns_in", "kernel"], ["shape"], axis=0),
        *_weight_nodes("shape"),
        convolution,
    ]
    return function(
        "QuantizedConv",
        ["x", "codes", "basis", "bias"],
        ["kernel_shape", "strides", "pads", "weight_bits", "in_channels", "out_channels"],
        nodes,
        "Convolution with weights sum_i basis[i,c] * (2 * bit_i - 1); codes are packed bits "
        "[K, bytes], basis is [K, Cout], bias is [Cout].",
    )


def _quantized_linear() -> FunctionProto:
    nodes = [
        *_channels(("rows_out", "columns_in")),
        helper.make_node("Concat", ["rows_out", "columns_in"], ["shape"], axis=0),
        *_weight_nodes("shape"),
        helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], transB=1),
    ]
    return function(
        "QuantizedLinear",
        ["x", "codes", "basis", "bias"],
        ["weight_bits", "in_channels", "out_channels"],
        nodes,
        "Matrix product with weights sum_i basis[i,c] * (2 * bit_i - 1); codes are packed bits "
        "[K, bytes], basis is [K, Cout], bias is [Cout].",
    )


def _level_nodes() -> list[NodeProto]:
    """Nodes that turn ``basis`` [K] into ascending float ``levels`` [2^K]."""
    return [
        attribute_constant("bits_scalar", "value_int", "bits"),
        attribute_constant("encoding_name", "value_string", "encoding"),
        scalar("zero", 0, TensorProto.INT64),
        scalar("one", 1, TensorProto.INT64),
        scalar("two", 2, TensorProto.INT64),
        helper.make_node("Pow", ["two", "bits_scalar"], ["level_count"]),
        helper.make_node("Range", ["zero", "level_count", "one"], ["numbers"]),
        helper.make_node("Range", ["zero", "bits_scalar", "one"], ["places"]),
        helper.make_node("Pow", ["two", "places"], ["weights"]),
        constant("last_axis", value_ints=[1]),
        constant("axis_0", value_ints=[0]),
        helper.make_node("Unsqueeze", ["numbers", "last_axis"], ["number_column"]),
        helper.make_node("Div", ["number_column", "weights"], ["shifted"]),
        helper.make_node("Mod", ["shifted", "two"], ["code_bits"]),
        helper.make_node("Cast", ["code_bits"], ["ones"], to=TensorProto.DOUBLE),
        constant("signed_name", value_string="signed"),
        helper.make_node("Equal", ["encoding_name", "signed_name"], ["is_signed"]),
        scalar("plain", 1.0, TensorProto.DOUBLE),
        scalar("twice", 2.0, TensorProto.DOUBLE),
        scalar("nothing", 0.0, TensorProto.DOUBLE),
        helper.make_node("Where", ["is_signed", "twice", "plain"], ["step"]),
        helper.make_node("Where", ["is_signed", "plain", "nothing"], ["lowest"]),
        helper.make_node("Mul", ["ones", "step"], ["stepped"]),
        helper.make_node("Sub", ["stepped", "lowest"], ["code_table"]),
        helper.make_node("Cast", ["basis"], ["basis_double"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["code_table", "basis_double"], ["level_sums"]),
        helper.make_node("Cast", ["level_sums"], ["unsorted"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["level_count", "axis_0"], ["level_counts"]),
        helper.make_node(
            "TopK", ["unsorted", "level_counts"], ["levels", "order"], axis=0, largest=0, sorted=1
        ),
    ]


def _search_body() -> GraphProto:
    """One halving step of a binary search: index += step where x > thresholds[index + step - 1]."""
    nodes = [
        helper.make_node("Add", ["index", "step"], ["candidate"]),
        helper.make_node("Sub", ["candidate", "one"], ["below"]),
        helper.make_node("Gather", ["thresholds", "below"], ["threshold"], axis=0),
        helper.make_node("Greater", ["x", "threshold"], ["above"]),
        helper.make_node("Where", ["above", "candidate", "index"], ["index_next"]),
        helper.make_node("Div", ["step", "two"], ["step_next"]),
        helper.make_node("Identity", ["condition"], ["condition_next"]),
    ]
    return helper.make_graph(
        nodes,
        "search",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("index", TensorProto.INT64, None),
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("condition_next", TensorProto.BOOL, []),
            helper.make_tensor_value_info("index_next", TensorProto.INT64, None),
            helper.make_tensor_value_info("step_next", TensorProto.INT64, []),
        ],
    )


def _learned_activation() -> FunctionProto:
    nodes = [
        *_level_nodes(),
        constant("ends", value_ints=[2**62]),
        constant("starts", value_ints=[1]),
        constant("minus_one", value_ints=[-1]),
        helper.make_node("Slice", ["levels", "starts", "ends"], ["upper"]),
        helper.make_node("Slice", ["levels", "axis_0", "minus_one"], ["lower"]),
        helper.make_node("Add", ["upper", "lower"], ["sums"]),
        scalar("two_float", 2.0, TensorProto.FLOAT),
        helper.make_node("Div", ["sums", "two_float"], ["thresholds"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node(
            "ConstantOfShape",
            ["shape"],
            ["index_start"],
            value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        ),
        helper.make_node("Div", ["level_count", "two"], ["step_start"]),
        scalar("always", True, TensorProto.BOOL),
        helper.make_node(
            "Loop",
            ["bits_scalar", "always", "index_start", "step_start"],
            ["index_end", "step_end"],
            body=_search_body(),
        ),
        helper.make_node("Gather", ["levels", "index_end"], ["y"], axis=0),
    ]
    return function(
        "LearnedActivation",
        ["x", "basis"],
        ["bits", "encoding"],
        nodes,
        "Nearest of the 2^bits levels code . basis: the number of level midpoints strictly below "
        "x selects it. Code bits are 0/1 ('unsigned') or -1/+1 ('signed').",
    )

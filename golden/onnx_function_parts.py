"""Building blocks of the bodies of :mod:`golden.onnx_functions`."""

from __future__ import annotations

from onnx import AttributeProto, FunctionProto, NodeProto, helper

__all__ = ["DOMAIN", "OPSET", "attribute_constant", "constant", "function", "scalar"]

DOMAIN = "lqnets"
OPSET = 20
"""Version of the standard operators, in the file and in the function bodies."""


def constant(output: str, **attribute: object) -> NodeProto:
    """A constant with the value that one attribute of the operator gives."""
    return helper.make_node("Constant", [], [output], **attribute)


def attribute_constant(output: str, kind: str, name: str) -> NodeProto:
    """A constant whose value is the attribute ``name`` of the calling node."""
    node = helper.make_node("Constant", [], [output])
    reference = AttributeProto(
        name=kind,
        ref_attr_name=name,
        type={
            "value_int": AttributeProto.INT,
            "value_ints": AttributeProto.INTS,
            "value_string": AttributeProto.STRING,
        }[kind],
    )
    node.attribute.append(reference)
    return node


def scalar(output: str, value: float, kind: int) -> NodeProto:
    """A constant without axes, of a ``TensorProto`` type."""
    return constant(output, value=helper.make_tensor(output, kind, [], [value]))


def function(
    name: str,
    inputs: list[str],
    attributes: list[str],
    nodes: list[NodeProto],
    text: str,
) -> FunctionProto:
    """A function of the domain with the one output ``y``."""
    proto = helper.make_function(
        DOMAIN,
        name,
        inputs,
        ["y"],
        nodes,
        [helper.make_opsetid("", OPSET)],
        attributes,
    )
    proto.doc_string = text
    return proto

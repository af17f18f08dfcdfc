"""Fewer planes for the full-precision weights of a network that was exported before."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from golden.float_weights import rounded_weights
from golden.graph import ModelError

__all__ = ["round_model"]

FULL_PRECISION = ("Conv", "Gemm")
"""Operators whose second input is float weights [Cout, ...]; quantized ones are functions."""


def round_model(
    model: onnx.ModelProto, *, bits: int = 8, first_layer_bits: int | None = None
) -> None:
    """Round the weights that are not quantized, in place, as ``golden.export`` does.

    All else stays, so that training can go on from the file; only its ranges are to be measured
    anew.

    Args:
        model: A file of :mod:`golden.export`.
        bits: Planes of the weights.
        first_layer_bits: Those of layers that read the image; ``bits`` if None.

    Raises:
        ModelError: The file is of another program.
    """
    if "lqnets_format" not in {entry.key for entry in model.metadata_props}:
        raise ModelError("model must be a file of `lqfpga export` for its weights to be rounded")
    weights = {entry.name: entry for entry in model.graph.initializer}
    images = {node.output[0] for node in model.graph.node if node.op_type == "ImageInput"}
    for node in model.graph.node:
        if node.op_type == "HalfLinear":
            _widen(node, weights[node.input[1]])
        if node.op_type in FULL_PRECISION:
            is_first = node.input[0] in images and first_layer_bits is not None
            stored = weights[node.input[1]]
            values = numpy_helper.to_array(stored).astype(np.float64)
            rounded = rounded_weights(values, first_layer_bits if is_first else bits)
            if not np.array_equal(rounded, values):
                stored.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), stored.name))


def _widen(node: onnx.NodeProto, weights: onnx.TensorProto) -> None:
    """Make of a matrix product with float16 weights one with float32 weights, which holds any."""
    node.op_type, node.domain = "Gemm", ""
    node.attribute.append(helper.make_attribute("transB", 1))
    values = numpy_helper.to_array(weights).astype(np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))

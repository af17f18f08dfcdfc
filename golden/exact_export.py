"""Exported files whose network the hardware computes exactly."""

from __future__ import annotations

import numpy as np
import onnx

from golden.exact_parameters import exact_graph
from golden.export import add_ranges, model_bytes
from golden.graph_export import graph_model
from golden.model_rounding import round_model
from golden.onnx_import import import_bytes

__all__ = ["exact_model"]


def exact_model(
    model: onnx.ModelProto,
    images: np.ndarray,
    *,
    bits: int = 8,
    first_layer_bits: int | None = None,
) -> onnx.ModelProto:
    """The exported network with numbers that the hardware holds as they are.

    Args:
        model: A file of :mod:`golden.export`; it is left as it was.
        images: uint8 [N, height, width, channels] that choose the formats.
        bits: Planes of weights that are not quantized.
        first_layer_bits: Those of layers that read the image; ``bits`` if None.

    Raises:
        ModelError: The file is of another program, or its network cannot be lowered.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    round_model(rounded, bits=bits, first_layer_bits=first_layer_bits)
    add_ranges(rounded, images)
    originals = import_bytes(model_bytes(model))
    exact = graph_model(exact_graph(import_bytes(model_bytes(rounded)), originals))
    add_ranges(exact, images)
    return exact

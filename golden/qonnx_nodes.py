"""Reading of single nodes of QONNX files, one function per supported operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import TensorProto

from golden import graph
from golden.graph import Node
from golden.onnx_nodes import READERS as STANDARD_READERS
from golden.onnx_nodes import finish_convolution, finish_linear
from golden.onnx_reader import NodeReader
from golden.qonnx_image import Pixels, fold_pixels
from golden.qonnx_quantizers import QuantizedConstant, read_quantizer

__all__ = ["READERS", "QonnxReader", "Result", "Tensors"]

Result = Node | QuantizedConstant | np.ndarray | str
"""What a node writes: a tensor, a stored one, or the name of the tensor that it hands on."""


@dataclass
class Tensors:
    """All tensors of a file so far, by name."""

    image: graph.Image
    constants: dict[str, np.ndarray]
    """Stored ones, also those behind a quantizer."""
    quantized: dict[str, QuantizedConstant] = field(default_factory=dict)
    """The stored ones behind a quantizer."""
    pixels: dict[str, Pixels] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    """All others, in execution order."""


class QonnxReader(NodeReader):
    """One node of a QONNX file.

    Args:
        proto: The node.
        tensors: The tensors so far.
    """

    def __init__(self, proto: onnx.NodeProto, tensors: Tensors) -> None:
        channels, height, width = tensors.image.shape
        nodes = tensors.nodes | tensors.pixels
        super().__init__(proto, nodes, tensors.constants, (height, width, channels))
        self._tensors = tensors

    def pixels(self, index: int = 0) -> Pixels | None:
        """An input, if it depends on single pixels only."""
        return self._tensors.pixels.get(self.inputs[index])

    def constant(self, index: int) -> np.ndarray | None:
        """An input, if it is stored."""
        return self._tensors.constants.get(self.inputs[index]) if self.has(index) else None

    def quantized(self, index: int) -> QuantizedConstant | None:
        """An input, if it is stored behind a quantizer."""
        return self._tensors.quantized.get(self.inputs[index]) if self.has(index) else None

    def weights(self, axes: int, transposed: bool = False) -> graph.Weights:
        """The second input as weights [Cout, ...]; ``transposed`` ones are stored [Cin, Cout]."""
        values = self.parameter(1, "weight")
        self.require(values.ndim == axes, f"weight must have {axes} axes, not {values.ndim}")
        quantized = self.quantized(1)
        if quantized is not None:
            return (quantized.transposed() if transposed else quantized).weights(self)
        return graph.FloatWeights(values.T if transposed else values)

    def per_channel(self, index: int) -> np.ndarray:
        """A stored input as one number per channel of the first data input (float32)."""
        values = self.parameter(index, "operand").astype(np.float32)
        shape = self.shape(1 - index)
        axes = 1 + len(shape)
        aligned = values.reshape((1,) * (axes - values.ndim) + values.shape)
        self.require(
            aligned.ndim == axes
            and aligned.size == aligned.shape[1]
            and aligned.shape[1] in (1, shape[0]),
            f"stored operand must be one number, or one per channel, not {list(values.shape)}",
        )
        return np.broadcast_to(aligned.reshape(-1), shape[:1])


def _quantizer(reader: QonnxReader) -> Result:
    stored = reader.constant(0)
    quantizer = read_quantizer(reader, constant=stored is not None)
    if stored is not None:
        values = reader.parameter(0, "stored tensor").astype(np.float32)
        scale = quantizer.scale.shape
        fits = all(
            a in (1, b) for a, b in zip(reversed(scale), reversed(values.shape), strict=False)
        )
        reader.require(
            fits and len(scale) <= values.ndim,
            f"scale must fit the tensor {list(values.shape)}, not {list(scale)}",
        )
        return QuantizedConstant(reader.name, quantizer, quantizer.integers(values))
    pixels = reader.pixels()
    if pixels is not None:
        return replace(pixels, name=reader.name, table=quantizer.quantized(pixels.table))
    return quantizer.activation(reader.name, *reader.data(1), reader.shape())


def _convolution(reader: QonnxReader) -> Result:
    reader.forbid(group=1)
    layer = finish_convolution(reader, reader.weights(4), 2)
    return _without_pixels(reader, layer, any(layer.padding))


def _gemm(reader: QonnxReader) -> Result:
    reader.forbid(alpha=1.0, beta=1.0, transA=0)
    transposed = reader.integer("transB", 0) == 0
    return _without_pixels(reader, finish_linear(reader, reader.weights(2, transposed), 2), False)


def _matmul(reader: QonnxReader) -> Result:
    return _without_pixels(reader, finish_linear(reader, reader.weights(2, True), 2), False)


def _without_pixels(
    reader: QonnxReader, layer: graph.Convolution | graph.Linear, padded: bool
) -> Node:
    """The layer on the accelerator's image, if it is on an image."""
    pixels = reader.pixels()
    if pixels is None:
        return layer
    weights, bias = fold_pixels(reader, pixels, layer.weights, layer.bias, padded)
    return replace(layer, weights=weights, bias=bias)


def _add(reader: QonnxReader) -> Result:
    for index in (0, 1):
        if reader.constant(index) is not None:
            return _affine(reader, 1 - index, 1.0, reader.per_channel(index))
    return STANDARD_READERS["", "Add"](reader)


def _subtract(reader: QonnxReader) -> Result:
    if reader.constant(0) is not None:
        return _affine(reader, 1, -1.0, reader.per_channel(0))
    return _affine(reader, 0, 1.0, -reader.per_channel(1))


def _multiply(reader: QonnxReader) -> Result:
    index = 0 if reader.constant(0) is not None else 1
    return _affine(reader, 1 - index, reader.per_channel(index), 0.0)


def _divide(reader: QonnxReader) -> Result:
    divisor = reader.per_channel(1)
    reader.require(bool(divisor.all()), "divisor must not be 0")
    return _affine(reader, 0, 1 / divisor.astype(np.float64), 0.0)


def _affine(
    reader: QonnxReader, index: int, scale: np.ndarray | float, offset: np.ndarray | float
) -> Result:
    """``x * scale + offset`` per channel of the input ``index``."""
    shape, source = reader.shape(index), reader.inputs[index]
    scales = np.full(shape[:1], scale, np.float64)
    offsets = np.full(shape[:1], offset, np.float64)
    pixels = reader.pixels(index)
    if pixels is not None:
        reader.require(len(shape) == 3, "a flattened image must be read by a matrix product")
        table = pixels.table * scales[:, None] + offsets[:, None]
        return replace(pixels, name=reader.name, table=table.astype(np.float32))
    return graph.BatchNorm(
        name=reader.name, inputs=(source,), shape=shape, scale=scales, offset=offsets
    )


def _reshape(reader: QonnxReader) -> Result:
    features = int(np.prod(reader.shape()))
    target = reader.parameter(1, "shape", (2,), np.int64).tolist()
    reader.require(
        target[0] in (-1, 0, 1) and target[1] in (-1, features) and target != [-1, -1],
        f"shape must be [batch, {features}], not {target}",
    )
    return _flatten(reader)


def _flatten(reader: QonnxReader) -> Result:
    if len(reader.shape()) == 1:
        return reader.inputs[0]
    flat = STANDARD_READERS["", "Flatten"](reader)
    pixels = reader.pixels()
    return flat if pixels is None else replace(pixels, name=reader.name, shape=flat.shape)


def _reduce_mean(reader: QonnxReader) -> Result:
    """The mean over height and width; whether it keeps these axes makes no difference here."""
    if reader.has(1):
        axes = reader.parameter(1, "axes", (2,), np.int64).tolist()
    else:
        axes = reader.integers("axes", 2)
    reader.require(
        sorted(axis % 4 for axis in axes) == [2, 3], f"axes must be height and width, not {axes}"
    )
    return STANDARD_READERS["", "GlobalAveragePool"](reader)


def _cast(reader: QonnxReader) -> Result:
    kind = reader.integer("to")
    reader.require(
        kind == TensorProto.FLOAT,
        f"attribute 'to' must be FLOAT, not {TensorProto.DataType.Name(kind)}",
    )
    return _identity(reader)


def _identity(reader: QonnxReader) -> Result:
    reader.shape()
    return reader.inputs[0]


def _transpose(reader: QonnxReader) -> Result:
    axes = reader.integers("perm", 2)
    reader.require(axes == [1, 0], f"attribute 'perm' must be [1, 0], not {axes}")
    values = reader.parameter(0, "matrix")
    reader.require(values.ndim == 2, f"matrix must have 2 axes, not {values.ndim}")
    quantized = reader.quantized(0)
    return values.astype(np.float32).T if quantized is None else quantized.transposed()


def _standard(operator: str) -> Callable[[QonnxReader], Result]:
    return STANDARD_READERS["", operator]


READERS: dict[str, Callable[[QonnxReader], Result]] = {
    "BipolarQuant": _quantizer,
    "IntQuant": _quantizer,
    "Quant": _quantizer,
    "Add": _add,
    "AveragePool": _standard("AveragePool"),
    "BatchNormalization": _standard("BatchNormalization"),
    "Cast": _cast,
    "Concat": _standard("Concat"),
    "Conv": _convolution,
    "Div": _divide,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _standard("GlobalAveragePool"),
    "Identity": _identity,
    "MatMul": _matmul,
    "MaxPool": _standard("MaxPool"),
    "Mul": _multiply,
    "Pad": _standard("Pad"),
    "ReduceMean": _reduce_mean,
    "Relu": _standard("Relu"),
    "Reshape": _reshape,
    "Sub": _subtract,
    "Transpose": _transpose,
}
"""Reader per operator; those before ``Add`` are of a QONNX domain, the others standard."""

"""Import of QONNX files, as Brevitas exports them, into a :class:`golden.graph.Graph`.

QONNX is ONNX with quantizers as operators (``Quant``, ``BipolarQuant``) on float tensors. Here a
quantizer of a stored tensor becomes coded weights, any other one an activation; everything else is
read as from the project's own files. ``docs/import.md`` says what is read and what is refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from golden import graph as ir
from golden.graph import Graph, ModelError, Node
from golden.onnx_nodes import MAX_IMAGE_CHANNELS
from golden.onnx_reader import read_initializers
from golden.qonnx_image import Pixels, normalised_pixels
from golden.qonnx_nodes import READERS, QonnxReader, Result, Tensors
from golden.qonnx_quantizers import QuantizedConstant
from golden.qonnx_rewrite import rewrite

__all__ = ["is_qonnx", "read_qonnx"]

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
"""Domains that the quantizers have had."""

QUANTIZERS = ("BipolarQuant", "IntQuant", "Quant")


def is_qonnx(model: onnx.ModelProto) -> bool:
    """Whether a node of the file is of a QONNX domain."""
    return any(node.domain in DOMAINS for node in model.graph.node)


def read_qonnx(model: onnx.ModelProto) -> Graph:
    """The network of a QONNX file.

    Raises:
        ModelError: If the file has something that cannot be read; the text names the node.
    """
    proto = model.graph
    constants = read_initializers(proto)
    image, table = _image(proto, constants)
    tensors = Tensors(image, constants)
    tensors.nodes[image.name] = image
    tensors.pixels[image.name] = Pixels(name=image.name, inputs=(), shape=image.shape, table=table)
    importer = _Importer(tensors)
    for node in proto.node:
        importer.read(node)
    outputs = [importer.resolved(entry.name) for entry in proto.output]
    if len(outputs) != 1 or outputs[0] not in tensors.nodes or outputs[0] == image.name:
        raise ModelError(f"graph outputs must be one tensor of a node, not {outputs}")
    nodes = tuple(tensors.nodes.values())
    return rewrite(Graph(name=proto.name, nodes=nodes, output=outputs[0]))


def _image(proto: onnx.GraphProto, constants: dict[str, np.ndarray]) -> tuple[ir.Image, np.ndarray]:
    """The only input that is not stored, and its table: raw pixels, or normalised ones."""
    inputs = [entry for entry in proto.input if entry.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(entry.name) for entry in inputs)
        raise ModelError(f"graph inputs must be one image, not {names or 'none'}")
    name, kind = inputs[0].name, inputs[0].type.tensor_type
    sizes = [dimension.dim_value for dimension in kind.shape.dim]
    if len(sizes) != 4 or min(sizes[1:]) < 1 or sizes[1] > MAX_IMAGE_CHANNELS:
        raise ModelError(
            f"input {name!r} must have the shape [N, 1..{MAX_IMAGE_CHANNELS}, height, width], "
            f"not {sizes}"
        )
    table = normalised_pixels(sizes[1])
    if kind.elem_type == TensorProto.UINT8:
        table = np.tile(np.arange(256, dtype=np.float32), (sizes[1], 1))
    elif kind.elem_type != TensorProto.FLOAT:
        found = TensorProto.DataType.Name(kind.elem_type)
        raise ModelError(f"input {name!r} must be UINT8 or FLOAT, not {found}")
    return ir.Image(name=name, inputs=(), shape=tuple(sizes[1:])), table


class _Importer:
    """Reads the nodes of a file in their order."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._aliases: dict[str, str] = {}

    def resolved(self, name: str) -> str:
        """The tensor that ``name`` hands on, or itself."""
        return self._aliases.get(name, name)

    def read(self, original: onnx.NodeProto) -> None:
        """Take in one node."""
        proto = onnx.NodeProto()
        proto.CopyFrom(original)
        name = proto.output[0] if proto.output else proto.name
        for index, tensor in enumerate(proto.input):
            proto.input[index] = self.resolved(tensor)
        if proto.op_type == "Constant" and not proto.domain:
            self._store(name, _constant(proto, name))
            return
        reader = READERS.get(proto.op_type)
        domains = DOMAINS if proto.op_type in QUANTIZERS else ("",)
        if reader is None or proto.domain not in domains:
            operator = ".".join(part for part in (proto.domain, proto.op_type) if part)
            supported = ", ".join(sorted(READERS))
            raise ModelError(f"node {name!r}: operator must be one of {supported}, not {operator}")
        outputs = [output for output in proto.output if output]
        if len(outputs) != 1:
            raise ModelError(f"node {name!r}: outputs must be 1, not {len(outputs)}")
        self._store(name, reader(QonnxReader(proto, self._tensors)))

    def _store(self, name: str, result: Result) -> None:
        tensors = self._tensors
        written = (tensors.nodes, tensors.pixels, tensors.constants, self._aliases)
        if any(name in names for names in written):
            raise ModelError(f"node {name!r}: output must be written once, not again")
        if isinstance(result, str):
            self._aliases[name] = result
        elif isinstance(result, np.ndarray):
            tensors.constants[name] = result
        elif isinstance(result, QuantizedConstant):
            tensors.quantized[name] = result
            tensors.constants[name] = result.values
        elif isinstance(result, Pixels):
            tensors.pixels[name] = result
        else:
            tensors.nodes[name] = self._on_image(result)

    def _on_image(self, node: Node) -> Node:
        """``node``, reading the image itself if it reads something made of its pixels."""
        tensors = self._tensors
        if not any(tensor in tensors.pixels for tensor in node.inputs):
            return node
        if isinstance(node, ir.Convolution):
            return replace(node, inputs=(tensors.image.name,))
        if not isinstance(node, ir.Linear):
            raise ModelError(
                f"node {node.name!r}: operator on the image must be a convolution or a matrix "
                f"product, not {type(node).__name__}"
            )
        flat = f"{tensors.image.name}.flat"
        shape = (int(np.prod(tensors.image.shape)),)
        tensors.nodes[flat] = ir.Flatten(name=flat, inputs=(tensors.image.name,), shape=shape)
        return replace(node, inputs=(flat,))


def _constant(proto: onnx.NodeProto, name: str) -> np.ndarray:
    for attribute in proto.attribute:
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        if attribute.name == "value_float":
            return np.array(attribute.f, np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.array(attribute.ints or attribute.i, np.int64)
    raise ModelError(f"node {name!r}: constant must be a tensor or a number, not something else")

"""Import of exported ONNX files into a :class:`golden.graph.Graph`.

QONNX files, told by the domain of their quantizers, are read by :mod:`golden.qonnx_import`.
Whatever cannot be read raises one :class:`golden.graph.ModelError` that names the node and the
rule. Files written by :mod:`golden.export` always import.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from golden.graph import Graph, ModelError, Node
from golden.graph_builder import FORMAT_VERSION, INPUT
from golden.onnx_functions import DOMAIN, DOMAIN_VERSION, OPSET, functions
from golden.onnx_nodes import READERS
from golden.onnx_reader import NodeReader, read_initializers
from golden.qonnx_import import is_qonnx, read_qonnx

__all__ = ["import_bytes", "import_model"]


def import_model(path: str | Path) -> Graph:
    """Read an exported file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"model file must be readable, not {str(path)!r}: {error}") from None
    return import_bytes(content)


def import_bytes(content: bytes) -> Graph:
    """Read the content of an exported file."""
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise ModelError(
            f"model file must be a complete ONNX file, not {len(content)} bytes of other content"
        ) from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError("model file must be an ONNX file with a graph, not an empty one")
    if is_qonnx(model):
        return read_qonnx(model)
    _check_versions(model)
    _check_functions(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    _check_format(metadata)
    nodes = _read_nodes(model.graph)
    output = _output(model.graph, nodes)
    return Graph(
        name=model.graph.name,
        nodes=tuple(nodes.values()),
        output=output,
        labels=_labels(metadata, nodes[output]),
        ranges=_ranges(metadata),
        weight_bits=_bits(metadata, "weight_bits"),
        activation_bits=_bits(metadata, "activation_bits"),
    )


def _check_versions(model: onnx.ModelProto) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for domain, label, required in (
        ("", "operator set", OPSET),
        (DOMAIN, f"domain {DOMAIN!r}", DOMAIN_VERSION),
    ):
        found = versions.get(domain)
        if found != required:
            stated = "missing" if found is None else found
            raise ModelError(f"{label} version must be {required}, not {stated}")


def _check_functions(model: onnx.ModelProto) -> None:
    """The bodies define what the nodes mean, so they must be the ones this importer knows."""
    found = {function.name: function for function in model.functions}
    for function in functions({node.op_type for node in model.graph.node}):
        if function.name not in found:
            raise ModelError(f"function {DOMAIN}.{function.name} must be in the file, not missing")
        if found[function.name] != function:
            raise ModelError(
                f"function {DOMAIN}.{function.name} must have the body of version "
                f"{DOMAIN_VERSION}, not another one"
            )


def _check_format(metadata: dict[str, str]) -> None:
    version = metadata.get("lqnets_format", "missing")
    if version != str(FORMAT_VERSION):
        raise ModelError(f"metadata 'lqnets_format' must be {FORMAT_VERSION}, not {version}")


def _read_nodes(graph: onnx.GraphProto) -> dict[str, Node]:
    initializers = read_initializers(graph)
    image_shape = _image_shape(graph)
    nodes: dict[str, Node] = {}
    for proto in graph.node:
        name = proto.output[0] if proto.output else proto.name
        reader = READERS.get((proto.domain, proto.op_type))
        if reader is None:
            operator = ".".join(part for part in (proto.domain, proto.op_type) if part)
            supported = ", ".join(sorted(key[1] for key in READERS))
            raise ModelError(f"node {name!r}: operator must be one of {supported}, not {operator}")
        if len(proto.output) != 1:
            raise ModelError(f"node {name!r}: outputs must be 1, not {len(proto.output)}")
        if name in nodes or name in initializers or name == INPUT:
            raise ModelError(f"node {name!r}: output must be written once, not again")
        nodes[name] = reader(NodeReader(proto, nodes, initializers, image_shape))
    images = [node for node in graph.node if node.op_type == "ImageInput"]
    if len(images) != 1 or graph.node[0] != images[0]:
        raise ModelError(f"the first node must be the only ImageInput, not one of {len(images)}")
    return nodes


def _image_shape(graph: onnx.GraphProto) -> tuple[int, int, int]:
    """Height, width and channels of the graph's only input."""
    if len(graph.input) != 1 or graph.input[0].name != INPUT:
        names = ", ".join(repr(entry.name) for entry in graph.input)
        raise ModelError(f"graph inputs must be {INPUT!r} alone, not {names or 'none'}")
    kind = graph.input[0].type.tensor_type
    if kind.elem_type != TensorProto.UINT8:
        found = TensorProto.DataType.Name(kind.elem_type)
        raise ModelError(f"input {INPUT!r} must be UINT8, not {found}")
    sizes = [dimension.dim_value for dimension in kind.shape.dim]
    if len(sizes) != 4 or min(sizes[1:]) < 1:
        raise ModelError(
            f"input {INPUT!r} must have the shape [N, height, width, channels], not {sizes}"
        )
    height, width, channels = sizes[1:]
    return height, width, channels


def _output(graph: onnx.GraphProto, nodes: dict[str, Node]) -> str:
    names = [entry.name for entry in graph.output]
    if len(names) != 1 or names[0] not in nodes:
        raise ModelError(f"graph outputs must be one tensor of a node, not {names}")
    return names[0]


def _labels(metadata: dict[str, str], output: Node) -> tuple[str, ...]:
    labels = _json(metadata, "labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError("metadata 'labels' must be a JSON list of texts, not something else")
    if labels and len(labels) != output.shape[0]:
        raise ModelError(
            f"metadata 'labels' must have {output.shape[0]} entries, not {len(labels)}"
        )
    return tuple(labels)


def _ranges(metadata: dict[str, str]) -> dict[str, float]:
    ranges = _json(metadata, "ranges", {})
    valid = isinstance(ranges, dict) and all(
        isinstance(value, int | float) and math.isfinite(value) and value >= 0
        for value in ranges.values()
    )
    if not valid:
        raise ModelError(
            "metadata 'ranges' must map tensors to numbers that are not negative, "
            "not something else"
        )
    return {name: float(value) for name, value in ranges.items()}


def _json(metadata: dict[str, str], key: str, default: object) -> object:
    try:
        return json.loads(metadata[key]) if key in metadata else default
    except json.JSONDecodeError as error:
        raise ModelError(f"metadata {key!r} must be JSON, not: {error}") from None


def _bits(metadata: dict[str, str], key: str) -> int | None:
    if key not in metadata:
        return None
    if not metadata[key].isdecimal():
        raise ModelError(f"metadata {key!r} must be a number, not {metadata[key]!r}")
    return int(metadata[key])

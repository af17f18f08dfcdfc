"""A graph as an exported file, for networks that were changed after their export."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from golden import graph as ir
from golden.export import model_bytes
from golden.graph_builder import GraphBuilder

__all__ = ["WRITERS", "graph_bytes", "graph_model"]


def graph_bytes(graph: ir.Graph) -> bytes:
    """Content of the file that :func:`graph_model` describes; equal graphs give equal bytes."""
    return model_bytes(graph_model(graph))


def graph_model(graph: ir.Graph) -> onnx.ModelProto:
    """ONNX model of ``graph``, in the format of :mod:`golden.export`.

    Numbers are stored as float32; batch normalisations have mean 0 and variance 1.

    Raises:
        ModelError: If the graph has what the format does not: quantizers of QONNX.
    """
    channels, height, width = graph.image.shape
    builder = GraphBuilder(graph.name, (height, width, channels))
    names = {graph.image.name: builder.image}
    for node in graph.nodes[1:]:
        write = WRITERS.get(type(node))
        if write is None:
            raise ir.ModelError(
                f"node {node.name!r}: kind must be one that files have, not {type(node).__name__}"
            )
        names[node.name] = write(builder, node, [names[name] for name in node.inputs])
    model = builder.model(
        names[graph.output],
        labels=graph.labels,
        weight_bits=graph.weight_bits,
        activation_bits=graph.activation_bits,
    )
    if graph.ranges:
        model.metadata_props.add(key="ranges", value=json.dumps(graph.ranges, sort_keys=True))
    return model


def _codes(weights: ir.QuantizedWeights) -> np.ndarray:
    return np.tensordot(1 << np.arange(len(weights.planes)), weights.planes, axes=1)


def _convolution(builder: GraphBuilder, node: ir.Convolution, inputs: list[str]) -> str:
    window: dict[str, Any] = {"stride": node.stride, "padding": node.padding}
    weights = node.weights
    if isinstance(weights, ir.FloatWeights):
        return builder.convolution(node.name, *inputs, weights.values, node.bias, **window)
    return builder.quantized_convolution(
        node.name, *inputs, _codes(weights), weights.basis, node.bias, **window
    )


def _linear(builder: GraphBuilder, node: ir.Linear, inputs: list[str]) -> str:
    weights = node.weights
    if isinstance(weights, ir.FloatWeights):
        return builder.linear(node.name, *inputs, weights.values, node.bias)
    return builder.quantized_linear(node.name, *inputs, _codes(weights), weights.basis, node.bias)


def _activation(builder: GraphBuilder, node: ir.LearnedActivation, inputs: list[str]) -> str:
    if node.inclusive or node.basis.min() < 0:
        raise ir.ModelError(
            f"node {node.name!r}: quantizer must be a learned one to be written, not one of QONNX"
        )
    return builder.learned_activation(node.name, *inputs, node.basis, node.encoding.value)


def _batch_norm(builder: GraphBuilder, node: ir.BatchNorm, inputs: list[str]) -> str:
    zeros, ones = np.zeros_like(node.scale), np.ones_like(node.scale)
    return builder.batch_norm(node.name, *inputs, node.scale, node.offset, zeros, ones, epsilon=0.0)


WRITERS: dict[type[ir.Node], Callable[[GraphBuilder, Any, list[str]], str]] = {
    ir.Convolution: _convolution,
    ir.Linear: _linear,
    ir.LearnedActivation: _activation,
    ir.BatchNorm: _batch_norm,
    ir.Relu: lambda builder, node, inputs: builder.relu(node.name, *inputs),
    ir.MaxPool: lambda builder, node, inputs: builder.max_pool(
        node.name, *inputs, node.window, node.stride, node.padding
    ),
    ir.AveragePool: lambda builder, node, inputs: builder.average_pool(
        node.name, *inputs, node.window, node.stride
    ),
    ir.GlobalAveragePool: lambda builder, node, inputs: builder.global_average_pool(
        node.name, *inputs
    ),
    ir.Add: lambda builder, node, inputs: builder.add(node.name, *inputs),
    ir.ChannelPad: lambda builder, node, inputs: builder.channel_pad(
        node.name, *inputs, node.before, node.after
    ),
    ir.Concat: lambda builder, node, inputs: builder.concat(node.name, inputs),
    ir.FixedPoint: lambda builder, node, inputs: builder.fixed_point(
        node.name, *inputs, node.fraction, node.bits
    ),
    ir.Flatten: lambda builder, node, inputs: builder.flatten(node.name, *inputs),
}
"""One function per kind of node: (builder, node, tensors of its inputs) -> its tensor."""

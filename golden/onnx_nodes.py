"""Reading of single ONNX nodes, one function per supported operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from golden import graph
from golden.graph import Encoding, Node
from golden.lowering_formats import MOST_FRACTION
from golden.onnx_functions import DOMAIN
from golden.onnx_reader import NodeReader

__all__ = ["MAX_IMAGE_CHANNELS", "MAX_PLANES", "READERS", "finish_convolution", "finish_linear"]

MAX_PLANES = 8
MAX_IMAGE_CHANNELS = 4


def _image_input(reader: NodeReader) -> Node:
    height, width, channels = reader.image_shape
    reader.require(reader.inputs == ["images"], f"input must be 'images', not {reader.inputs}")
    reader.require(
        channels <= MAX_IMAGE_CHANNELS,
        f"image channels must be in 1..{MAX_IMAGE_CHANNELS}, not {channels}",
    )
    return graph.Image(name=reader.name, inputs=(), shape=(channels, height, width))


def _convolution(reader: NodeReader) -> Node:
    reader.forbid(group=1)
    weights = reader.parameter(1, "weight")
    reader.require(weights.ndim == 4, f"weight must have 4 axes, not {weights.ndim}")
    return finish_convolution(reader, graph.FloatWeights(weights), 2)


def _quantized_convolution(reader: NodeReader) -> Node:
    kernel = tuple(reader.integers("kernel_shape", 2))
    reader.require(min(kernel) >= 1, f"kernel_shape must be positive, not {list(kernel)}")
    return finish_convolution(reader, _quantized_weights(reader, kernel), 3)


def finish_convolution(
    reader: NodeReader, weights: graph.Weights, bias_index: int
) -> graph.Convolution:
    """The convolution with these weights on the node's first input."""
    channels, _, _ = reader.image()
    kernel, stride, padding = reader.window()
    shape = weights.values.shape
    reader.require(
        shape[1:] == (channels, *kernel),
        f"weight must have the shape {[shape[0], channels, *kernel]}, not {list(shape)}",
    )
    return graph.Convolution(
        name=reader.name,
        inputs=reader.data(1),
        shape=reader.window_shape(shape[0], kernel, stride, padding),
        weights=weights,
        bias=_bias(reader, bias_index, shape[0]),
        kernel=kernel,
        stride=stride,
        padding=padding,
    )


def _linear(reader: NodeReader) -> Node:
    reader.forbid(alpha=1.0, beta=1.0, transA=0)
    transposed = reader.integer("transB", 0)
    reader.require(transposed == 1, f"attribute 'transB' must be 1, not {transposed}")
    weights = reader.parameter(1, "weight")
    reader.require(weights.ndim == 2, f"weight must have 2 axes, not {weights.ndim}")
    return finish_linear(reader, graph.FloatWeights(weights), 2)


def _half_linear(reader: NodeReader) -> Node:
    weights = reader.parameter(1, "weight", dtype=np.float16)
    reader.require(weights.ndim == 2, f"weight must have 2 axes, not {weights.ndim}")
    return finish_linear(reader, graph.FloatWeights(weights), 2)


def _quantized_linear(reader: NodeReader) -> Node:
    return finish_linear(reader, _quantized_weights(reader, ()), 3)


def finish_linear(reader: NodeReader, weights: graph.Weights, bias_index: int) -> graph.Linear:
    """The matrix product with these weights on the node's first input."""
    features = reader.features()
    shape = weights.values.shape
    reader.require(
        shape[1] == features,
        f"weight must have the shape {[shape[0], features]}, not {list(shape)}",
    )
    return graph.Linear(
        name=reader.name,
        inputs=reader.data(1),
        shape=(shape[0],),
        weights=weights,
        bias=_bias(reader, bias_index, shape[0]),
    )


def _quantized_weights(reader: NodeReader, kernel: tuple[int, ...]) -> graph.QuantizedWeights:
    planes = _planes(reader, "weight_bits")
    channels_out = reader.integer("out_channels")
    channels_in = reader.integer("in_channels")
    reader.require(
        min(channels_out, channels_in) >= 1,
        f"channels must be positive, not {channels_in} and {channels_out}",
    )
    shape = (channels_out, channels_in, *kernel)
    count = int(np.prod(shape))
    packed = reader.parameter(1, "codes", (planes, -(-count // 8)), np.uint8)
    bits = np.unpackbits(packed, axis=1)
    reader.require(not bits[:, count:].any(), "codes must end in zero bits, not ones")
    basis = reader.parameter(2, "basis", (planes, channels_out))
    return graph.QuantizedWeights(bits[:, :count].reshape(planes, *shape).astype(bool), basis)


def _bias(reader: NodeReader, index: int, channels: int) -> np.ndarray:
    if not reader.has(index):
        return np.zeros(channels)
    return reader.parameter(index, "bias", (channels,))


def _planes(reader: NodeReader, name: str) -> int:
    planes = reader.integer(name)
    reader.require(
        1 <= planes <= MAX_PLANES, f"attribute {name!r} must be in 1..{MAX_PLANES}, not {planes}"
    )
    return planes


def _learned_activation(reader: NodeReader) -> Node:
    planes = _planes(reader, "bits")
    name = reader.text("encoding")
    names = [encoding.value for encoding in Encoding]
    reader.require(
        name in names, f"attribute 'encoding' must be one of {', '.join(names)}, not {name}"
    )
    basis = reader.parameter(1, "basis", (planes,))
    reader.require(bool((basis >= 0).all()), f"basis must not be negative, not {basis.min():g}")
    return graph.LearnedActivation(
        name=reader.name,
        inputs=reader.data(1),
        shape=reader.shape(),
        basis=basis,
        encoding=Encoding(name),
    )


def _batch_norm(reader: NodeReader) -> Node:
    channels = reader.shape()[0]
    reader.forbid(training_mode=0)
    labels = ("gamma", "beta", "mean", "variance")
    gamma, beta, mean, variance = (
        reader.parameter(index + 1, label, (channels,)) for index, label in enumerate(labels)
    )
    epsilon = reader.number("epsilon", 1e-5)
    reader.require(
        bool((variance + epsilon > 0).all()),
        f"variance + epsilon must be positive, not {(variance + epsilon).min():g}",
    )
    scale = gamma / np.sqrt(variance + epsilon)
    return graph.BatchNorm(
        name=reader.name,
        inputs=reader.data(1),
        shape=reader.shape(),
        scale=scale,
        offset=beta - mean * scale,
    )


def _relu(reader: NodeReader) -> Node:
    return graph.Relu(name=reader.name, inputs=reader.data(1), shape=reader.shape())


def _max_pool(reader: NodeReader) -> Node:
    channels, _, _ = reader.image()
    reader.forbid(ceil_mode=0, storage_order=0)
    window, stride, padding = reader.window()
    return graph.MaxPool(
        name=reader.name,
        inputs=reader.data(1),
        shape=reader.window_shape(channels, window, stride, padding),
        window=window,
        stride=stride,
        padding=padding,
    )


def _average_pool(reader: NodeReader) -> Node:
    channels, _, _ = reader.image()
    reader.forbid(ceil_mode=0, pads=[0, 0, 0, 0])
    window, stride, padding = reader.window()
    return graph.AveragePool(
        name=reader.name,
        inputs=reader.data(1),
        shape=reader.window_shape(channels, window, stride, padding),
        window=window,
        stride=stride,
    )


def _global_average_pool(reader: NodeReader) -> Node:
    channels, _, _ = reader.image()
    return graph.GlobalAveragePool(name=reader.name, inputs=reader.data(1), shape=(channels, 1, 1))


def _add(reader: NodeReader) -> Node:
    a, b = reader.shape(0), reader.shape(1)
    reader.require(a == b, f"inputs must have equal shapes, not {list(a)} and {list(b)}")
    return graph.Add(name=reader.name, inputs=reader.data(2), shape=a)


def _channel_pad(reader: NodeReader) -> Node:
    channels, height, width = reader.image()
    reader.forbid(mode=b"constant")
    reader.require(not reader.has(2) and not reader.has(3), "pads must be of zeros on all axes")
    pads = reader.parameter(1, "pads", (8,), np.int64)
    before, after = int(pads[1]), int(pads[5])
    others = np.delete(pads, [1, 5])
    reader.require(
        min(before, after) >= 0 and not others.any(),
        f"pads must add channels only, not {pads.tolist()}",
    )
    return graph.ChannelPad(
        name=reader.name,
        inputs=reader.data(1),
        shape=(before + channels + after, height, width),
        before=before,
        after=after,
    )


def _concat(reader: NodeReader) -> Node:
    axis = reader.integer("axis")
    reader.require(axis == 1, f"attribute 'axis' must be 1, not {axis}")
    shapes = [reader.image(index) for index in range(len(reader.inputs))]
    reader.require(
        len(shapes) >= 1 and len({shape[1:] for shape in shapes}) == 1,
        f"inputs must have equal heights and widths, not {[list(shape) for shape in shapes]}",
    )
    return graph.Concat(
        name=reader.name,
        inputs=reader.data(len(shapes)),
        shape=(sum(shape[0] for shape in shapes), *shapes[0][1:]),
    )


def _flatten(reader: NodeReader) -> Node:
    axis = reader.integer("axis", 1)
    reader.require(axis == 1, f"attribute 'axis' must be 1, not {axis}")
    return graph.Flatten(
        name=reader.name, inputs=reader.data(1), shape=(int(np.prod(reader.shape())),)
    )


def _fixed_point(reader: NodeReader) -> Node:
    fraction, bits = reader.integer("fraction"), reader.integer("bits")
    reader.require(
        abs(fraction) <= MOST_FRACTION,
        f"attribute 'fraction' must be in {-MOST_FRACTION}..{MOST_FRACTION}, not {fraction}",
    )
    reader.require(2 <= bits <= 24, f"attribute 'bits' must be in 2..24, not {bits}")
    return graph.FixedPoint(
        name=reader.name,
        inputs=reader.data(1),
        shape=reader.shape(),
        fraction=fraction,
        bits=bits,
    )


READERS: dict[tuple[str, str], Callable[[NodeReader], Node]] = {
    (DOMAIN, "FixedPoint"): _fixed_point,
    (DOMAIN, "HalfLinear"): _half_linear,
    (DOMAIN, "ImageInput"): _image_input,
    (DOMAIN, "LearnedActivation"): _learned_activation,
    (DOMAIN, "QuantizedConv"): _quantized_convolution,
    (DOMAIN, "QuantizedLinear"): _quantized_linear,
    ("", "Add"): _add,
    ("", "AveragePool"): _average_pool,
    ("", "BatchNormalization"): _batch_norm,
    ("", "Concat"): _concat,
    ("", "Conv"): _convolution,
    ("", "Flatten"): _flatten,
    ("", "Gemm"): _linear,
    ("", "GlobalAveragePool"): _global_average_pool,
    ("", "MaxPool"): _max_pool,
    ("", "Pad"): _channel_pad,
    ("", "Relu"): _relu,
}
"""Reader per (domain, operator)."""

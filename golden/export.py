"""Export of trained networks to ONNX files that carry learned codes and bases.

The file computes class scores from raw pixels ``images`` (uint8 [N, height, width, channels]).
Quantizers and quantized layers are calls of the functions in :mod:`golden.onnx_functions`; all
else is standard operators in float, batch normalisation included. Stock onnxruntime runs it.

The graph is found by tracing the network's own ``forward`` (``torch.fx``): each module of a kind
in ``EXPORTERS`` becomes one node that bears the module's name.

Metadata: ``lqnets_format`` (format version), ``name``, ``labels`` and ``ranges`` (JSON),
``weight_bits`` and ``activation_bits``. ``ranges`` is the largest magnitude of every float tensor
over calibration images, from which lowering chooses fixed-point formats.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import fx, nn

from golden.calibration import measure_ranges
from golden.float_weights import rounded_weights
from golden.graph import Padding
from golden.graph_builder import GraphBuilder
from golden.layers import (
    ChannelPad,
    GlobalAveragePool,
    LayerwideBatchNorm,
    MaxPool,
    PixelInput,
    QuantConv2d,
    QuantLinear,
    Window,
)
from golden.network import LqNetwork
from golden.quantizers import ActivationQuantizer

__all__ = [
    "add_ranges",
    "export_model",
    "model_bytes",
    "network_model",
    "node_name",
    "round_full_precision",
    "write_model",
]


def export_model(
    network: LqNetwork,
    path: str | Path,
    *,
    labels: Sequence[str] = (),
    calibration_images: np.ndarray | None = None,
) -> None:
    """Write ``network`` (in its evaluation state) to an ONNX file.

    Args:
        network: Any network of the project.
        path: The file to write. The same network and images give the same bytes.
        labels: Class names, stored in the file.
        calibration_images: uint8 [N, height, width, channels]. Without them the file has no
            ranges, and lowering must allow for the worst case.
    """
    model = network_model(network, labels)
    if calibration_images is not None:
        add_ranges(model, calibration_images)
    write_model(model, Path(path))


def round_full_precision(
    network: nn.Module, bits: int = 8, *, first_layer_bits: int | None = None
) -> None:
    """Round the full-precision weights of ``network`` in place to what ``bits`` planes can hold.

    Without this, lowering does it, and the float network then differs from the integer network
    already in its first layer. The rounding is idempotent, so lowering finds the same planes.

    Args:
        network: Any network.
        bits: Planes.
        first_layer_bits: Those of the first such layer, which reads the image; ``bits`` if None.
    """
    planes = bits if first_layer_bits is None else first_layer_bits
    for layer in network.modules():
        if isinstance(layer, QuantConv2d | QuantLinear) and layer.weight_quant is None:
            values = layer.weight.detach().double().numpy()
            layer.weight.data.copy_(torch.from_numpy(rounded_weights(values, planes)))
            planes = bits


def add_ranges(model: onnx.ModelProto, images: np.ndarray) -> None:
    """Record the ranges of the float tensors over ``images`` in the model's metadata."""
    ranges = measure_ranges(model_bytes(model), images)
    kept = [entry for entry in model.metadata_props if entry.key != "ranges"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key="ranges", value=json.dumps(ranges, sort_keys=True))


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a file in one step: a run that is stopped leaves what was there before."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(model_bytes(model))
    temporary.replace(path)


def model_bytes(model: onnx.ModelProto) -> bytes:
    """The file's content; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)


def network_model(network: LqNetwork, labels: Sequence[str] = ()) -> onnx.ModelProto:
    """ONNX model of a network in its evaluation state."""
    if not isinstance(network, LqNetwork):
        raise TypeError(f"network must be an LqNetwork, not {type(network).__name__}")
    builder = GraphBuilder(network.name, network.image_shape)
    modules = dict(network.named_modules())
    tensors: dict[fx.Node, str] = {}
    for node in _Tracer().trace(network).nodes:
        if node.op == "placeholder":
            tensors[node] = ""
        elif node.op == "call_module":
            module = modules[str(node.target)]
            add = EXPORTERS[type(module)]
            tensors[node] = add(builder, node_name(str(node.target)), tensors[node.args[0]], module)
        elif node.op == "call_function" and node.target in FUNCTIONS:
            tensors[node] = _add_function(builder, node, tensors)
        elif node.op == "output":
            return builder.model(
                tensors[node.args[0]],
                labels=labels,
                weight_bits=network.weight_bits,
                activation_bits=network.activation_bits,
            )
        else:
            raise TypeError(f"operators outside modules must be + or cat, not {node.target}")
    raise TypeError("network must return its scores")


class _Tracer(fx.Tracer):
    """Follows the network down to the modules that the export knows."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in EXPORTERS


def node_name(path: str) -> str:
    """Name of a tensor from a module's path: ``stages.0.1.conv1`` is ``stage0.block1.conv1``."""
    path = re.sub(r"^stages\.(\d+)\.(\d+)", r"stage\1.block\2", path)
    return re.sub(r"^stages\.(\d+)", r"stage\1", path)


def _add_function(builder: GraphBuilder, node: fx.Node, tensors: dict[fx.Node, str]) -> str:
    """Append a sum or a concatenation, named after the module that computes it."""
    modules: list[str] = list(node.meta.get("nn_module_stack") or ())
    kind = FUNCTIONS[node.target]
    name = ".".join([*([node_name(modules[-1])] if modules else []), kind])
    if kind == "add":
        return builder.add(name, tensors[node.args[0]], tensors[node.args[1]])
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    if dim != 1:
        raise TypeError(f"cat must be along the channels, dim 1, not {dim}")
    parts = node.args[0]
    assert isinstance(parts, list | tuple)
    return builder.concat(name, [tensors[part] for part in parts])


def add_convolution(builder: GraphBuilder, name: str, x: str, layer: QuantConv2d) -> str:
    """Append a convolution layer, quantized or not; returns its output tensor."""
    padding = _padding(builder, x, layer)
    stride = (layer.stride, layer.stride)
    bias = _array(layer.bias)
    if layer.weight_quant is None:
        weight = _array(layer.weight)
        assert weight is not None
        return builder.convolution(name, x, weight, bias, stride=stride, padding=padding)
    codes = layer.weight_quant.codes(layer.weight).numpy()
    basis = layer.weight_quant.basis.numpy()
    return builder.quantized_convolution(
        name, x, codes, basis, bias, stride=stride, padding=padding
    )


def add_linear(builder: GraphBuilder, name: str, x: str, layer: QuantLinear) -> str:
    """Append a fully connected layer, quantized or not; returns its output tensor."""
    bias = _array(layer.bias)
    if layer.weight_quant is None:
        weight = _array(layer.weight)
        assert weight is not None
        return builder.linear(name, x, weight, bias)
    codes = layer.weight_quant.codes(layer.weight).numpy()
    return builder.quantized_linear(name, x, codes, layer.weight_quant.basis.numpy(), bias)


def add_batch_norm(builder: GraphBuilder, name: str, x: str, layer: nn.BatchNorm2d) -> str:
    """Append a batch normalisation; returns its output tensor."""
    gamma, beta = _array(layer.weight), _array(layer.bias)
    mean, variance = _array(layer.running_mean), _array(layer.running_var)
    assert gamma is not None
    assert beta is not None
    assert mean is not None
    assert variance is not None
    return builder.batch_norm(name, x, gamma, beta, mean, variance, layer.eps)


def add_layerwide_norm(builder: GraphBuilder, name: str, x: str, layer: LayerwideBatchNorm) -> str:
    """Append a normalisation with one mean and variance; returns its output tensor."""
    channels = builder.shape(x)[0]
    mean, variance = _array(layer.running_mean), _array(layer.running_var)
    assert mean is not None
    assert variance is not None
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return builder.batch_norm(
        name, x, ones, zeros, mean.repeat(channels), variance.repeat(channels), layer.eps
    )


def add_activation(builder: GraphBuilder, name: str, x: str, layer: ActivationQuantizer) -> str:
    """Append an activation quantizer; returns its output tensor."""
    return builder.learned_activation(name, x, layer.basis.numpy(), layer.encoding.value)


def add_max_pool(builder: GraphBuilder, name: str, x: str, layer: MaxPool) -> str:
    """Append a max-pool; returns its output tensor."""
    window = (layer.kernel_size, layer.kernel_size)
    stride = (layer.stride, layer.stride)
    return builder.max_pool(name, x, window, stride, _padding(builder, x, layer))


def add_average_pool(builder: GraphBuilder, name: str, x: str, layer: nn.AvgPool2d) -> str:
    """Append a mean over windows without padding; returns its output tensor."""
    window, stride = layer.kernel_size, layer.stride
    if not isinstance(window, int) or not isinstance(stride, int) or layer.padding != 0:
        raise TypeError(f"module {name!r}: average pool must have square windows and no padding")
    return builder.average_pool(name, x, (window, window), (stride, stride))


def add_nothing(builder: GraphBuilder, name: str, x: str, layer: nn.Identity) -> str:
    """The tensor itself: quantizers of networks with float activations."""
    return x


def _padding(builder: GraphBuilder, x: str, layer: Window) -> Padding:
    left, right, top, bottom = layer.padding(*builder.shape(x)[1:])
    return top, left, bottom, right


def _array(parameter: torch.Tensor | None) -> np.ndarray | None:
    return None if parameter is None else parameter.detach().cpu().numpy()


EXPORTERS: dict[type[nn.Module], Callable[..., str]] = {
    PixelInput: lambda builder, name, x, layer: builder.image,
    QuantConv2d: add_convolution,
    QuantLinear: add_linear,
    nn.BatchNorm2d: add_batch_norm,
    LayerwideBatchNorm: add_layerwide_norm,
    ActivationQuantizer: add_activation,
    nn.Identity: add_nothing,
    nn.ReLU: lambda builder, name, x, layer: builder.relu(name, x),
    MaxPool: add_max_pool,
    nn.AvgPool2d: add_average_pool,
    GlobalAveragePool: lambda builder, name, x, layer: builder.global_average_pool(name, x),
    ChannelPad: lambda builder, name, x, layer: builder.channel_pad(
        name, x, layer.before, layer.after
    ),
    nn.Flatten: lambda builder, name, x, layer: builder.flatten(name, x),
}
"""One function per kind of module: (builder, name, input tensor, module) -> output tensor."""

FUNCTIONS = {operator.add: "add", torch.add: "add", torch.cat: "concat"}
"""Plain operators that a network may use, and what their nodes are called."""

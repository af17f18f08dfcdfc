"""Export of trained networks to ONNX files that carry learned codes and bases.

The file computes class scores from raw pixels ``images`` (uint8 [N, height, width, channels]).
Quantizers and quantized layers are calls of the functions in :mod:`golden.onnx_functions`; all
else is standard operators in float, batch normalisation included. Stock onnxruntime runs it.

Metadata: ``lqnets_format`` (format version), ``name``, ``labels`` and ``ranges`` (JSON),
``weight_bits`` and ``activation_bits``. ``ranges`` is the largest magnitude of every float tensor
over calibration images, from which lowering chooses fixed-point formats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from golden.calibration import measure_ranges
from golden.float_weights import round_float_weights
from golden.graph_builder import GraphBuilder
from golden.layers import QuantConv2d, QuantLinear, same_padding
from golden.quantizers import ActivationQuantizer
from golden.resnet20 import Block, ResNet20

__all__ = [
    "add_ranges",
    "export_model",
    "model_bytes",
    "resnet20_model",
    "round_full_precision",
]

IMAGE_SIZE = 32


def export_model(
    network: nn.Module,
    path: str | Path,
    *,
    labels: Sequence[str] = (),
    calibration_images: np.ndarray | None = None,
) -> None:
    """Write ``network`` (in its evaluation state) to an ONNX file.

    Args:
        network: An instance of a class in ``EXPORTERS``.
        path: The file to write. The same network and images give the same bytes.
        labels: Class names, stored in the file.
        calibration_images: uint8 [N, height, width, channels]. Without them the file has no
            ranges, and lowering must allow for the worst case.
    """
    exporter = EXPORTERS.get(type(network))
    if exporter is None:
        known = ", ".join(sorted(kind.__name__ for kind in EXPORTERS))
        raise TypeError(f"network must be one of {known}, not {type(network).__name__}")
    model = exporter(network, labels)
    if calibration_images is not None:
        add_ranges(model, calibration_images)
    Path(path).write_bytes(model_bytes(model))


def round_full_precision(network: nn.Module, bits: int = 8) -> None:
    """Round the full-precision weights of ``network`` in place to what ``bits`` planes can hold.

    Without this, lowering does it, and the float network then differs from the integer network
    already in its first layer. The rounding is idempotent, so lowering finds the same planes.
    """
    for layer in network.modules():
        if isinstance(layer, QuantConv2d | QuantLinear) and layer.weight_quant is None:
            values = layer.weight.detach().double().numpy()
            layer.weight.data.copy_(torch.from_numpy(round_float_weights(values, bits)))


def add_ranges(model: onnx.ModelProto, images: np.ndarray) -> None:
    """Record the ranges of the float tensors over ``images`` in the model's metadata."""
    ranges = measure_ranges(model_bytes(model), images)
    kept = [entry for entry in model.metadata_props if entry.key != "ranges"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key="ranges", value=json.dumps(ranges, sort_keys=True))


def model_bytes(model: onnx.ModelProto) -> bytes:
    """The file's content; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)


def resnet20_model(network: ResNet20, labels: Sequence[str] = ()) -> onnx.ModelProto:
    """ONNX model of a ResNet-20."""
    builder = GraphBuilder("resnet20", (IMAGE_SIZE, IMAGE_SIZE, network.conv0.in_channels))
    x = add_convolution(builder, "conv0", builder.image, network.conv0)
    x = builder.relu("relu0", add_batch_norm(builder, "bn0", x, network.bn0))
    for stage, blocks in enumerate(network.stages):
        for index, block in enumerate(blocks):
            x = _add_block(builder, f"stage{stage}.block{index}", x, block)
    x = builder.relu("relu_last", add_batch_norm(builder, "bn_last", x, network.bn_last))
    x = builder.flatten("flatten", builder.global_average_pool("pool", x))
    x = add_linear(builder, "fc", x, network.fc)
    return builder.model(
        x,
        labels=labels,
        weight_bits=network.weight_bits,
        activation_bits=network.activation_bits,
    )


def _add_block(builder: GraphBuilder, name: str, x: str, block: Block) -> str:
    branch = x
    if block.bn_in is not None:
        branch = add_batch_norm(builder, f"{name}.bn_in", branch, block.bn_in)
        branch = builder.relu(f"{name}.relu_in", branch)
    branch = add_activation(builder, f"{name}.quant1", branch, block.quant1)
    branch = add_convolution(builder, f"{name}.conv1", branch, block.conv1)
    branch = add_batch_norm(builder, f"{name}.bn1", branch, block.bn1)
    branch = builder.relu(f"{name}.relu1", branch)
    branch = add_activation(builder, f"{name}.quant2", branch, block.quant2)
    branch = add_convolution(builder, f"{name}.conv2", branch, block.conv2)
    shortcut = x
    if block.stride == 2:
        half = block.new_channels // 2
        shortcut = builder.average_pool(f"{name}.shortcut_pool", x, (2, 2), (2, 2))
        shortcut = builder.channel_pad(f"{name}.shortcut_pad", shortcut, half, half)
    return builder.add(f"{name}.add", branch, shortcut)


def add_convolution(builder: GraphBuilder, name: str, x: str, layer: QuantConv2d) -> str:
    """Append a convolution layer, quantized or not; returns its output tensor."""
    _, height, width = builder.shape(x)
    top, bottom = same_padding(height, layer.kernel_size, layer.stride)
    left, right = same_padding(width, layer.kernel_size, layer.stride)
    padding = (top, left, bottom, right)
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


def add_activation(builder: GraphBuilder, name: str, x: str, quantizer: nn.Module) -> str:
    """Append an activation quantizer, or nothing for the identity; returns the output tensor."""
    if isinstance(quantizer, nn.Identity):
        return x
    if not isinstance(quantizer, ActivationQuantizer):
        raise TypeError(f"quantizer must be an ActivationQuantizer, not {type(quantizer).__name__}")
    return builder.learned_activation(name, x, quantizer.basis.numpy(), quantizer.encoding.value)


def _array(parameter: torch.Tensor | None) -> np.ndarray | None:
    return None if parameter is None else parameter.detach().cpu().numpy()


EXPORTERS: dict[type[nn.Module], Callable[..., onnx.ModelProto]] = {ResNet20: resnet20_model}
"""One function per network class: (network, labels) -> model."""

"""The graphs of the LQ-Nets reference code, an account apart from the import's tables.

Each function takes normalized images [N, H, W, 3] and returns scores; ``outside`` is what the first
convolution finds around them. Names and order of the operators are those of the model files of
microsoft/LQ-Nets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.golden.reference_graph import Array, Graph, average_pool, max_pool, relu


def vgg_small(g: Graph, x: Array, widths: Sequence[int], classes: int) -> Array:
    x = g.norm_relu(g.convolution(x, "conv0", widths[0], 3, quantized=False), "conv0")
    for stage, width in enumerate(widths):
        for number in (2 * stage, 2 * stage + 1):
            if number > 0:
                x = g.convolution(g.quantize(x, f"quant{number}"), f"conv{number}", width, 3)
            if number % 2:
                x = g.norm_relu(max_pool(x, 2, 2), f"bn{number + 1}")
            elif number > 0:
                x = g.norm_relu(x, f"conv{number}")
    return g.linear(x, "linear", classes)


def alexnet(
    g: Graph, x: Array, widths: Sequence[int], features: int, map_size: int, classes: int
) -> Array:
    x = g.convolution(x, "conv1", widths[0], 11, 4, quantized=False, valid=True)
    x = g.norm_relu_quantize(max_pool(x, 3, 2, valid=True), "bnquant2")
    x = max_pool(g.convolution(x, "conv2", widths[1], 5), 3, 2, valid=True)
    x = g.norm_relu_quantize(x, "bnquant3")
    x = g.norm_relu_quantize(g.convolution(x, "conv3", widths[2], 3), "conv3")
    x = g.norm_relu_quantize(g.convolution(x, "conv4", widths[3], 3), "conv4")
    x = max_pool(g.convolution(x, "conv5", widths[4], 3), 3, 2, valid=True)
    x = g.norm_relu_quantize(x, "bnquant6")
    return big_layers(g, x, ("fc6", "fc7", "fc8"), features, map_size, classes)


def big_layers(
    g: Graph, x: Array, scopes: Sequence[str], features: int, map_size: int, classes: int
) -> Array:
    """Two convolutions over the whole image, normalized as one layer each, and a linear layer."""
    x = g.convolution(x, scopes[0], features, map_size, bias=True, valid=True)
    x = g.norm_relu_quantize(x, scopes[0], layerwide=True)
    x = g.convolution(x, scopes[1], features, 1, bias=True, valid=True)
    x = g.norm_relu(x, scopes[1], layerwide=True)
    return g.linear(x, scopes[2], classes)


def vgg_variant(
    g: Graph, x: Array, outside: Array, widths: Sequence[int], features: int, classes: int
) -> Array:
    x = relu(g.convolution(x, "conv1", widths[0], 7, 2, quantized=False, outside=outside))
    x = max_pool(x, 2, 2)
    for stage, width in enumerate(widths[1:], 2):
        x = g.norm_relu_quantize(x, f"bnquant{stage}_0")
        for number in (1, 2, 3):
            x = g.convolution(x, f"conv{stage}_{number}", width, 3)
            if number < 3:
                x = g.norm_relu_quantize(x, f"conv{stage}_{number}")
        x = max_pool(x, 2, 2)
    x = g.norm_relu_quantize(x, "bnquant5")
    return big_layers(g, x, ("fc5", "fc6", "fc7"), features, x.shape[1], classes)


def googlenet_variant(
    g: Graph,
    x: Array,
    outside: Array,
    stem: Sequence[int],
    blocks: Sequence[tuple[int, int, int]],
    classes: int,
) -> Array:
    x = g.convolution(x, "conv1", stem[0], 7, 2, quantized=False, outside=outside)
    x = g.norm_relu_quantize(max_pool(x, 3, 2), "pool1/out")
    x = g.convolution(x, "conv2/3x3_reduce", stem[1], 1)
    x = g.norm_relu_quantize(x, "conv2/3x3_reduce")
    x = g.norm_relu_quantize(max_pool(g.convolution(x, "conv2/3x3", stem[1], 3), 3, 2), "pool2/out")
    labels = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    for label, widths in zip(labels, blocks, strict=True):
        scope, branches = f"incpetion_{label}", []
        for kernel, width in zip((1, 3, 5), widths, strict=True):
            y, size = x, f"{kernel}x{kernel}"
            if kernel > 1:
                y = g.convolution(y, f"{scope}/{size}_reduce", width, 1)
                y = g.norm_relu_quantize(y, f"{scope}/{size}_reduce")
            y = g.convolution(y, f"{scope}/{size}", width, kernel)
            if label in ("3b", "4e"):
                y = g.norm_relu(max_pool(y, 3, 2), f"{scope}/conv{size}_bn")
                y = g.quantize(y, f"{scope}/conv{size}_quant")
            elif label != "5b":
                y = g.norm_relu_quantize(y, f"{scope}/{size}")
            branches.append(y)
        x = np.concatenate(branches, axis=3)
    x = g.norm_relu(x, "incpetion_5b/output_bn")
    return g.linear(x.mean(axis=(1, 2), keepdims=True), "linear", classes)


def resnet(
    g: Graph,
    x: Array,
    outside: Array,
    form: str,
    blocks: Sequence[int],
    width: int,
    classes: int,
    *,
    bottleneck: bool,
) -> Array:
    """``form`` is ``preact``, ``preact_typeA`` or ``resnet``."""
    x = g.convolution(x, "conv0", width, 7, 2, quantized=False, outside=outside)
    x = max_pool(g.norm_relu(x, "conv0"), 3, 2)
    for group, count in enumerate(blocks):
        for index in range(count):
            scope, stride = f"group{group}/block{index}", 2 if group and not index else 1
            y = x
            if form != "resnet" and index:
                y = g.quantize(g.norm_relu(x, f"{scope}/preact"), f"{scope}/quant1")
            elif form == "preact_typeA" or (form == "preact" and not group):
                y = g.quantize(x, f"{scope}/quant1")
            x = residual(g, x, y, scope, form, width << group, stride, bottleneck=bottleneck)
        if form != "resnet":
            x = g.norm_relu(x, f"group{group}/bnlast")
        if form == "preact" and group < len(blocks) - 1:
            x = g.quantize(x, f"group{group}/quant_last")
    return g.linear(x.mean(axis=(1, 2), keepdims=True), "linear", classes)


def residual(
    g: Graph,
    x: Array,
    y: Array,
    scope: str,
    form: str,
    width: int,
    stride: int,
    *,
    bottleneck: bool,
) -> Array:
    """Branch from ``y``, shortcut from ``x``."""
    kernels = (1, 3, 1) if bottleneck else (3, 3)
    strided = 2 if bottleneck else 1
    outputs = 4 * width if bottleneck else width
    for number, kernel in enumerate(kernels, 1):
        last = number == len(kernels)
        step = stride if number == strided else 1
        y = g.convolution(y, f"{scope}/conv{number}", outputs if last else width, kernel, step)
        y = g.norm(y, f"{scope}/conv{number}/bn")
        if not last:
            y = relu(y)
            y = y if form == "resnet" else g.quantize(y, f"{scope}/quant{number + 1}")
    if x.shape[3] != outputs and form == "preact_typeA":
        pooled = average_pool(x, stride)
        x = np.pad(pooled, ((0, 0), (0, 0), (0, 0), (0, outputs - x.shape[3])))
    elif x.shape[3] != outputs:
        x = g.convolution(x, f"{scope}/convshortcut", outputs, 1, stride)
        x = g.norm(x, f"{scope}/convshortcut/bn")
    return relu(x + y) if form == "resnet" else x + y


def densenet(
    g: Graph,
    x: Array,
    outside: Array,
    layers: Sequence[int],
    stem: int,
    growth: int,
    classes: int,
    *,
    first: bool,
) -> Array:
    x = g.convolution(x, "conv1", stem, 7, 2, quantized=False, outside=outside)
    x = max_pool(g.norm_relu(x, "conv1"), 3, 2)
    for block, count in enumerate(layers):
        if first:
            x = g.quantize(g.norm_relu(x, f"block{block}/first"), f"block{block}/quant_first")
        for index in range(count):
            scope = f"block{block}/dense_layer.{index}"
            y = g.norm_relu(
                g.convolution(x, f"{scope}/conv1x1", 4 * growth, 1), f"{scope}/bnrelu_2"
            )
            y = g.convolution(g.quantize(y, f"{scope}/quant2"), f"{scope}/conv3x3", growth, 3)
            y = g.quantize(g.norm_relu(y, f"{scope}/bnrelu_3"), f"{scope}/quant3")
            x = np.concatenate([y, x], axis=3)
        if block < len(layers) - 1:
            x = g.convolution(x, f"block{block}/transition/conv1", x.shape[3] // 2, 1)
            x = average_pool(x, 2)
    x = g.norm_relu(x, "bnrelu_last")
    return g.linear(x.mean(axis=(1, 2), keepdims=True), "linear", classes)

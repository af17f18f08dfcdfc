"""The reference code's operators in numpy: the variables that they have, and what they compute.

Tensors are NHWC, kernels HWIO, everything is float64. A variable is drawn where the graph first
uses it; statistics and bases are near those of the values that are there, so that no layer
saturates. With no images at all (N = 0) only names and shapes are drawn, at a few bytes each.

Source: ``learned_quantization.py`` of microsoft/LQ-Nets, and tensorpack for the rest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

Array = np.ndarray

EPSILON = 1e-5


def reference_levels(value: Array, levels: Array) -> Array:
    """The reference code's rule: up one level for every midpoint that is strictly below."""
    quantized = np.full(value.shape, levels[0])
    for lower, upper in itertools.pairwise(levels):
        quantized = np.where(value > 0.5 * lower + 0.5 * upper, upper, quantized)
    return quantized


def same_padding(x: Array, kernel: int, stride: int, outside: Array | float) -> Array:
    """``x`` with TensorFlow's SAME padding, of one value or one per channel."""
    sizes = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[1:3]]
    before = [size // 2 for size in sizes]
    count, height, width, channels = x.shape
    padded = np.empty((count, height + sizes[0], width + sizes[1], channels))
    padded[...] = outside
    padded[:, before[0] : before[0] + height, before[1] : before[1] + width] = x
    return padded


def windows(x: Array, kernel: int, stride: int) -> Array:
    """Windows without padding, [N, H', W', C, k, k]."""
    return sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]


def max_pool(x: Array, kernel: int, stride: int, *, valid: bool = False) -> Array:
    padded = x if valid else same_padding(x, kernel, stride, -np.inf)
    return windows(padded, kernel, stride).max(axis=(-2, -1))


def average_pool(x: Array, kernel: int) -> Array:
    return windows(x, kernel, kernel).mean(axis=(-2, -1))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def image_net(pixels: Array) -> Array:
    """Raw RGB pixels as the ImageNet networks get them: BGR, normalized."""
    mean, deviation = np.array([0.406, 0.456, 0.485]), np.array([0.225, 0.224, 0.229])
    return (pixels[..., ::-1] / 255 - mean) / deviation


@dataclass
class Graph:
    """A graph under construction.

    Attributes:
        weights: Planes per weight, or None.
        activations: Planes per activation, or None.
        variables: What was drawn.
        first: Output of the first convolution.
    """

    weights: int | None = 2
    activations: int | None = 2
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    variables: dict[str, Array] = field(default_factory=dict)
    first: Array | None = None

    def variable(self, name: str, values: Array) -> Array:
        assert name not in self.variables, name
        self.variables[name] = values.astype(np.float32)
        return self.variables[name].astype(np.float64)

    def declare(self, name: str, *shape: int) -> None:
        """A variable of which only the shape matters."""
        assert name not in self.variables, name
        zero = np.zeros(1, np.float32)
        self.variables[name] = as_strided(zero, shape, (0,) * len(shape))

    def convolution(
        self,
        x: Array,
        scope: str,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        quantized: bool = True,
        bias: bool = False,
        valid: bool = False,
        outside: Array | float = 0.0,
    ) -> Array:
        padded = x if valid else same_padding(x, kernel, stride, outside)
        shape = (kernel, kernel, x.shape[3], outputs)
        planes = self.weights if quantized else None
        if not len(x):
            self.declare(f"{scope}/W", *shape)
            if bias:
                self.declare(f"{scope}/b", outputs)
            if planes is not None:
                self.declare(f"{scope}/weight_quant/basis", planes, outputs)
            size = [(n - kernel) // stride + 1 for n in padded.shape[1:3]]
            return np.zeros((0, *size, outputs))
        scale = np.prod(shape[:3]) ** -0.5
        latent = self.variable(f"{scope}/W", self.rng.normal(0, scale, shape))
        kernels = latent
        if planes is not None:
            name = f"{scope}/weight_quant/basis"
            rows = self.variable(name, scale * self.rng.uniform(0.2, 1, (planes, outputs)))
            signs = np.array(
                [[2 * (c >> j & 1) - 1 for j in range(planes)] for c in range(2**planes)]
            )
            kernels = np.empty(shape)
            for channel in range(outputs):
                levels = np.sort(signs @ rows[:, channel])
                kernels[..., channel] = reference_levels(latent[..., channel], levels)
        y = np.einsum("nhwcij,ijco->nhwo", windows(padded, kernel, stride), kernels, optimize=True)
        if bias:
            y = y + self.variable(f"{scope}/b", self.rng.normal(0, 0.5, outputs))
        self.first = y if self.first is None else self.first
        return y

    def norm(self, x: Array, scope: str, *, layerwide: bool = False) -> Array:
        channels = 1 if layerwide else x.shape[3]
        if not len(x):
            for name in ("mean/EMA", "variance/EMA", *(() if layerwide else ("gamma", "beta"))):
                self.declare(f"{scope}/{name}", channels)
            return x
        axes = None if layerwide else (0, 1, 2)
        spread = x.std(axis=axes) + 0.1
        moved = x.mean(axis=axes) + spread * self.rng.normal(0, 0.2, channels)
        mean = self.variable(f"{scope}/mean/EMA", moved)
        variance = spread**2 * self.rng.uniform(0.5, 2, channels)
        y = (x - mean) / np.sqrt(self.variable(f"{scope}/variance/EMA", variance) + EPSILON)
        if layerwide:
            return y
        gamma = self.variable(f"{scope}/gamma", self.rng.normal(1, 0.6, channels))
        return y * gamma + self.variable(f"{scope}/beta", self.rng.normal(0.2, 0.3, channels))

    def quantize(self, x: Array, scope: str) -> Array:
        if self.activations is None:
            return x
        name, shape = f"{scope}/ActivationQuantization/basis", (self.activations, 1)
        if not len(x):
            self.declare(name, *shape)
            return x
        size = x.std() + 0.1
        basis = self.variable(name, size * self.rng.uniform(0.3, 1.5, shape))[:, 0]
        ones = np.array([[c >> j & 1 for j in range(len(basis))] for c in range(2 ** len(basis))])
        return reference_levels(x, np.sort(ones @ basis))

    def norm_relu(self, x: Array, scope: str, *, layerwide: bool = False) -> Array:
        return relu(self.norm(x, f"{scope}/bn", layerwide=layerwide))

    def norm_relu_quantize(self, x: Array, scope: str, *, layerwide: bool = False) -> Array:
        return self.quantize(self.norm_relu(x, scope, layerwide=layerwide), f"{scope}/quant")

    def linear(self, x: Array, scope: str, outputs: int) -> Array:
        """Fully connected on the image flattened in the order C, H, W."""
        inputs = int(np.prod(x.shape[1:]))
        if not len(x):
            self.declare(f"{scope}/W", inputs, outputs)
            self.declare(f"{scope}/b", outputs)
            return np.zeros((0, outputs))
        flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        weight = self.variable(f"{scope}/W", self.rng.normal(0, inputs**-0.5, (inputs, outputs)))
        return flat @ weight + self.variable(f"{scope}/b", self.rng.normal(0, 1, outputs))

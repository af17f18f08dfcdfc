"""Small random models that together reach every feature a model may have.

Property tests of lowering, compiler, simulator and gateware draw from here. One seed always gives
the same model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from golden.export import add_ranges
from golden.float_weights import round_float_weights
from golden.graph import Padding
from golden.graph_builder import NO_PADDING, GraphBuilder

__all__ = ["RandomLimits", "random_images", "random_model"]

CALIBRATION_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class RandomLimits:
    """Bounds of what :func:`random_model` draws."""

    image: tuple[int, int] = (5, 14)
    """Smallest and largest height and width."""
    channels: int = 20
    """Largest number of channels."""
    planes: int = 4
    """Most planes of most layers."""
    wide_planes: int = 8
    """Most planes of one layer in eight."""
    blocks: tuple[int, int] = (1, 3)
    """Fewest and most blocks between the first and the last layer."""
    kernels: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 11)
    strides: tuple[int, ...] = (1, 2, 4)
    concat: bool = True
    float_inputs: bool = True
    """Quantized weights on float (fixed-point) inputs."""
    overlapping_pools: bool = True
    signed: bool = True
    """Activation codes in {-1,+1}."""


def random_model(
    seed: int | np.random.Generator, limits: RandomLimits | None = None
) -> onnx.ModelProto:
    """A random model with random weights and calibrated ranges."""
    rng = np.random.default_rng(seed)
    model = _Author(rng, limits or RandomLimits()).write()
    add_ranges(model, random_images(model, CALIBRATION_IMAGES, rng))
    return model


def random_images(
    model: onnx.ModelProto, count: int, seed: int | np.random.Generator
) -> np.ndarray:
    """Random uint8 images [count, height, width, channels] for ``model``."""
    rng = np.random.default_rng(seed)
    sizes = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return rng.integers(0, 256, (count, *sizes), dtype=np.uint8)


class _Author:
    """Writes one model."""

    def __init__(self, rng: np.random.Generator, limits: RandomLimits) -> None:
        self.rng = rng
        self.limits = limits
        size = rng.integers(limits.image[0], limits.image[1] + 1, 2)
        shape = (int(size[0]), int(size[1]), int(rng.integers(1, 5)))
        self.builder = GraphBuilder("random", shape)
        self._count = 0
        self._ends: set[str] = set()
        """Tensors that end a layer before pooling: batch-norm, ReLU and pool may still follow."""

    def write(self) -> onnx.ModelProto:
        """Image, first layer, blocks, last layer."""
        x = self.convolution(self.builder.image, quantized=self.chance(0.2))
        x = self.tail(x)
        blocks: list[Callable[[str], str]] = [self.plain, self.residual]
        if self.limits.concat:
            blocks.append(self.inception)
        if self.limits.float_inputs:
            blocks.append(self.float_input)
        low, high = self.limits.blocks
        for _ in range(int(self.rng.integers(low, high + 1))):
            x = self.rng.choice(np.array(blocks, dtype=object))(x)
        return self.builder.model(self.head(x), labels=())

    def plain(self, x: str) -> str:
        """Activation, convolution, maybe pool, batch-norm, ReLU."""
        return self.tail(self.convolution(self.activation(x)))

    def float_input(self, x: str) -> str:
        """Quantized weights on a float tensor."""
        return self.tail(self.convolution(x))

    def residual(self, x: str) -> str:
        """Pre-activation block; halves the image and adds channels where it can."""
        channels, height, width = self.builder.shape(x)
        halve = height % 2 == 0 and width % 2 == 0 and self.chance(0.5)
        extra = int(self.rng.integers(0, 4)) if halve else 0
        branch = x
        if x in self._ends and self.chance(0.7):
            branch = self.relu(self.batch_norm(x))
        stride = (2, 2) if halve else (1, 1)
        branch = self.convolution(
            self.activation(branch), channels + 2 * extra, (3, 3), stride, same=True
        )
        branch = self.activation(self.relu(self.batch_norm(branch)))
        branch = self.convolution(branch, channels + 2 * extra, (3, 3), (1, 1), same=True)
        if self.chance(0.5):
            branch = self.batch_norm(branch)
        shortcut = x
        if halve:
            shortcut = self.builder.average_pool(self.name("average"), x, (2, 2), (2, 2))
            if extra:
                shortcut = self.builder.channel_pad(self.name("pad"), shortcut, extra, extra)
        operands = (branch, shortcut) if self.chance(0.5) else (shortcut, branch)
        return self.end(self.builder.add(self.name("add"), *operands))

    def inception(self, x: str) -> str:
        """Two branches with activations of their own, concatenated, then a convolution."""
        source = self.activation(x)
        bits = self.planes()
        parts = []
        for _ in range(2):
            branch = self.convolution(source, kernel=(3, 3), stride=(1, 1), same=True)
            branch = self.relu(self.batch_norm(branch))
            parts.append(self.activation(branch, None if self.chance(0.3) else bits))
        joined = self.builder.concat(self.name("concat"), parts)
        return self.end(self.relu(self.batch_norm(self.convolution(joined))))

    def head(self, x: str) -> str:
        """Pool or flatten, then the last layer."""
        classes = int(self.rng.integers(2, 12))
        channels, height, width = self.builder.shape(x)
        if height * width == 1 or max(height, width) > 11 or self.chance(0.6):
            if x not in self._ends:
                x = self.end(self.batch_norm(self.convolution(self.activation(x), channels)))
            if self.chance(0.7):
                x = self.relu(self.batch_norm(x))
            x = self.builder.global_average_pool(self.name("mean"), x)
            height = width = 1
        elif self.chance(0.5):
            x = self.activation(x)
        x = self.builder.flatten(self.name("flatten"), x)
        features = channels * height * width
        bias = self.rng.normal(0, 0.2, classes) if self.chance(0.7) else None
        if self.chance(0.6):
            weight = self.float_weights((classes, features))
            return self.builder.linear(self.name("linear"), x, weight, bias)
        codes, basis = self.weights((classes, features))
        return self.builder.quantized_linear(self.name("linear"), x, codes, basis, bias)

    def convolution(
        self,
        x: str,
        channels: int | None = None,
        kernel: tuple[int, int] | None = None,
        stride: tuple[int, int] | None = None,
        *,
        same: bool = False,
        quantized: bool = True,
    ) -> str:
        """A convolution of any legal shape that leaves at least one pixel."""
        inputs, height, width = self.builder.shape(x)
        channels = channels or int(self.rng.integers(1, self.limits.channels + 1))
        kernel = kernel or (self.kernel(height), self.kernel(width))
        stride = stride or (self.stride(), self.stride())
        if same:
            padding = _same(height, width, kernel, stride)
        else:
            padding = self.padding(height, width, kernel)
        shape = (channels, inputs, *kernel)
        name = self.name("conv")
        if not quantized:
            weight = self.float_weights(shape)
            return self.builder.convolution(name, x, weight, stride=stride, padding=padding)
        codes, basis = self.weights(shape)
        bias = self.rng.normal(0, 0.2, channels) if self.chance(0.3) else None
        return self.builder.quantized_convolution(
            name, x, codes, basis, bias, stride=stride, padding=padding
        )

    def tail(self, x: str) -> str:
        """What follows a convolution: pool, batch-norm and ReLU in any legal order."""
        order = self.rng.integers(0, 5)
        if order == 0:
            return self.end(self.relu(self.batch_norm(x)))
        if order == 1:
            return self.relu(self.batch_norm(self.max_pool(x)))
        if order == 2:
            return self.max_pool(self.relu(self.batch_norm(x)))
        if order == 3:
            return self.relu(self.batch_norm(self.max_pool(self.relu(x))))
        return self.end(self.batch_norm(x))

    def end(self, x: str) -> str:
        """Note that a layer may end with ``x``."""
        self._ends.add(x)
        return x

    def max_pool(self, x: str) -> str:
        """A max-pool: overlapping and padded where that is allowed."""
        _, height, width = self.builder.shape(x)
        if min(height, width) < 3:
            return x
        if self.limits.overlapping_pools and self.chance(0.4):
            after = (1 - height % 2, 1 - width % 2)
            padding = (0, 0, *after) if self.chance(0.5) else NO_PADDING
            return self.builder.max_pool(self.name("max"), x, (3, 3), (2, 2), padding)
        window = (2, 2) if self.chance(0.7) else (3, 2)
        return self.builder.max_pool(self.name("max"), x, window, window)

    def batch_norm(self, x: str) -> str:
        """Any statistics; a quarter of the scales is negative."""
        channels = self.builder.shape(x)[0]
        gamma = self.rng.uniform(0.3, 1.5, channels)
        gamma *= self.rng.choice([-1.0, 1.0, 1.0, 1.0], channels)
        return self.builder.batch_norm(
            self.name("bn"),
            x,
            gamma,
            self.rng.normal(0.3, 0.5, channels),
            self.rng.normal(0, 0.3, channels),
            self.rng.uniform(0.2, 2.0, channels),
        )

    def activation(self, x: str, bits: int | None = None) -> str:
        """A learned activation; its basis is in no order."""
        bits = bits or self.planes()
        encoding = "signed" if self.limits.signed and self.chance(0.3) else "unsigned"
        basis = self.rng.uniform(0.6, 1.4, bits) * 2.0 ** np.arange(bits)
        basis *= 2.0 / basis.sum()
        return self.builder.learned_activation(
            self.name("act"), x, self.rng.permutation(basis), encoding
        )

    def weights(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Random codes and a basis that keeps the size of the values."""
        bits = self.planes()
        codes = self.rng.integers(0, 2**bits, shape)
        basis = self.rng.uniform(0.3, 1.0, (bits, shape[0])) * 2.0 ** np.arange(bits)[:, None]
        basis /= np.sqrt((basis**2).sum(axis=0) * np.prod(shape[1:]))
        return codes, self.rng.permutation(basis)

    def float_weights(self, shape: tuple[int, ...]) -> np.ndarray:
        """Float weights that eight planes hold exactly."""
        return round_float_weights(self.rng.normal(0, np.prod(shape[1:]) ** -0.5, shape), 8)

    def relu(self, x: str) -> str:
        """ReLU."""
        return self.builder.relu(self.name("relu"), x)

    def padding(self, height: int, width: int, kernel: tuple[int, int]) -> Padding:
        """Any padding with which the kernel fits."""
        sides = []
        for size, window in ((height, kernel[0]), (width, kernel[1])):
            before, after = (int(self.rng.integers(0, window)) for _ in range(2))
            lacking = max(window - size - before - after, 0)
            before = min(before + lacking, window - 1)
            after = max(after, window - size - before)
            sides.append((before, after))
        (top, bottom), (left, right) = sides
        return top, left, bottom, right

    def kernel(self, size: int) -> int:
        """A kernel size; big ones are rare."""
        fitting = [kernel for kernel in self.limits.kernels if kernel < 2 * size]
        weights = np.array([4.0 if kernel in (1, 3) else 1.0 for kernel in fitting])
        return int(self.rng.choice(fitting, p=weights / weights.sum()))

    def stride(self) -> int:
        """A stride; 1 is the most frequent."""
        return 1 if self.chance(0.6) else int(self.rng.choice(self.limits.strides))

    def planes(self) -> int:
        """Number of planes."""
        most = self.limits.wide_planes if self.chance(0.125) else self.limits.planes
        return int(self.rng.integers(1, most + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def name(self, kind: str) -> str:
        """A new node name."""
        self._count += 1
        return f"{kind}{self._count}"


def _same(height: int, width: int, kernel: tuple[int, int], stride: tuple[int, int]) -> Padding:
    """TensorFlow's SAME padding."""
    sides = []
    for size, window, step in zip((height, width), kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + window - size, 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right

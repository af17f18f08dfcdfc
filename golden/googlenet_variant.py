"""GoogLeNet-Variant for ImageNet: inception blocks whose branches have bases of their own.

Graph, order of operators and initial weights are those of the LQ-Nets authors' released code:
three branches per block and none that pools, pooling before batch normalization. Every branch
ends in its own activation quantizer, so a block's output carries three bases by channel range.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from golden.layers import GlobalAveragePool, MaxPool, QuantConv2d, QuantLinear
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

IMAGE_SIZE = 224
CLASSES = 1000
STEM = (64, 192)
"""Channels of the first convolution, and of the two before the blocks."""


@dataclass(frozen=True)
class Inception:
    """Channels of a block's branches (1 x 1, 3 x 3, 5 x 5), and whether they end in a pool."""

    point: int
    middle: int
    wide: int
    pooled: bool = False

    @property
    def channels(self) -> int:
        """Channels of the block's output."""
        return self.point + self.middle + self.wide


BLOCKS = (
    Inception(96, 128, 32),
    Inception(192, 192, 96, pooled=True),
    Inception(256, 208, 48),
    Inception(224, 224, 64),
    Inception(192, 256, 64),
    Inception(176, 288, 64),
    Inception(384, 320, 128, pooled=True),
    Inception(384, 320, 128),
    Inception(512, 384, 128),
)


class Block(nn.Module):
    """Three convolution branches beside each other, concatenated.

    In all but the network's last block each branch ends in [pool,] batch normalization, ReLU and
    quantizer; ``last`` leaves the raw sums.
    """

    def __init__(
        self, quantization: Quantization, in_channels: int, shape: Inception, *, last: bool
    ) -> None:
        super().__init__()
        q = quantization
        self.point = q.convolution(in_channels, shape.point, 1, fan_in=True)
        self.middle_reduce = q.convolution(in_channels, shape.middle, 1, fan_in=True)
        self.middle_norm = q.normalized(shape.middle)
        self.middle = q.convolution(shape.middle, shape.middle, 3, fan_in=True)
        self.wide_reduce = q.convolution(in_channels, shape.wide, 1, fan_in=True)
        self.wide_norm = q.normalized(shape.wide)
        self.wide = q.convolution(shape.wide, shape.wide, 5, fan_in=True)
        self.point_end = _end(q, shape.point, shape.pooled, last)
        self.middle_end = _end(q, shape.middle, shape.pooled, last)
        self.wide_end = _end(q, shape.wide, shape.pooled, last)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, H, W], or half of H and W."""
        point = self.point_end(self.point(x))
        middle = self.middle(self.middle_norm(self.middle_reduce(x)))
        wide = self.wide(self.wide_norm(self.wide_reduce(x)))
        return torch.cat([point, self.middle_end(middle), self.wide_end(wide)], dim=1)


def _end(quantization: Quantization, channels: int, pooled: bool, last: bool) -> nn.Module:
    if last:
        return nn.Identity()
    norm = quantization.normalized(channels)
    return nn.Sequential(OrderedDict(pool=MaxPool(3, 2), norm=norm)) if pooled else norm


class GoogLeNetVariant(LqNetwork):
    """GoogLeNet-Variant on raw RGB images.

    Args:
        weight_bits: Planes per weight of the inner layers, 1..8, or None for float.
        activation_bits: Planes per input of the inner layers, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images.
        stem: Channels of the first convolution and of the two after it.
        blocks: The inception blocks.
        classes: Number of scores.
    """

    def __init__(
        self,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
        *,
        image_size: int = IMAGE_SIZE,
        stem: tuple[int, int] = STEM,
        blocks: tuple[Inception, ...] = BLOCKS,
        classes: int = CLASSES,
    ) -> None:
        q = Quantization(weight_bits, activation_bits, encoding)
        super().__init__("googlenet-variant", (image_size, image_size, 3), classes, q)
        first, second = stem
        self.conv1 = QuantConv2d(3, first, 7, stride=2, fan_in=True)
        self.pool1 = MaxPool(3, 2)
        self.norm1 = q.normalized(first)
        self.conv2_reduce = q.convolution(first, second, 1, fan_in=True)
        self.norm2_reduce = q.normalized(second)
        self.conv2 = q.convolution(second, second, 3, fan_in=True)
        self.pool2 = MaxPool(3, 2)
        self.norm2 = q.normalized(second)
        self.blocks = nn.ModuleList()
        channels = second
        for shape in blocks:
            self.blocks.append(Block(q, channels, shape, last=shape is blocks[-1]))
            channels = shape.channels
        # The last layer's input stays in float.
        self.norm_last = Quantization(weight_bits, None).normalized(channels)
        self.pool = GlobalAveragePool()
        self.flatten = nn.Flatten()
        self.fc = QuantLinear(channels, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.norm1(self.pool1(self.conv1(self.pixels(pixels))))
        x = self.norm2_reduce(self.conv2_reduce(x))
        x = self.norm2(self.pool2(self.conv2(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(self.flatten(self.pool(self.norm_last(x))))

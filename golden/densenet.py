"""DenseNet-121 for ImageNet with learned quantization of all inner convolutions.

Graph, order of operators and initial weights are those of the LQ-Nets authors' released code:
batch normalization, ReLU and quantizer follow a convolution, so each slice of a concatenation has
its own basis. In the released code the input of a dense block is never quantized, though it has a
flag for it; here it is, unless ``released`` asks for the original.
"""

import torch
from torch import Tensor, nn

from golden.layers import GlobalAveragePool, MaxPool, QuantConv2d, QuantLinear, batch_norm
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

IMAGE_SIZE = 224
CLASSES = 1000
STEM = 64
GROWTH = 32
LAYERS = (6, 12, 24, 16)
BOTTLENECK = 4
"""Channels of the 1 x 1 convolutions as a multiple of the growth."""


class DenseLayer(nn.Module):
    """1 x 1 and 3 x 3 convolution; the new channels come before the old ones."""

    def __init__(self, quantization: Quantization, in_channels: int, growth: int) -> None:
        super().__init__()
        width = BOTTLENECK * growth
        self.conv1 = quantization.convolution(in_channels, width, 1, fan_in=True)
        self.norm1 = quantization.normalized(width)
        self.conv2 = quantization.convolution(width, growth, 3, fan_in=True)
        self.norm2 = quantization.normalized(growth)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, growth + C, H, W]."""
        new = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return torch.cat([new, x], dim=1)


class DenseNet(LqNetwork):
    """DenseNet on raw RGB images.

    Args:
        name: As in :mod:`golden.networks`.
        weight_bits: Planes per weight of the inner layers, 1..8, or None for float.
        activation_bits: Planes per input of the inner layers, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images, a multiple of 32 for four blocks.
        released: Leave the inputs of the dense blocks in float, as the released code does.
        stem: Channels of the first convolution.
        growth: Channels that each dense layer adds.
        layers: Dense layers of each block.
        classes: Number of scores.
    """

    def __init__(
        self,
        name: str,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
        *,
        image_size: int = IMAGE_SIZE,
        released: bool = False,
        stem: int = STEM,
        growth: int = GROWTH,
        layers: tuple[int, ...] = LAYERS,
        classes: int = CLASSES,
    ) -> None:
        unit = 2 ** (len(layers) + 1)
        if image_size < unit or image_size % unit:
            raise ValueError(f"image size of {name} must be a multiple of {unit}, not {image_size}")
        q = Quantization(weight_bits, activation_bits, encoding)
        super().__init__(name, (image_size, image_size, 3), classes, q)
        self.conv1 = QuantConv2d(3, stem, 7, stride=2, fan_in=True)
        self.bn1 = batch_norm(stem)
        self.relu1 = nn.ReLU()
        self.pool1 = MaxPool(3, 2)
        self.entries = nn.ModuleList()
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        channels = stem
        for count in layers:
            if self.stages:
                self.transitions.append(
                    nn.Sequential(
                        q.convolution(channels, channels // 2, 1, fan_in=True), nn.AvgPool2d(2)
                    )
                )
                channels //= 2
            self.entries.append(nn.Identity() if released else q.normalized(channels))
            self.stages.append(
                nn.ModuleList(DenseLayer(q, channels + i * growth, growth) for i in range(count))
            )
            channels += count * growth
        # The last layer's input stays in float.
        self.norm_last = Quantization(weight_bits, None).normalized(channels)
        self.pool = GlobalAveragePool()
        self.flatten = nn.Flatten()
        self.fc = QuantLinear(channels, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.pool1(self.relu1(self.bn1(self.conv1(self.pixels(pixels)))))
        for index, (entry, layers) in enumerate(zip(self.entries, self.stages, strict=True)):
            x = entry(x if index == 0 else self.transitions[index - 1](x))
            for layer in layers:
                x = layer(x)
        return self.fc(self.flatten(self.pool(self.norm_last(x))))

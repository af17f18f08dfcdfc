"""ResNet-18, -34 and -50 for ImageNet with learned quantization of all inner convolutions.

Three forms, as in the LQ-Nets authors' released code:

* with activation codes, pre-activation blocks and shortcuts of type B: inside a stage the residual
  stream is float, and each block normalizes and quantizes it; a stage ends in batch normalization,
  ReLU and quantizer, and both paths of the next stage's first block read those codes, the shortcut
  through a quantized 1 x 1 convolution;
* the same with shortcuts of type A: means of 2 x 2 values with zero channels behind. A stage ends
  in batch normalization and ReLU; the shortcut of the next stage's first block reads these float
  values, its branch quantizes them (the released code has this form for bottleneck blocks only);
* without activation codes, ordinary post-activation blocks with shortcuts of type B.

In ResNet-50 with type B the very first shortcut convolves float values, as released.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from golden.layers import (
    ChannelPad,
    GlobalAveragePool,
    MaxPool,
    QuantConv2d,
    QuantLinear,
    batch_norm,
)
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

IMAGE_SIZE = 224
CLASSES = 1000
STEM = 64
EXPANSION = 4
"""Output channels of a bottleneck block as a multiple of its inner ones."""


@dataclass(frozen=True)
class ResNetShape:
    """Blocks of each stage, and whether they are bottlenecks."""

    blocks: tuple[int, ...]
    bottleneck: bool = False


RESNET18 = ResNetShape((2, 2, 2, 2))
RESNET34 = ResNetShape((3, 4, 6, 3))
RESNET50 = ResNetShape((3, 4, 6, 3), bottleneck=True)


class Block(nn.Module):
    """``exit(branch(entry(x)) + shortcut(x))``.

    Args:
        entry: Normalizes and quantizes the input, or only quantizes it, or nothing.
        branch: Convolutions with what is between them; ends in batch normalization.
        shortcut: The other way.
        exit: ReLU of post-activation blocks, or nothing.
    """

    def __init__(
        self, entry: nn.Module, branch: nn.Module, shortcut: nn.Module, exit: nn.Module
    ) -> None:
        super().__init__()
        self.entry = entry
        self.branch = branch
        self.shortcut = shortcut
        self.exit = exit

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, H / stride, W / stride]."""
        return self.exit(self.branch(self.entry(x)) + self.shortcut(x))


def basic_branch(q: Quantization, in_channels: int, width: int, stride: int) -> nn.Sequential:
    """Two 3 x 3 convolutions."""
    return nn.Sequential(
        OrderedDict(
            conv1=q.convolution(in_channels, width, 3, stride=stride),
            norm2=q.normalized(width),
            conv2=q.convolution(width, width, 3),
            bn=batch_norm(width),
        )
    )


def bottleneck_branch(q: Quantization, in_channels: int, width: int, stride: int) -> nn.Sequential:
    """1 x 1, 3 x 3 and 1 x 1 convolution; the middle one has the stride."""
    return nn.Sequential(
        OrderedDict(
            conv1=q.convolution(in_channels, width, 1),
            norm2=q.normalized(width),
            conv2=q.convolution(width, width, 3, stride=stride),
            norm3=q.normalized(width),
            conv3=q.convolution(width, EXPANSION * width, 1),
            bn=batch_norm(EXPANSION * width),
        )
    )


def convolution_shortcut(q: Quantization, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Type B: 1 x 1 convolution where the shape changes."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    convolution = q.convolution(inputs, outputs, 1, stride=stride)
    return nn.Sequential(OrderedDict(conv=convolution, bn=batch_norm(outputs)))


def padding_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Type A: means and zero channels where the shape changes."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["pool"] = nn.AvgPool2d(stride)
    if inputs != outputs:
        parts["pad"] = ChannelPad(0, outputs - inputs)
    return nn.Sequential(parts) if parts else nn.Identity()


class ResNet(LqNetwork):
    """ResNet on raw RGB images.

    Args:
        name: As in :mod:`golden.networks`.
        shape: The blocks.
        weight_bits: Planes per weight of the inner convolutions, 1..8, or None for float.
        activation_bits: Planes per input of the inner convolutions, 1..8; None for float values
            and post-activation blocks.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images, a multiple of 32 for four stages.
        type_a: Shortcuts of type A; only with activation codes.
        width: Channels of the first convolution and of the first stage.
        classes: Number of scores.
    """

    def __init__(
        self,
        name: str,
        shape: ResNetShape,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
        *,
        image_size: int = IMAGE_SIZE,
        type_a: bool = False,
        width: int = STEM,
        classes: int = CLASSES,
    ) -> None:
        unit = 2 ** (len(shape.blocks) + 1)
        if image_size < unit or image_size % unit:
            raise ValueError(f"image size of {name} must be a multiple of {unit}, not {image_size}")
        if type_a and activation_bits is None:
            raise ValueError(f"{name} must have activation codes, 1..8 bits, not float activations")
        q = Quantization(weight_bits, activation_bits, encoding)
        super().__init__(name, (image_size, image_size, 3), classes, q)
        self.type_a = type_a
        self.conv0 = QuantConv2d(3, width, 7, stride=2)
        self.bn0 = batch_norm(width)
        self.relu0 = nn.ReLU()
        self.pool0 = MaxPool(3, 2)
        self.stages = nn.ModuleList()
        self.ends = nn.ModuleList()
        channels = width
        for stage, count in enumerate(shape.blocks):
            blocks = nn.ModuleList()
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                block = self._block(shape, (stage, index), channels, width << stage, stride)
                blocks.append(block)
                channels = (width << stage) * (EXPANSION if shape.bottleneck else 1)
            self.stages.append(blocks)
            self.ends.append(self._end(stage == len(shape.blocks) - 1, channels))
        self.pool = GlobalAveragePool()
        self.flatten = nn.Flatten()
        self.fc = QuantLinear(channels, classes)

    def _block(
        self,
        shape: ResNetShape,
        position: tuple[int, int],
        in_channels: int,
        width: int,
        stride: int,
    ) -> Block:
        """Block at (stage, index)."""
        q = self.quantization
        out_channels = EXPANSION * width if shape.bottleneck else width
        make_branch = bottleneck_branch if shape.bottleneck else basic_branch
        branch = make_branch(q, in_channels, width, stride)
        if self.type_a:
            shortcut = padding_shortcut(in_channels, out_channels, stride)
        else:
            shortcut = convolution_shortcut(q, in_channels, out_channels, stride)
        if q.activation_bits is None:
            nn.init.zeros_(branch.bn.weight)
            return Block(nn.Identity(), branch, shortcut, nn.ReLU())
        if position == (0, 0) or (position[1] == 0 and self.type_a):
            entry: nn.Module = q.quantizer()
        elif position[1] == 0:
            entry = nn.Identity()
        else:
            entry = q.normalized(in_channels)
        return Block(entry, branch, shortcut, nn.Identity())

    def _end(self, last: bool, channels: int) -> nn.Module:
        """What follows a stage."""
        if self.quantization.activation_bits is None:
            return nn.Identity()
        # The last layer's input stays in float, and with type A what the shortcuts read.
        q = Quantization(self.weight_bits, None) if last or self.type_a else self.quantization
        return q.normalized(channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.pool0(self.relu0(self.bn0(self.conv0(self.pixels(pixels)))))
        for blocks, end in zip(self.stages, self.ends, strict=True):
            for block in blocks:
                x = block(x)
            x = end(x)
        return self.fc(self.flatten(self.pool(x)))

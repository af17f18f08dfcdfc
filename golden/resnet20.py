"""ResNet-20 for 32 x 32 images with learned quantization of its 18 inner convolutions.

The graph is tensorpack's CIFAR ResNet (examples/ResNet/cifar10-resnet.py, n = 3), which the
LQ-Nets authors point to: pre-activation blocks, widths 16, 32 and 64, shortcuts without weights.
The first convolution and the last layer stay in full precision, as in all LQ-Nets networks.
"""

from torch import Tensor, nn

from golden.layers import (
    ChannelPad,
    GlobalAveragePool,
    QuantConv2d,
    QuantLinear,
    activation_quantizer,
    batch_norm,
)
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

WIDTHS = (16, 32, 64)
BLOCKS_PER_STAGE = 3
CLASSES = 10


class Block(nn.Module):
    """Pre-activation block: two 3x3 convolutions beside a weightless shortcut.

        x -> [bn_in -> ReLU] -> quant1 -> conv1 -> bn1 -> ReLU -> quant2 -> conv2 -> (+ shortcut)

    ``bn_in`` is None in the network's first block. With twice the channels, conv1 has stride 2
    and the shortcut is the 2x2 mean of x with zero channels, half before and half after.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding,
        preactivate: bool,
    ) -> None:
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        self.new_channels = out_channels - in_channels
        self.bn_in = batch_norm(in_channels) if preactivate else None
        self.relu_in = nn.ReLU()
        self.quant1 = activation_quantizer(activation_bits, encoding)
        self.conv1 = QuantConv2d(
            in_channels, out_channels, 3, stride=self.stride, weight_bits=weight_bits
        )
        self.bn1 = batch_norm(out_channels)
        self.relu1 = nn.ReLU()
        self.quant2 = activation_quantizer(activation_bits, encoding)
        self.conv2 = QuantConv2d(out_channels, out_channels, 3, weight_bits=weight_bits)
        self.shortcut_pool = nn.AvgPool2d(2)
        self.shortcut_pad = ChannelPad(self.new_channels // 2, self.new_channels // 2)

    def shortcut(self, x: Tensor) -> Tensor:
        """The residual stream on its way around the convolutions."""
        return x if self.stride == 1 else self.shortcut_pad(self.shortcut_pool(x))

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, H / stride, W / stride]."""
        branch = x if self.bn_in is None else self.relu_in(self.bn_in(x))
        branch = self.conv1(self.quant1(branch))
        branch = self.relu1(self.bn1(branch))
        return self.conv2(self.quant2(branch)) + self.shortcut(x)


class ResNet20(LqNetwork):
    """ResNet-20 on small RGB images.

    Args:
        weight_bits: Planes per weight of the inner convolutions, 1..8, or None for float.
        activation_bits: Planes per input of the inner convolutions, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images, a multiple of 4.
        classes: Number of scores.
    """

    def __init__(
        self,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
        *,
        image_size: int = 32,
        classes: int = CLASSES,
    ) -> None:
        if image_size < 4 or image_size % 4:
            raise ValueError(f"image size of resnet20 must be a multiple of 4, not {image_size}")
        quantization = Quantization(weight_bits, activation_bits, encoding)
        super().__init__("resnet20", (image_size, image_size, 3), classes, quantization)
        self.conv0 = QuantConv2d(3, WIDTHS[0], 3)
        self.bn0 = batch_norm(WIDTHS[0])
        self.relu0 = nn.ReLU()
        self.stages = nn.ModuleList()
        channels = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            blocks = nn.ModuleList()
            for index in range(BLOCKS_PER_STAGE):
                block = Block(
                    channels,
                    width,
                    weight_bits=weight_bits,
                    activation_bits=activation_bits,
                    encoding=encoding,
                    preactivate=(stage, index) != (0, 0),
                )
                blocks.append(block)
                channels = width
            self.stages.append(blocks)
        self.bn_last = batch_norm(channels)
        self.relu_last = nn.ReLU()
        self.pool = GlobalAveragePool()
        self.flatten = nn.Flatten()
        self.fc = QuantLinear(channels, classes)

    def blocks(self) -> list[Block]:
        """The nine blocks in the order of the data."""
        return [module for module in self.stages.modules() if isinstance(module, Block)]

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.relu0(self.bn0(self.conv0(self.pixels(pixels))))
        for block in self.blocks():
            x = block(x)
        x = self.relu_last(self.bn_last(x))
        return self.fc(self.flatten(self.pool(x)))

"""ResNet-20 for 32 x 32 images with learned quantization of its 18 inner convolutions.

The graph is tensorpack's CIFAR ResNet (examples/ResNet/cifar10-resnet.py, n = 3), which the
LQ-Nets authors point to: pre-activation blocks, widths 16, 32 and 64, shortcuts without weights.
The first convolution and the last layer stay in full precision, as in all LQ-Nets networks.
"""

from torch import Tensor, nn
from torch.nn import functional

from golden.layers import QuantConv2d, QuantLinear
from golden.quantizers import ActivationEncoding, ActivationQuantizer

WIDTHS = (16, 32, 64)
BLOCKS_PER_STAGE = 3
CLASSES = 10

PIXEL_OFFSET = 128
PIXEL_SCALE = 128
"""Raw pixels p of 0..255 enter as (p - offset) / scale: exact with 7 fraction bits."""


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalization with tensorpack's constants (eps 1e-5, running factor 0.9)."""
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)


def activation_quantizer(bits: int | None, encoding: ActivationEncoding) -> nn.Module:
    """A quantizer of ``bits`` planes, or the identity if ``bits`` is None."""
    return nn.Identity() if bits is None else ActivationQuantizer(bits, encoding)


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
        self.quant1 = activation_quantizer(activation_bits, encoding)
        self.conv1 = QuantConv2d(
            in_channels, out_channels, 3, stride=self.stride, weight_bits=weight_bits
        )
        self.bn1 = batch_norm(out_channels)
        self.quant2 = activation_quantizer(activation_bits, encoding)
        self.conv2 = QuantConv2d(out_channels, out_channels, 3, weight_bits=weight_bits)

    def shortcut(self, x: Tensor) -> Tensor:
        """The residual stream on its way around the convolutions."""
        if self.stride == 1:
            return x
        half = self.new_channels // 2
        return functional.pad(functional.avg_pool2d(x, 2), (0, 0, 0, 0, half, half))

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, H / stride, W / stride]."""
        branch = x if self.bn_in is None else functional.relu(self.bn_in(x))
        branch = self.conv1(self.quant1(branch))
        branch = functional.relu(self.bn1(branch))
        return self.conv2(self.quant2(branch)) + self.shortcut(x)


class ResNet20(nn.Module):
    """ResNet-20 on raw 32 x 32 RGB pixels.

    Args:
        weight_bits: Planes per weight of the inner convolutions, 1..8, or None for float.
        activation_bits: Planes per input of the inner convolutions, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
    """

    def __init__(
        self,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
    ) -> None:
        super().__init__()
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self.encoding = encoding
        self.conv0 = QuantConv2d(3, WIDTHS[0], 3)
        self.bn0 = batch_norm(WIDTHS[0])
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
        self.fc = QuantLinear(channels, CLASSES)

    def blocks(self) -> list[Block]:
        """The nine blocks in the order of the data."""
        return [module for module in self.stages.modules() if isinstance(module, Block)]

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, 32, 32] of 0..255, uint8 or float -> scores [N, 10]."""
        x = (pixels.to(self.fc.weight.dtype) - PIXEL_OFFSET) / PIXEL_SCALE
        x = functional.relu(self.bn0(self.conv0(x)))
        for block in self.blocks():
            x = block(x)
        x = functional.relu(self.bn_last(x))
        return self.fc(x.mean(dim=(2, 3)))

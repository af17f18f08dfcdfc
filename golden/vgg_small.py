"""VGG-Small for 32 x 32 images with learned quantization of its five inner convolutions.

Graph, order of operators and initial weights are those of cifar10-vgg-small in the LQ-Nets
authors' released code: pooling comes before batch normalization, the last layer reads the
flattened 4 x 4 image in float.
"""

from torch import Tensor, nn

from golden.layers import MaxPool, QuantConv2d, QuantLinear, batch_norm
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

WIDTHS = (128, 256, 512)
CLASSES = 10
HALVINGS = 3


class VggSmall(LqNetwork):
    """VGG-Small on small RGB images.

    Args:
        weight_bits: Planes per weight of the inner convolutions, 1..8, or None for float.
        activation_bits: Planes per input of the inner convolutions, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        widths: Channels of the three stages of two convolutions each.
        image_size: Height and width of the images, a multiple of 8.
        classes: Number of scores.
    """

    def __init__(
        self,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
        *,
        widths: tuple[int, int, int] = WIDTHS,
        image_size: int = 32,
        classes: int = CLASSES,
    ) -> None:
        if image_size < 2**HALVINGS or image_size % 2**HALVINGS:
            raise ValueError(f"image size of vgg-small must be a multiple of 8, not {image_size}")
        quantization = Quantization(weight_bits, activation_bits, encoding)
        super().__init__("vgg-small", (image_size, image_size, 3), classes, quantization)
        first, second, third = widths
        self.conv0 = QuantConv2d(3, first, 3, fan_in=True)
        self.norm1 = quantization.normalized(first)
        self.conv1 = _convolution(quantization, first, first)
        self.pool1 = MaxPool(2)
        self.norm2 = quantization.normalized(first)
        self.conv2 = _convolution(quantization, first, second)
        self.norm3 = quantization.normalized(second)
        self.conv3 = _convolution(quantization, second, second)
        self.pool3 = MaxPool(2)
        self.norm4 = quantization.normalized(second)
        self.conv4 = _convolution(quantization, second, third)
        self.norm5 = quantization.normalized(third)
        self.conv5 = _convolution(quantization, third, third)
        self.pool5 = MaxPool(2)
        self.bn_last = batch_norm(third)
        self.relu_last = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc = QuantLinear(third * (image_size // 2**HALVINGS) ** 2, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.norm1(self.conv0(self.pixels(pixels)))
        x = self.norm2(self.pool1(self.conv1(x)))
        x = self.norm3(self.conv2(x))
        x = self.norm4(self.pool3(self.conv3(x)))
        x = self.norm5(self.conv4(x))
        x = self.pool5(self.conv5(x))
        return self.fc(self.flatten(self.relu_last(self.bn_last(x))))


def _convolution(quantization: Quantization, in_channels: int, out_channels: int) -> QuantConv2d:
    return quantization.convolution(in_channels, out_channels, 3, fan_in=True)

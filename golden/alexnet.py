"""AlexNet with batch normalization and learned quantization of its six inner layers.

Graph, order of operators and initial weights are those of the LQ-Nets authors' released code: no
groups, no response normalization, no dropout, pooling before batch normalization. The big fully
connected layers are convolutions over the whole image and are quantized; the first and the last
layer stay in float.
"""

from torch import Tensor, nn

from golden.layers import MaxPool, QuantConv2d, QuantLinear
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

IMAGE_SIZE = 227
WIDTHS = (96, 256, 384, 384, 256)
FEATURES = 4096
CLASSES = 1000
CONVOLUTION_DEVIATION = 0.01
FEATURE_DEVIATION = 0.005
SMALLEST_IMAGE = 67


class AlexNet(LqNetwork):
    """AlexNet on raw RGB images.

    Args:
        weight_bits: Planes per weight of the inner layers, 1..8, or None for float.
        activation_bits: Planes per input of the inner layers, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images, at least 67; the authors' is 227.
        widths: Channels of the five convolutions.
        features: Outputs of the two big fully connected layers.
        classes: Number of scores.
    """

    def __init__(
        self,
        weight_bits: int | None,
        activation_bits: int | None,
        encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
        *,
        image_size: int = IMAGE_SIZE,
        widths: tuple[int, int, int, int, int] = WIDTHS,
        features: int = FEATURES,
        classes: int = CLASSES,
    ) -> None:
        if image_size < SMALLEST_IMAGE:
            raise ValueError(
                f"image size of alexnet must be at least {SMALLEST_IMAGE}, not {image_size}"
            )
        q = Quantization(weight_bits, activation_bits, encoding)
        super().__init__("alexnet", (image_size, image_size, 3), classes, q)
        first, second, third, fourth, fifth = widths
        self.conv1 = QuantConv2d(3, first, 11, stride=4, same=False)
        self.pool1 = MaxPool(3, 2, same=False)
        self.norm2 = q.normalized(first)
        self.conv2 = q.convolution(first, second, 5)
        self.pool2 = MaxPool(3, 2, same=False)
        self.norm3 = q.normalized(second)
        self.conv3 = q.convolution(second, third, 3)
        self.norm4 = q.normalized(third)
        self.conv4 = q.convolution(third, fourth, 3)
        self.norm5 = q.normalized(fourth)
        self.conv5 = q.convolution(fourth, fifth, 3)
        self.pool5 = MaxPool(3, 2, same=False)
        self.norm6 = q.normalized(fifth)
        self.fc6 = q.convolution(fifth, features, _map_size(image_size), bias=True, same=False)
        self.norm7 = q.normalized_layerwide()
        self.fc7 = q.convolution(features, features, 1, bias=True)
        # The last layer's input stays in float.
        self.norm8 = Quantization(weight_bits, None).normalized_layerwide()
        self.flatten = nn.Flatten()
        self.fc8 = QuantLinear(features, classes)
        for layer in self.modules():
            if isinstance(layer, QuantConv2d):
                nn.init.normal_(layer.weight, 0.0, CONVOLUTION_DEVIATION)
        for layer in (self.fc6, self.fc7):
            nn.init.normal_(layer.weight, 0.0, FEATURE_DEVIATION)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.norm2(self.pool1(self.conv1(self.pixels(pixels))))
        x = self.norm3(self.pool2(self.conv2(x)))
        x = self.norm4(self.conv3(x))
        x = self.norm5(self.conv4(x))
        x = self.norm6(self.pool5(self.conv5(x)))
        x = self.norm7(self.fc6(x))
        x = self.norm8(self.fc7(x))
        return self.fc8(self.flatten(x))


def _map_size(image_size: int) -> int:
    """Height and width of the image that the first fully connected layer covers."""
    size = (image_size - 11) // 4 + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size

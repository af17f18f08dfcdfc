"""VGG-Variant for ImageNet with learned quantization of its eleven inner layers.

Graph, order of operators and initial weights are those of the LQ-Nets authors' released code: the
first convolution has ReLU but no batch normalization, pooling comes before batch normalization,
the big fully connected layers are convolutions over the whole image and are quantized.

The first convolution's bias is not trained: it is 0, as the released code has none. In an imported
network it holds what is left of that code's normalization of the images, for which other networks
have a batch normalization behind that layer (:mod:`golden.reference_image`).
"""

from torch import Tensor, nn

from golden.layers import MaxPool, QuantConv2d, QuantLinear
from golden.network import LqNetwork, Quantization
from golden.quantizers import ActivationEncoding

IMAGE_SIZE = 224
WIDTHS = (96, 256, 512, 512)
FEATURES = 4096
CLASSES = 1000
CONVOLUTIONS_PER_STAGE = 3
HALVINGS = 5


class Stage(nn.Module):
    """Three 3 x 3 convolutions on codes, and a pool: the output is not normalized yet."""

    def __init__(self, quantization: Quantization, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for index in range(CONVOLUTIONS_PER_STAGE):
            channels = in_channels if index == 0 else out_channels
            self.norms.append(quantization.normalized(channels))
            self.convolutions.append(
                quantization.convolution(channels, out_channels, 3, fan_in=True)
            )
        self.pool = MaxPool(2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, H / 2, W / 2]."""
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = convolution(norm(x))
        return self.pool(x)


class VggVariant(LqNetwork):
    """VGG-Variant on raw RGB images.

    Args:
        weight_bits: Planes per weight of the inner layers, 1..8, or None for float.
        activation_bits: Planes per input of the inner layers, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images, a multiple of 32.
        widths: Channels of the first convolution and of the three stages.
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
        widths: tuple[int, int, int, int] = WIDTHS,
        features: int = FEATURES,
        classes: int = CLASSES,
    ) -> None:
        if image_size < 2**HALVINGS or image_size % 2**HALVINGS:
            raise ValueError(
                f"image size of vgg-variant must be a multiple of {2**HALVINGS}, not {image_size}"
            )
        q = Quantization(weight_bits, activation_bits, encoding)
        super().__init__("vgg-variant", (image_size, image_size, 3), classes, q)
        self.conv1 = QuantConv2d(3, widths[0], 7, stride=2, bias=True, fan_in=True)
        assert self.conv1.bias is not None
        self.conv1.bias.requires_grad_(False)
        self.relu1 = nn.ReLU()
        self.pool1 = MaxPool(2)
        self.stages = nn.ModuleList(
            Stage(q, inputs, outputs)
            for inputs, outputs in zip(widths[:-1], widths[1:], strict=True)
        )
        self.norm5 = q.normalized(widths[-1])
        size = image_size // 2**HALVINGS
        self.fc5 = q.convolution(widths[-1], features, size, bias=True, same=False, fan_in=True)
        self.norm6 = q.normalized_layerwide()
        self.fc6 = q.convolution(features, features, 1, bias=True, fan_in=True)
        # The last layer's input stays in float.
        self.norm7 = Quantization(weight_bits, None).normalized_layerwide()
        self.flatten = nn.Flatten()
        self.fc7 = QuantLinear(features, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels [N, 3, H, W] of 0..255, uint8 or float -> scores [N, classes]."""
        x = self.pool1(self.relu1(self.conv1(self.pixels(pixels))))
        for stage in self.stages:
            x = stage(x)
        x = self.norm6(self.fc5(self.norm5(x)))
        return self.fc7(self.flatten(self.norm7(self.fc6(x))))

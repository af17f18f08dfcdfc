"""What all networks have in common: a name, an image, and how their inner layers are quantized."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from golden.layers import (
    LayerwideBatchNorm,
    PixelInput,
    QuantConv2d,
    activation_quantizer,
    batch_norm,
)
from golden.quantizers import MAX_BITS, ActivationEncoding


@dataclass(frozen=True)
class Quantization:
    """How the inner layers of a network are quantized, and a source of such layers.

    Attributes:
        weight_bits: Planes per weight, 1..8, or None for float.
        activation_bits: Planes per activation, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
    """

    weight_bits: int | None
    activation_bits: int | None
    encoding: ActivationEncoding = ActivationEncoding.UNSIGNED

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            if bits is not None and not 1 <= bits <= MAX_BITS:
                raise ValueError(f"{name} must be in 1..{MAX_BITS} or None, not {bits}")

    def convolution(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        bias: bool = False,
        same: bool = True,
        fan_in: bool = False,
    ) -> QuantConv2d:
        """A convolution with quantized weights (see :class:`golden.layers.QuantConv2d`)."""
        return QuantConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            weight_bits=self.weight_bits,
            bias=bias,
            same=same,
            fan_in=fan_in,
        )

    def quantizer(self) -> nn.Module:
        """An activation quantizer; the identity if activations stay in float."""
        return activation_quantizer(self.activation_bits, self.encoding)

    def normalized(self, channels: int) -> nn.Sequential:
        """Batch normalization, ReLU, activation quantizer: what stands before most layers."""
        return self._normalized(batch_norm(channels))

    def normalized_layerwide(self) -> nn.Sequential:
        """The same with one mean and variance for the whole layer."""
        return self._normalized(LayerwideBatchNorm())

    def _normalized(self, norm: nn.Module) -> nn.Sequential:
        return nn.Sequential(OrderedDict(bn=norm, relu=nn.ReLU(), quant=self.quantizer()))


class LqNetwork(nn.Module):
    """Base class of the networks: raw pixels [N, C, H, W] of 0..255 in, scores [N, classes] out.

    Attributes:
        name: As in :mod:`golden.networks`.
        image_shape: Height, width and channels of the raw images.
        classes: Number of scores.
        quantization: Of the inner layers.
        pixels: Scales the raw pixels.
    """

    def __init__(
        self,
        name: str,
        image_shape: tuple[int, int, int],
        classes: int,
        quantization: Quantization,
    ) -> None:
        super().__init__()
        self.name = name
        self.image_shape = image_shape
        self.classes = classes
        self.quantization = quantization
        self.pixels = PixelInput()

    @property
    def weight_bits(self) -> int | None:
        """Planes per weight."""
        return self.quantization.weight_bits

    @property
    def activation_bits(self) -> int | None:
        """Planes per activation."""
        return self.quantization.activation_bits

    @property
    def encoding(self) -> ActivationEncoding:
        """Alphabet of the activation codes."""
        return self.quantization.encoding

"""Layers of the networks: learned weight quantization, TensorFlow's padding, weightless operators.

Every operator of a network is a module (the export maps each kind to its node); only ``+`` and
``torch.cat`` along the channels are plain.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from golden.quantizers import ActivationEncoding, ActivationQuantizer, WeightQuantizer

PIXEL_OFFSET = 128
PIXEL_SCALE = 128
"""Raw pixels p of 0..255 enter as (p - offset) / scale: exact with 7 fraction bits."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis of ``size`` so that it yields ceil(size / stride) outputs.

    TensorFlow's SAME rule: an odd total puts the extra zero after. A 3-wide window with stride 2
    on an even size gets (0, 1), where PyTorch's symmetric padding would give (1, 1).
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Window(nn.Module):
    """A square window that slides over an image.

    Args:
        kernel_size: Window height and width k.
        stride: Step of the window in both directions.
        same: Pad as TensorFlow's SAME does; False leaves the image as it is (VALID).
    """

    def __init__(self, kernel_size: int, stride: int, same: bool) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.same = same

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Cells (left, right, top, bottom) added to an input of ``height`` x ``width``."""
        if not self.same:
            return 0, 0, 0, 0
        vertical = same_padding(height, self.kernel_size, self.stride)
        return (*same_padding(width, self.kernel_size, self.stride), *vertical)


class QuantConv2d(Window):
    """2-D convolution, weights quantized per output channel.

    ``weight`` [Cout, Cin, k, k] is the latent float weight that training updates;
    ``weight_quant`` its quantizer, or None for a full-precision layer.

    Args:
        in_channels: Number of input channels Cin.
        out_channels: Number of output channels Cout.
        kernel_size: Kernel height and width k.
        stride: Step of the window in both directions.
        weight_bits: Planes per weight, 1..8, or None to keep the weights in float.
        bias: Whether to add a float bias per output channel.
        same: SAME padding, or none.
        fan_in: Initial weights by He's rule for the inputs of a sum, not for its readers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        weight_bits: int | None = None,
        bias: bool = False,
        same: bool = True,
        fan_in: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, same)
        self.in_channels = in_channels
        self.out_channels = out_channels
        fan_out = kernel_size * kernel_size * out_channels
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        # The basis starts from the deviation by fan-out in both cases.
        fan = kernel_size * kernel_size * in_channels if fan_in else fan_out
        self.weight = nn.Parameter(torch.randn(shape) * (2 / fan) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_quant = (
            None if weight_bits is None else WeightQuantizer(out_channels, weight_bits, fan_out)
        )

    def quantized_weight(self) -> Tensor:
        """The weights that the convolution uses, [Cout, Cin, k, k]."""
        return self.weight if self.weight_quant is None else self.weight_quant(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, H', W'], with SAME padding H' = ceil(H / stride)."""
        left, right, top, bottom = self.padding(x.shape[2], x.shape[3])
        if left == right and top == bottom:
            padding = (top, left)
        else:
            x = functional.pad(x, (left, right, top, bottom))
            padding = (0, 0)
        return functional.conv2d(x, self.quantized_weight(), self.bias, self.stride, padding)


class QuantLinear(nn.Module):
    """Fully connected layer, weights quantized per output.

    Args:
        in_features: Length of the input vector.
        out_features: Length of the output vector.
        weight_bits: Planes per weight, 1..8, or None to keep the weights in float.
        bias: Whether to add a float bias per output.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        weight_bits: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(
            torch.randn(out_features, in_features) * (1 / in_features) ** 0.5
        )
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.weight_quant = (
            None
            if weight_bits is None
            else WeightQuantizer(out_features, weight_bits, out_features)
        )

    def quantized_weight(self) -> Tensor:
        """The weights that the product uses, [out_features, in_features]."""
        return self.weight if self.weight_quant is None else self.weight_quant(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_features] -> [N, out_features]."""
        return functional.linear(x, self.quantized_weight(), self.bias)


class MaxPool(Window):
    """Maximum over windows; padding never wins.

    Args:
        kernel_size: Window height and width k.
        stride: Step of the window; None is k.
        same: SAME padding, or none.
    """

    def __init__(self, kernel_size: int, stride: int | None = None, *, same: bool = True) -> None:
        super().__init__(kernel_size, stride or kernel_size, same)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W']."""
        padding = self.padding(x.shape[2], x.shape[3])
        padded = functional.pad(x, padding, value=-torch.inf) if any(padding) else x
        return functional.max_pool2d(padded, self.kernel_size, self.stride)


class GlobalAveragePool(nn.Module):
    """Mean over the image."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, 1, 1]."""
        return x.mean(dim=(2, 3), keepdim=True)


class ChannelPad(nn.Module):
    """Zero channels before and after those of the input."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before = before
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, before + C + after, H, W]."""
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))


class PixelInput(nn.Module):
    """Raw pixels of 0..255 as values of -1..127/128."""

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 or float [N, C, H, W] -> float, same shape."""
        is_float = pixels.is_floating_point()
        values = pixels if is_float else pixels.to(torch.get_default_dtype())
        return (values - PIXEL_OFFSET) / PIXEL_SCALE


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalization with tensorpack's constants (eps 1e-5, running factor 0.9)."""
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)


class LayerwideBatchNorm(nn.BatchNorm1d):
    """Batch normalization with one mean and one variance for all channels, without factors.

    The LQ-Nets authors' fully connected layers have it: their normalization reads the channels of
    an N x C x 1 x 1 tensor from its last axis.
    """

    def __init__(self) -> None:
        super().__init__(1, eps=1e-5, momentum=0.1, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, 1, 1] -> same shape."""
        return super().forward(input.flatten(1)[:, None]).view(input.shape)


def activation_quantizer(bits: int | None, encoding: ActivationEncoding) -> nn.Module:
    """A quantizer of ``bits`` planes, or the identity if ``bits`` is None."""
    return nn.Identity() if bits is None else ActivationQuantizer(bits, encoding)

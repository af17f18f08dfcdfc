"""Convolution and linear layers with learned weight quantization, and TensorFlow's padding."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from golden.quantizers import WeightQuantizer


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis of ``size`` so that it yields ceil(size / stride) outputs.

    TensorFlow's SAME rule: an odd total puts the extra zero after. A 3-wide window with stride 2
    on an even size gets (0, 1), where PyTorch's symmetric padding would give (1, 1).
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class QuantConv2d(nn.Module):
    """SAME-padded 2-D convolution, weights quantized per output channel.

    ``weight`` [Cout, Cin, k, k] is the latent float weight that training updates;
    ``weight_quant`` its quantizer, or None for a full-precision layer.

    Args:
        in_channels: Number of input channels Cin.
        out_channels: Number of output channels Cout.
        kernel_size: Kernel height and width k.
        stride: Step of the window in both directions.
        weight_bits: Planes per weight, 1..8, or None to keep the weights in float.
        bias: Whether to add a float bias per output channel.
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
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        fan_out = kernel_size * kernel_size * out_channels
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        # He initialisation by fan-out, the same deviation that the quantizer's basis starts from.
        self.weight = nn.Parameter(torch.randn(shape) * (2 / fan_out) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_quant = (
            None if weight_bits is None else WeightQuantizer(out_channels, weight_bits, fan_out)
        )

    def quantized_weight(self) -> Tensor:
        """The weights that the convolution uses, [Cout, Cin, k, k]."""
        return self.weight if self.weight_quant is None else self.weight_quant(self.weight)

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Zeros (left, right, top, bottom) for an input of ``height`` x ``width``."""
        vertical = same_padding(height, self.kernel_size, self.stride)
        return (*same_padding(width, self.kernel_size, self.stride), *vertical)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""
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

"""Layers: TensorFlow's SAME padding, quantized weights, parameters."""

import pytest
import torch
from torch.nn import functional

from golden.layers import QuantConv2d, QuantLinear, same_padding


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (32, 3, 1, (1, 1)),
        (32, 3, 2, (0, 1)),
        (33, 3, 2, (1, 1)),
        (224, 7, 2, (2, 3)),
        (32, 1, 1, (0, 0)),
        (32, 1, 2, (0, 0)),
        (8, 5, 1, (2, 2)),
        (8, 4, 1, (1, 2)),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_output_size_is_the_input_size_over_the_stride(size: int, kernel: int, stride: int) -> None:
    layer = QuantConv2d(1, 1, kernel, stride=stride)
    out = layer(torch.zeros(1, 1, size, size + 3))
    assert out.shape == (1, 1, -(-size // stride), -(-(size + 3) // stride))


def test_stride_two_windows_start_at_the_first_pixel() -> None:
    layer = QuantConv2d(1, 1, 3, stride=2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = 1
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(image)[0, 0].tolist() == [[0.0, 2.0], [8.0, 10.0]]


def test_convolution_uses_the_quantized_weights() -> None:
    torch.manual_seed(2)
    layer = QuantConv2d(4, 6, 3, weight_bits=2, bias=True).eval()
    assert layer.weight_quant is not None
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(2, 4, 8, 8)
    levels = layer.weight_quant.levels()
    quantized = layer.quantized_weight()
    for channel in range(6):
        assert set(quantized[channel].unique().tolist()) <= set(levels[channel].tolist())
    expected = functional.conv2d(x, quantized, layer.bias, padding=1)
    assert torch.equal(layer(x), expected)


def test_basis_starts_from_the_kernel_area_times_the_outputs() -> None:
    layer = QuantConv2d(4, 6, 3, weight_bits=1)
    assert layer.weight_quant is not None
    expected = 0.6745 * (2 / (9 * 6)) ** 0.5
    assert layer.weight_quant.basis.flatten().tolist() == pytest.approx([expected] * 6)


def test_float_layer_has_no_quantizer() -> None:
    layer = QuantConv2d(3, 5, 3)
    assert layer.weight_quant is None
    assert layer.quantized_weight() is layer.weight
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


@pytest.mark.parametrize("bits", [None, 1, 3])
def test_linear(bits: int | None) -> None:
    torch.manual_seed(4)
    layer = QuantLinear(12, 5, weight_bits=bits).eval()
    x = torch.randn(7, 12)
    assert torch.equal(layer(x), functional.linear(x, layer.quantized_weight(), layer.bias))
    assert (layer.weight_quant is None) == (bits is None)


def test_training_moves_latent_weights_and_basis() -> None:
    torch.manual_seed(6)
    layer = QuantConv2d(3, 4, 3, weight_bits=2)
    assert layer.weight_quant is not None
    before = layer.weight_quant.basis.clone()
    layer(torch.randn(2, 3, 6, 6)).square().sum().backward()
    assert layer.weight.grad is not None
    assert (layer.weight.grad != 0).all()
    assert not torch.equal(layer.weight_quant.basis, before)

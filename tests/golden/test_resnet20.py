"""ResNet-20: size, shapes, shortcuts, which layers are quantized, input scaling."""

import pytest
import torch
from torch import Tensor, nn

from golden.layers import QuantConv2d, QuantLinear
from golden.quantizers import ActivationEncoding, ActivationQuantizer
from golden.resnet20 import Block, ResNet20


def random_pixels(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)


def layers_of(network: ResNet20) -> list[QuantConv2d | QuantLinear]:
    return [m for m in network.modules() if isinstance(m, QuantConv2d | QuantLinear)]


def test_weights_and_operations() -> None:
    network = ResNet20(2, 2).eval()
    operations: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, QuantConv2d | QuantLinear)
        positions = output[0, 0].numel()
        operations.append(layer.weight.numel() * positions)

    for layer in layers_of(network):
        layer.register_forward_hook(count)
    network(random_pixels(1))
    weights = sum(layer.weight.numel() for layer in layers_of(network))
    # 3*16*9 + 6*16*16*9 + (16*32 + 5*32*32)*9 + (32*64 + 5*64*64)*9 + 64*10
    assert weights == 268_336
    # 27*16*32^2 + 6*144*16*32^2 + (144 + 5*288)*32*16^2 + (288 + 5*576)*64*8^2 + 640
    assert sum(operations) == 40_551_040


def test_only_the_first_and_the_last_layer_are_float() -> None:
    network = ResNet20(2, 3)
    first, *inner, last = layers_of(network)
    assert first is network.conv0
    assert last is network.fc
    assert first.weight_quant is None
    assert last.weight_quant is None
    assert len(inner) == 18
    assert all(layer.weight_quant is not None and layer.weight_quant.bits == 2 for layer in inner)
    quantizers = [m for m in network.modules() if isinstance(m, ActivationQuantizer)]
    assert len(quantizers) == 18
    assert all(quantizer.bits == 3 for quantizer in quantizers)


@pytest.mark.parametrize("encoding", ActivationEncoding)
def test_inputs_of_inner_convolutions_are_levels(encoding: ActivationEncoding) -> None:
    torch.manual_seed(0)
    network = ResNet20(1, 2, encoding).eval()
    seen = 0

    def check(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal seen
        seen += 1
        assert len(inputs[0].unique()) <= 4

    for block in network.blocks():
        block.conv1.register_forward_pre_hook(check)
        block.conv2.register_forward_pre_hook(check)
    network(random_pixels())
    assert seen == 18


def test_float_network_has_no_quantizers() -> None:
    network = ResNet20(None, None)
    assert not [m for m in network.modules() if isinstance(m, ActivationQuantizer)]
    assert all(layer.weight_quant is None for layer in layers_of(network))


def test_shapes_and_preactivation_of_the_blocks() -> None:
    network = ResNet20(2, 2).eval()
    x = torch.zeros(1, 16, 32, 32)
    shapes = []
    for block in network.blocks():
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3
    assert [block.bn_in is None for block in network.blocks()] == [True] + [False] * 8
    assert [block.stride for block in network.blocks()] == [1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert network(random_pixels(3)).shape == (3, 10)


def test_shortcut_of_a_widening_block() -> None:
    block = Block(
        16,
        32,
        weight_bits=None,
        activation_bits=None,
        encoding=ActivationEncoding.UNSIGNED,
        preactivate=True,
    ).eval()
    torch.manual_seed(1)
    x = torch.randn(1, 16, 4, 4)
    shortcut = block.shortcut(x)
    assert shortcut.shape == (1, 32, 2, 2)
    assert not shortcut[:, :8].any()
    assert not shortcut[:, 24:].any()
    assert shortcut[0, 8, 1, 0].item() == pytest.approx(x[0, 0, 2:4, 0:2].mean().item())
    with torch.no_grad():
        block.conv2.weight.zero_()
    assert torch.equal(block(x), shortcut)


def test_pixels_enter_centred_and_scaled() -> None:
    network = ResNet20(2, 2).eval()
    entered: list[Tensor] = []
    network.conv0.register_forward_pre_hook(lambda layer, inputs: entered.append(inputs[0]))
    pixels = torch.tensor([0, 64, 128, 255], dtype=torch.uint8).repeat(1, 3, 32, 8)
    network(pixels)
    assert entered[0][0, 0, 0, :4].tolist() == [-1.0, -0.5, 0.0, 127 / 128]
    assert torch.equal(network(pixels), network(pixels.float()))


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(3)
    network = ResNet20(2, 2)
    network(random_pixels(4)).logsumexp(1).sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []

"""A scaled-down network of every family, calibrated and exported."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from golden.alexnet import AlexNet
from golden.densenet import DenseNet
from golden.example_model import calibrate, example_images
from golden.export import add_ranges, model_bytes, network_model, round_full_precision
from golden.googlenet_variant import GoogLeNetVariant, Inception
from golden.network import LqNetwork
from golden.quantizers import ActivationEncoding
from golden.resnet import ResNet, ResNetShape
from golden.vgg_small import VggSmall
from golden.vgg_variant import VggVariant

__all__ = ["FAMILIES", "exported"]

Build = Callable[[int | None, int | None, ActivationEncoding], LqNetwork]

INCEPTIONS = (Inception(4, 5, 3), Inception(5, 6, 4, pooled=True), Inception(6, 5, 3))

FAMILIES: dict[str, Build] = {
    "vgg-small": lambda w, a, e: VggSmall(w, a, e, widths=(8, 12, 16), image_size=16),
    "alexnet": lambda w, a, e: AlexNet(
        w, a, e, image_size=103, widths=(6, 8, 12, 12, 8), features=24, classes=7
    ),
    "vgg-variant": lambda w, a, e: VggVariant(
        w, a, e, image_size=64, widths=(6, 8, 12, 12), features=24, classes=7
    ),
    "googlenet-variant": lambda w, a, e: GoogLeNetVariant(
        w, a, e, image_size=37, stem=(6, 8), blocks=INCEPTIONS, classes=7
    ),
    "resnet": lambda w, a, e: ResNet(
        "small", ResNetShape((2, 1, 2)), w, a, e, image_size=32, width=6, classes=7
    ),
    "resnet-bottleneck": lambda w, a, e: ResNet(
        "small", ResNetShape((2, 2), True), w, a, e, image_size=24, width=5, classes=7
    ),
    "resnet-type-a": lambda w, a, e: ResNet(
        "small", ResNetShape((2, 2)), w, a, e, image_size=32, width=6, classes=7, type_a=True
    ),
    "resnet-bottleneck-type-a": lambda w, a, e: ResNet(
        "small", ResNetShape((1, 2), True), w, a, e, image_size=24, width=5, classes=7, type_a=True
    ),
    "densenet": lambda w, a, e: DenseNet(
        "small", w, a, e, image_size=24, stem=8, growth=4, layers=(2, 3), classes=7
    ),
    "densenet-released": lambda w, a, e: DenseNet(
        "small", w, a, e, image_size=24, stem=8, growth=4, layers=(2, 3), classes=7, released=True
    ),
}


def exported(
    family: str,
    weights: int | None,
    activations: int | None,
    code: ActivationEncoding = ActivationEncoding.UNSIGNED,
) -> tuple[LqNetwork, bytes]:
    """A calibrated network and its file."""
    torch.manual_seed(1)
    network = FAMILIES[family](weights, activations, code)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.6)
            nn.init.normal_(module.bias, 0.0, 0.2)
        elif isinstance(module, VggVariant) and module.conv1.bias is not None:
            nn.init.normal_(module.conv1.bias, 0.0, 0.2)  # as in imported networks
    round_full_precision(network)
    images = example_images(network.image_shape, 6)
    calibrate(network, images)
    model = network_model(network)
    add_ranges(model, images)
    return network, model_bytes(model)

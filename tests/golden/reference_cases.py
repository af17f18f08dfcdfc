"""The reference code's networks of the import, in full size and as deep with a few channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from golden.alexnet import AlexNet
from golden.densenet import LAYERS, DenseNet
from golden.googlenet_variant import BLOCKS, GoogLeNetVariant, Inception
from golden.network import LqNetwork
from golden.reference_import import ImportedCheckpoint, read_network
from golden.reference_names import REFERENCE_NETWORKS
from golden.resnet import RESNET18, RESNET34, RESNET50, ResNet, ResNetShape
from golden.vgg_small import VggSmall
from golden.vgg_variant import VggVariant
from tests.golden.reference_backbones import (
    alexnet,
    densenet,
    googlenet_variant,
    resnet,
    vgg_small,
    vgg_variant,
)
from tests.golden.reference_graph import Array, Graph, image_net

Build = Callable[[int | None, int | None], LqNetwork]
Draw = Callable[[Graph, Array, Array], Array]
"""(graph, normalized images, what is around them) -> scores"""

GREY = image_net(np.full(3, 128.0))
"""What the networks here find around an image, as the reference code's first layer would see it."""


@dataclass(frozen=True)
class Case:
    """A network in full size, and one as deep with a few channels."""

    draw: Draw
    image_size: int
    small_draw: Draw
    small: Build
    small_image_size: int


def resnet_case(name: str, shape: ResNetShape) -> Case:
    def draw(width: int, classes: int, g: Graph, x: Array, outside: Array) -> Array:
        form = "preact_typeA" if name.endswith("type-a") else "preact"
        form = "resnet" if g.activations is None else form
        bottleneck = shape.bottleneck
        return resnet(g, x, outside, form, shape.blocks, width, classes, bottleneck=bottleneck)

    def small(weights: int | None, activations: int | None) -> LqNetwork:
        type_a = name.endswith("type-a")
        return ResNet(
            name, shape, weights, activations, image_size=32, width=4, classes=7, type_a=type_a
        )

    return Case(partial(draw, 64, 1000), 224, partial(draw, 4, 7), small, 32)


def densenet_case(name: str) -> Case:
    released = name.endswith("released")

    def draw(sizes: tuple[int, int, int], g: Graph, x: Array, outside: Array) -> Array:
        return densenet(g, x, outside, LAYERS, *sizes, first=not released)

    def small(weights: int | None, activations: int | None) -> LqNetwork:
        return DenseNet(
            name,
            weights,
            activations,
            image_size=32,
            released=released,
            stem=6,
            growth=2,
            classes=7,
        )

    return Case(partial(draw, (64, 32, 1000)), 224, partial(draw, (6, 2, 7)), small, 32)


FULL_BRANCHES = tuple((block.point, block.middle, block.wide) for block in BLOCKS)
SMALL_BLOCKS = tuple(
    Inception(3 + index % 2, 2 + index % 3, 4, block.pooled) for index, block in enumerate(BLOCKS)
)
SMALL_BRANCHES = tuple((block.point, block.middle, block.wide) for block in SMALL_BLOCKS)

CASES = {
    "vgg-small": Case(
        lambda g, x, _: vgg_small(g, x, (128, 256, 512), 10),
        32,
        lambda g, x, _: vgg_small(g, x, (4, 6, 8), 7),
        lambda w, a: VggSmall(w, a, widths=(4, 6, 8), image_size=16, classes=7),
        16,
    ),
    "alexnet": Case(
        lambda g, x, _: alexnet(g, x, (96, 256, 384, 384, 256), 4096, 6, 1000),
        227,
        lambda g, x, _: alexnet(g, x, (4, 5, 6, 6, 5), 9, 2, 7),
        lambda w, a: AlexNet(w, a, image_size=103, widths=(4, 5, 6, 6, 5), features=9, classes=7),
        103,
    ),
    "vgg-variant": Case(
        lambda g, x, outside: vgg_variant(g, x, outside, (96, 256, 512, 512), 4096, 1000),
        224,
        lambda g, x, outside: vgg_variant(g, x, outside, (4, 5, 6, 6), 9, 7),
        lambda w, a: VggVariant(w, a, image_size=64, widths=(4, 5, 6, 6), features=9, classes=7),
        64,
    ),
    "googlenet-variant": Case(
        lambda g, x, outside: googlenet_variant(g, x, outside, (64, 192), FULL_BRANCHES, 1000),
        224,
        lambda g, x, outside: googlenet_variant(g, x, outside, (4, 5), SMALL_BRANCHES, 7),
        lambda w, a: GoogLeNetVariant(
            w, a, image_size=32, stem=(4, 5), blocks=SMALL_BLOCKS, classes=7
        ),
        32,
    ),
    **{
        f"{name}{suffix}": resnet_case(f"{name}{suffix}", shape)
        for suffix in ("", "-type-a")
        for name, shape in (("resnet18", RESNET18), ("resnet34", RESNET34), ("resnet50", RESNET50))
    },
    **{name: densenet_case(name) for name in ("densenet121", "densenet121-released")},
}

FORMS = [
    (name, activations)
    for name in CASES
    for activations in (2, None)
    if activations is not None or not name.endswith("type-a")
]
"""Names, and planes of the activations."""


def small_pixels(size: int) -> Array:
    """Two images [2, size, size, 3]."""
    return np.random.default_rng(3).integers(0, 256, (2, size, size, 3)).astype(np.float64)


def normalized(name: str, pixels: Array) -> Array:
    """Images as the reference code's first layer of a network gets them."""
    # A mean of 128 everywhere is the one that CIFAR's networks have here.
    return (pixels - 128) / 128 if name == "vgg-small" else image_net(pixels)


def small_graph(
    name: str, activations: int | None = 2, outside: Array = GREY
) -> tuple[Graph, Array]:
    """A graph with few channels, and its scores on the small images."""
    case = CASES[name]
    graph = Graph(activations=activations)
    images = normalized(name, small_pixels(case.small_image_size))
    return graph, case.small_draw(graph, images, outside)


def import_small(
    name: str, variables: Mapping[str, Array], dtype: torch.dtype = torch.float32
) -> ImportedCheckpoint:
    """Import into a network whose tensors are all NaN before."""

    def build(weights: int | None, activations: int | None) -> LqNetwork:
        network = CASES[name].small(weights, activations).to(dtype)
        for values in network.state_dict().values():
            values.fill_(torch.nan if values.is_floating_point() else -1)
        return network

    return read_network(variables, replace(REFERENCE_NETWORKS[name], build=build))


def golden_scores(network: nn.Module, pixels: Array) -> Array:
    """The network's scores on images [N, height, width, 3], in float64."""
    with torch.no_grad():
        return network.double()(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).numpy()

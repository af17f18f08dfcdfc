"""The networks by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from golden.alexnet import AlexNet
from golden.densenet import DenseNet
from golden.googlenet_variant import GoogLeNetVariant
from golden.network import LqNetwork
from golden.quantizers import ActivationEncoding
from golden.resnet import RESNET18, RESNET34, RESNET50, ResNet
from golden.resnet20 import ResNet20
from golden.vgg_small import VggSmall
from golden.vgg_variant import VggVariant

__all__ = ["NETWORKS", "NetworkEntry", "UnknownNetwork", "build_network", "trainable_networks"]


class UnknownNetwork(ValueError):
    """A name that no network has."""


@dataclass(frozen=True)
class NetworkEntry:
    """One network.

    Attributes:
        build: (weight_bits, activation_bits, encoding, image_size=..., classes=...) -> network
            with new weights.
        image_size: Height and width of its images, unless others are asked for.
        classes: Number of scores.
        dataset: What it is trained on.
    """

    build: Callable[..., LqNetwork]
    image_size: int
    classes: int
    dataset: str


NETWORKS = {
    "resnet20": NetworkEntry(ResNet20, 32, 10, "cifar10"),
    "vgg-small": NetworkEntry(VggSmall, 32, 10, "cifar10"),
    "alexnet": NetworkEntry(AlexNet, 227, 1000, "imagenet"),
    "vgg-variant": NetworkEntry(VggVariant, 224, 1000, "imagenet"),
    "googlenet-variant": NetworkEntry(GoogLeNetVariant, 224, 1000, "imagenet"),
    **{
        name: NetworkEntry(partial(ResNet, name, shape, type_a=type_a), 224, 1000, "imagenet")
        for name, shape, type_a in (
            ("resnet18", RESNET18, False),
            ("resnet34", RESNET34, False),
            ("resnet50", RESNET50, False),
            ("resnet18-type-a", RESNET18, True),
            ("resnet34-type-a", RESNET34, True),
            ("resnet50-type-a", RESNET50, True),
        )
    },
    **{
        name: NetworkEntry(partial(DenseNet, name, released=released), 224, 1000, "imagenet")
        for name, released in (("densenet121", False), ("densenet121-released", True))
    },
}


def build_network(
    name: str,
    weight_bits: int | None,
    activation_bits: int | None,
    encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
    *,
    image_size: int | None = None,
    classes: int | None = None,
) -> LqNetwork:
    """A network with new weights, drawn from torch's generator.

    Args:
        name: A key of ``NETWORKS``.
        weight_bits: Planes per weight of the inner layers, 1..8, or None for float.
        activation_bits: Planes per input of the inner layers, 1..8, or None for float.
        encoding: Alphabet of the activation codes.
        image_size: Height and width of the images; None takes those of the network.
        classes: Number of scores; None takes that of the network.

    Raises:
        UnknownNetwork: If there is no such network.
    """
    if name not in NETWORKS:
        raise UnknownNetwork(f"network must be one of {', '.join(NETWORKS)}, not {name!r}")
    entry = NETWORKS[name]
    size = entry.image_size if image_size is None else image_size
    classes = entry.classes if classes is None else classes
    return entry.build(weight_bits, activation_bits, encoding, image_size=size, classes=classes)


def trainable_networks() -> tuple[str, ...]:
    """Names of the networks that can be trained: all."""
    return tuple(NETWORKS)

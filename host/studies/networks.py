"""The paper's networks, for questions of cycles alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from compiler.compile import compile_network
from golden.example_model import calibrate, example_images
from golden.export import model_bytes, network_model, round_full_precision
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.networks import build_network
from golden.onnx_import import import_bytes
from golden.quantizers import ActivationEncoding
from hw.config import AcceleratorConfig
from sim.profile import Clock, Profile, profile_program

__all__ = ["NETWORKS", "PaperNetwork", "integer_network", "profile_network"]

IMAGES = 2
PASSES = 1
"""Of calibration: the cycles depend on shapes and widths, not on values. But values that are not
finite have no quantizer."""


@dataclass(frozen=True)
class PaperNetwork:
    """A network of the paper."""

    name: str
    size: int | None = None
    """Side of the image in pixels; None for the paper's own."""

    @property
    def label(self) -> str:
        return self.name if self.size is None else f"{self.name}, {self.size} x {self.size}"


NETWORKS = (
    PaperNetwork("resnet20"),
    PaperNetwork("vgg-small"),
    PaperNetwork("alexnet", 211),
    PaperNetwork("googlenet-variant", 160),
    PaperNetwork("vgg-variant", 128),
    PaperNetwork("resnet18", 160),
    PaperNetwork("resnet34", 160),
    PaperNetwork("resnet50", 160),
    PaperNetwork("densenet121", 160),
)
"""Image sizes that ``simulation-large`` holds whole, next to the codes that are pooled."""


def integer_network(
    name: str,
    weights: int,
    activations: int,
    *,
    encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
    size: int | None = None,
    first_layer_bits: int | None = None,
) -> IntegerNetwork:
    """A network with seeded weights, hardly calibrated: for its cycles, not for its answers.

    Weights that are not quantized have eight planes, in the first layer ``first_layer_bits``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network(name, weights, activations, encoding, image_size=size)
    round_full_precision(network, first_layer_bits=first_layer_bits)
    calibrate(network, example_images(network.image_shape, IMAGES), passes=PASSES)
    return lower(import_bytes(model_bytes(network_model(network, ()))))


def profile_network(
    network: IntegerNetwork, config: AcceleratorConfig, name: str, clock: Clock
) -> Profile:
    """Where the cycles of ``network`` go; ProgramError if it has no program for ``config``."""
    program = compile_network(network, config)
    return profile_program(program, config, model=name, clock=clock)

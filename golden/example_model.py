"""Networks with seeded weights, calibrated on seeded images, for use without training.

Compiler, simulator and gateware need models whose codes are as mixed as those of trained ones.
Here every basis is fitted by the quantizers' own error minimisation (QEM) on the values that
really reach it, and every batch normalization has the statistics of the same images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from golden.export import round_full_precision
from golden.network import LqNetwork
from golden.networks import build_network
from golden.quantizers import ActivationEncoding, ActivationQuantizer, WeightQuantizer

__all__ = ["CALIBRATION_PASSES", "calibrate", "calibrated_network", "example_images"]

CALIBRATION_PASSES = 6
EXAMPLE_IMAGES = 8
COARSE_CELLS = 6
"""Random colours along each side of an image, before they are blended."""
NOISE = 30.0
GAIN_SPREAD = 0.3
OFFSET_SPREAD = 0.2


def example_images(
    shape: tuple[int, int, int], count: int = EXAMPLE_IMAGES, *, seed: int = 1
) -> np.ndarray:
    """Blended patches of random colour with noise: uint8 [count, height, width, channels]."""
    height, width, channels = shape
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, channels, COARSE_CELLS, COARSE_CELLS), generator=generator) * 255
    smooth = functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.randn(smooth.shape, generator=generator) * NOISE
    pixels = (smooth + noise).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


@torch.no_grad()
def calibrate(
    network: nn.Module,
    images: np.ndarray,
    *,
    passes: int = CALIBRATION_PASSES,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Fit all bases and batch-norm statistics of ``network`` to ``images``; leaves it evaluating.

    Each pass is one alternation of QEM for every quantizer. The averages over steps that training
    keeps start anew in each pass, so that the last one alone decides.

    Args:
        network: Any network; its weights stay as they are.
        images: uint8 [N, height, width, channels].
        passes: Passes over the images, all in one batch.
        progress: Called after every pass.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    quantizers = [
        m for m in network.modules() if isinstance(m, WeightQuantizer | ActivationQuantizer)
    ]
    momenta = [norm.momentum for norm in norms]
    starts: dict[nn.Module, Tensor] = {}

    def start(quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if quantizer not in starts:
            assert isinstance(quantizer, ActivationQuantizer)
            starts[quantizer] = _start_basis(quantizer, inputs[0])
            quantizer.basis.copy_(starts[quantizer])

    hooks = [
        q.register_forward_pre_hook(start) for q in quantizers if isinstance(q, ActivationQuantizer)
    ]
    network.train()
    for norm in norms:
        norm.momentum = 1.0
    for _ in range(passes):
        for quantizer in quantizers:
            quantizer.step.zero_()
            quantizer.biased.zero_()
        network(pixels)
        for quantizer, basis in starts.items():
            # Where a high plane hardly occurs, least squares can give it a negative value, which
            # no file may have for activations.
            if bool((quantizer.basis < 0).any()):
                quantizer.basis.copy_(basis)
        progress()
    for hook in hooks:
        hook.remove()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _start_basis(quantizer: ActivationQuantizer, values: Tensor) -> Tensor:
    """The basis that a new quantizer has, in proportion to the size of its first values.

    It is made for ReLU of N(0, 1), whose mean square is 1/2.
    """
    size = values.square().mean().mul(2).sqrt()
    initial = ActivationQuantizer(quantizer.bits, quantizer.encoding).basis
    return initial * size if size > 0 else initial


def calibrated_network(
    name: str,
    weight_bits: int | None,
    activation_bits: int | None,
    encoding: ActivationEncoding = ActivationEncoding.UNSIGNED,
    *,
    seed: int = 1,
    image_size: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> LqNetwork:
    """A network with seeded weights and batch-norm factors, calibrated on example images.

    Arguments as for :func:`golden.networks.build_network`; ``progress`` as for
    :func:`calibrate`. Weights in full precision are rounded to what eight planes hold. The same
    arguments give the same network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(name, weight_bits, activation_bits, encoding, image_size=image_size)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, GAIN_SPREAD)
                nn.init.normal_(module.bias, 0.0, OFFSET_SPREAD)
    round_full_precision(network)
    calibrate(network, example_images(network.image_shape, seed=seed), progress=progress)
    return network

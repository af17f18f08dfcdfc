"""What the reference code does to ImageNet images, folded into a network's first layer.

That code reads BGR images and gives the first convolution ``(p / 255 - mean) / deviation`` per
channel; the networks here read RGB and give it ``g = (p - 128) / 128``. As ``p = 128 g + 128``, the
one is ``factor * g + rest`` of the other: the weights are multiplied by ``factor``, and what they
make of ``rest`` is one number per output channel. It is taken from the mean of the batch
normalization that follows (a max-pool between them does not matter), or is the convolution's bias
where none does.

This is exact wherever the window lies in the image, so everywhere in AlexNet, which does not pad.
The other networks pad with zeros, and those are the mean colour in that code and 128 here.

Source: imagenet_utils.py of microsoft/LQ-Nets, ``image_preprocess`` and ``image_bgr``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from golden.layers import PIXEL_OFFSET, PIXEL_SCALE, QuantConv2d

__all__ = ["FirstLayer", "fold_image_normalization"]

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in 0..1, RGB."""

LARGEST_PIXEL = 255


@dataclass(frozen=True)
class FirstLayer:
    """Where the images enter."""

    convolution: str
    """Path of the first convolution."""
    norm: str | None
    """Path of the batch normalization that reads it; None: it has a bias instead."""


@torch.no_grad()
def fold_image_normalization(network: nn.Module, first: FirstLayer) -> None:
    """Turn a first layer for normalized BGR images into one for this project's images.

    Computed in float64 and rounded once to the tensors' type.

    Args:
        network: Holds the values of the reference code's variables.
        first: The layer; its weights [Cout, 3, k, k] are in float.
    """
    convolution = network.get_submodule(first.convolution)
    assert isinstance(convolution, QuantConv2d)
    assert convolution.weight_quant is None
    mean, deviation = (_column(values) for values in (MEAN, DEVIATION))
    factor = PIXEL_SCALE / (LARGEST_PIXEL * deviation)
    rest = (PIXEL_OFFSET / LARGEST_PIXEL - mean) / deviation
    weight = convolution.weight.double().flip(1)
    offset = (weight * rest).sum(dim=(1, 2, 3))
    convolution.weight.copy_(weight * factor)
    if first.norm is None:
        assert convolution.bias is not None
        convolution.bias.copy_(offset)
        return
    norm = network.get_submodule(first.norm)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean.copy_(norm.running_mean.double() - offset)


def _column(values: tuple[float, float, float]) -> Tensor:
    """One value per channel of a kernel, float64 [3, 1, 1]."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None]

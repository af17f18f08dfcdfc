"""Batch normalization over the batches of all processes together.

torch's own SyncBatchNorm does this on GPUs only. Here mean and variance come from sums in float64,
so that the split of a batch over processes changes them by less than float32 can tell.
"""

from typing import Any

import torch
from torch import Tensor, nn

from golden.distributed import Ranks
from golden.layers import LayerwideBatchNorm

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def synchronize(network: nn.Module, ranks: Ranks) -> None:
    """Make every batch normalization of ``network`` in training use the images of all ``ranks``."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            _synchronize(module, ranks)


def _synchronize(norm: BatchNorm, ranks: Ranks) -> None:
    own_forward = norm.forward

    def forward(x: Tensor) -> Tensor:
        if not norm.training:
            return own_forward(x)
        if isinstance(norm, LayerwideBatchNorm):
            return normalize(x.flatten(1)[:, None], norm, ranks).view(x.shape)
        return normalize(x, norm, ranks)

    norm.forward = forward


def normalize(x: Tensor, norm: BatchNorm, ranks: Ranks) -> Tensor:
    """``x`` [N, C, ...] normalized as ``norm`` in training does, with all processes' statistics.

    Updates the running statistics of ``norm``; the gradient goes through the statistics, so that
    each process gets its part of the gradient of the sum of all processes' losses.
    """
    y, mean, variance = _Normalize.apply(x, norm.weight, norm.bias, norm.eps, ranks)
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        factor = norm.momentum
        assert factor is not None
        count = _count(x, ranks)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), factor)
        unbiased = variance * (count / (count - 1))
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), factor)
        norm.num_batches_tracked += 1
    return y


def _count(x: Tensor, ranks: Ranks) -> int:
    """Elements of a channel in all processes; their parts of a batch are equal."""
    return ranks.count * x.numel() // x.shape[1]


def _wide(x: Tensor) -> Tensor:
    """``x`` in float32 or what it has beyond."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Values [C] in the type of ``x`` [N, C, ...], to stand beside it."""
    return values.to(x.dtype).view(1, -1, *(1,) * (x.dim() - 2))


def _sums(*tensors: Tensor) -> Tensor:
    """Sum of each tensor [N, C, ...] over all but the channels, float64 [len(tensors), C]."""
    axes = [0, *range(2, tensors[0].dim())]
    return torch.stack([tensor.sum(axes, dtype=torch.float64) for tensor in tensors])


class _Normalize(torch.autograd.Function):
    """Values, and the float64 mean and variance [C] of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = _wide(x)
        mean, square = ranks.sum(_sums(wide, wide.square())) / _count(x, ranks)
        variance = (square - mean.square()).clamp(min=0)
        inverse = (variance + eps).rsqrt()
        y = (wide - _per_channel(mean, wide)) * _per_channel(inverse, wide)
        if weight is not None and bias is not None:
            y = y * _per_channel(weight, wide) + _per_channel(bias, wide)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.ranks = ranks
        ctx.mark_non_differentiable(mean, variance)
        return y.to(x.dtype), mean, variance

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        gradient, wide = _wide(gradients[0]), _wide(x)
        standard = (wide - _per_channel(mean, wide)) * _per_channel(inverse, wide)
        own = _sums(gradient, gradient * standard)
        # The parameters' gradients are summed over the processes with all others.
        bias_gradient, weight_gradient = own.to(wide.dtype)
        sum_of, product_of = ctx.ranks.sum(own.clone()) / _count(x, ctx.ranks)
        inner = gradient - _per_channel(sum_of, wide) - standard * _per_channel(product_of, wide)
        scale = inverse if weight is None else inverse * weight
        x_gradient = (inner * _per_channel(scale, wide)).to(x.dtype)
        if weight is None:
            return x_gradient, None, None, None, None
        return x_gradient, weight_gradient, bias_gradient, None, None

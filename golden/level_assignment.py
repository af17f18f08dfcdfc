"""The quantizers' pass over a tensor: nearest levels, and how many elements are on each.

The level of ``x`` is ``levels[#(thresholds < x)]``: at a threshold the lower one. For few levels
one comparison per threshold is faster than a binary search and a histogram.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_COMPARED_THRESHOLDS = 7
"""Up to here one comparison per threshold is faster than a binary search and a histogram."""

Statistics = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Signature of :func:`compare_and_sum`, so that a compiled twin can take its place."""

Gate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Signature of :func:`gate_gradient`, so that a compiled twin can take its place."""


def gate_gradient(gradient: Tensor, x: Tensor, top: Tensor) -> Tensor:
    """``gradient`` where ``x <= top``, compared in the type of ``top``, else 0."""
    return torch.where(x.to(top.dtype) <= top, gradient, 0.0)


def round_to_levels(x: Tensor, thresholds: Tensor, levels: Tensor) -> Tensor:
    """The level of each element of ``x`` (same shape and type): ``levels[#(thresholds < x)]``."""
    if len(thresholds) > MAX_COMPARED_THRESHOLDS:
        index = torch.bucketize(x.to(levels.dtype).contiguous(), thresholds, right=False)
        return levels.to(x.dtype)[index]
    wide = x.to(levels.dtype)
    quantized = levels[0].expand_as(wide)
    for threshold, level in zip(thresholds, levels[1:], strict=True):
        quantized = torch.where(wide > threshold, level, quantized)
    return quantized.to(x.dtype)


def assign_levels(
    x: Tensor, thresholds: Tensor, levels: Tensor, statistics: Statistics
) -> tuple[Tensor, Tensor, Tensor]:
    """Levels of ``x`` as in :func:`round_to_levels`, and per level the elements' count and sum.

    Returns the quantized values, float64 counts [2^K] and float64 sums [2^K].
    """
    if len(thresholds) > MAX_COMPARED_THRESHOLDS:
        index = torch.bucketize(x.to(levels.dtype).contiguous(), thresholds, right=False)
        quantized = levels.to(x.dtype)[index]
        flat, values = index.flatten(), x.flatten().double()
        # No bincount: it would wait for a GPU to tell the largest index.
        zeros = torch.zeros(len(levels), dtype=torch.float64, device=x.device)
        counts = zeros.scatter_add(0, flat, torch.ones_like(values))
        sums = zeros.scatter_add(0, flat, values)
        return quantized, counts, sums
    quantized, above_counts, above_sums = statistics(x, thresholds, levels)
    return quantized, _between(above_counts.double()), _between(above_sums.double())


def assign_row_levels(
    rows: Tensor, thresholds: Tensor, levels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Levels of rows of values, each row with its own, and what is on each level.

    Args:
        rows: Values [R, n].
        thresholds: Of each row, ascending, [R, 2^K - 1].
        levels: Of each row, ascending, [R, 2^K].

    Returns:
        Quantized values [R, n], float64 counts [R, 2^K] and float64 sums [R, 2^K].
    """
    wide = rows.double()
    if thresholds.shape[1] > MAX_COMPARED_THRESHOLDS:
        index = torch.searchsorted(thresholds, rows, right=False)
        zeros = torch.zeros(levels.shape, dtype=torch.float64, device=rows.device)
        counts = zeros.scatter_add(1, index, torch.ones_like(wide))
        return levels.gather(1, index), counts, zeros.scatter_add(1, index, wide)
    quantized = levels[:, :1].expand_as(rows)
    counts = [torch.full_like(levels[:, 0], rows.shape[1], dtype=torch.float64)]
    sums = [wide.sum(1)]
    for threshold, level in zip(thresholds.split(1, 1), levels[:, 1:].split(1, 1), strict=True):
        above = rows > threshold
        quantized = torch.where(above, level, quantized)
        counts.append(above.sum(1).double())
        sums.append(torch.where(above, wide, 0.0).sum(1))
    return quantized, _between(torch.stack(counts, 1)), _between(torch.stack(sums, 1))


def _between(above: Tensor) -> Tensor:
    """Totals of each level from the totals above each threshold (entry 0: above nothing)."""
    # Level i ends where i + 1 begins.
    return torch.cat((above[..., :-1] - above[..., 1:], above[..., -1:]), -1)


def compare_and_sum(x: Tensor, thresholds: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized values, and count [2^K] and sum [2^K] of the elements above each threshold.

    Entry 0 covers all elements. This is the one pass over the tensor that training costs.
    """
    wide = x.to(levels.dtype)
    quantized = levels[0].expand_as(wide)
    # Integers as narrow as the values: a vector of each has the same length.
    integer = torch.int32 if x.numel() < 2**31 else torch.int64
    counts = [torch.full((), x.numel(), dtype=integer, device=x.device)]
    sums = [wide.sum()]
    for i in range(thresholds.shape[0]):
        above = wide > thresholds[i]
        quantized = torch.where(above, levels[i + 1], quantized)
        counts.append(above.sum(dtype=integer))
        sums.append(torch.where(above, wide, 0.0).sum())
    return quantized.to(x.dtype), torch.stack(counts), torch.stack(sums)

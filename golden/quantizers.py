"""Learned quantizers of LQ-Nets: value = basis . code, basis fitted by least squares.

A K-bit quantizer has K basis entries ``v`` and 2^K levels, one per code ``e``: ``q = v . e``.
Weight codes are in {-1,+1}^K with one basis per output channel; activation codes are in
{0,1}^K (the authors' released code) or {-1,+1}^K (the paper's text) with one basis per tensor.

The basis gets no gradient. Every training step does one alternation of quantization error
minimisation (QEM): codes from the stored basis, then the basis that minimises
``|v . e - x|^2`` for these codes, which enters a zero-debiased moving average.

Both steps only need, per level, how many elements fell on it and their sum. These are
gathered in one pass; K x N code tensors never exist. Bases of many quantizers can be fitted at
once (:mod:`golden.basis_updates`).

Source: Zhang et al., "LQ-Nets: Learned Quantization for Highly Accurate and Compact Deep Neural
Networks" (ECCV 2018). Constants, order of operations and ties follow ``QuantizedActiv`` and
``QuantizedWeight`` in learned_quantization.py of the microsoft/LQ-Nets repository; the moving
average is TensorFlow's ``assign_moving_average`` with its default zero-debias.
"""

import math
from typing import Any

import torch
from torch import Tensor

from golden.basis_fit import fit_activation_bases, fit_weight_bases
from golden.learned_quantizer import (
    MAX_BITS,
    ActivationEncoding,
    LearnedQuantizer,
    LevelStatistics,
    check_bits,
    code_table,
)
from golden.level_assignment import (
    Gate,
    Statistics,
    assign_levels,
    assign_row_levels,
    compare_and_sum,
    gate_gradient,
    round_to_levels,
)

__all__ = [
    "MAX_BITS",
    "ActivationEncoding",
    "ActivationQuantizer",
    "WeightQuantizer",
    "code_table",
]

NORMAL_UPPER_QUARTILE = 0.6745
"""75th percentile of N(0, 1); the initial bases are multiples of it."""


class _PassAll(torch.autograd.Function):
    """Forward the quantized value; backward the gradient as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: Tensor) -> Tensor:
        return quantized

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _PassBelow(torch.autograd.Function):
    """Forward the quantized value; backward the gradient where ``x <= top``, else 0.

    ``x`` itself is kept, not a mask: the ReLU before the quantizer keeps the same tensor.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: Tensor, top: Tensor, gate: Gate) -> Tensor:
        ctx.save_for_backward(x, top)
        ctx.gate = gate
        return quantized

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        x, top = ctx.saved_tensors
        return ctx.gate(grads[0], x.detach(), top), None, None, None


class WeightQuantizer(LearnedQuantizer):
    """Quantizer of a weight tensor [Cout, ...]: {-1,+1} codes, one basis per output channel.

    Args:
        out_channels: Number of output channels Cout; ``basis`` is [K, Cout].
        bits: Number of planes K, 1..8.
        fan_out_n: Kernel height x width x Cout; sets the initial scale sqrt(2 / n).
    """

    def __init__(self, out_channels: int, bits: int, fan_out_n: int) -> None:
        check_bits(bits)
        if fan_out_n < 1:
            raise ValueError(f"fan_out_n must be positive, not {fan_out_n}")
        unit = NORMAL_UPPER_QUARTILE * math.sqrt(2 / fan_out_n) / 2 ** (bits - 1)
        planes = unit * 2.0 ** torch.arange(bits)
        super().__init__(bits, ActivationEncoding.SIGNED, planes[:, None].repeat(1, out_channels))

    _fit = staticmethod(fit_weight_bases)

    def _rows(self, weight: Tensor) -> Tensor:
        """The weights of each channel as a row [Cout, n], in the basis' type."""
        return weight.detach().to(self.basis.dtype).flatten(1).contiguous()

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes with the shape of ``weight`` (int64); bit j = plane j, 1 means +1."""
        index = torch.searchsorted(self.thresholds(), self._rows(weight), right=False)
        return self.sorted_levels()[1].gather(1, index).view(weight.shape)

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weights with the shape of ``weight``; the gradient passes unchanged.

        In training mode the basis is updated after the values were taken from the old one.
        """
        with torch.no_grad():
            levels, order = self.sorted_levels()
            thresholds = (levels[:, 1:] + levels[:, :-1]) / 2
            quantized, counts, sums = assign_row_levels(self._rows(weight), thresholds, levels)
            if self.training:
                self._learn(LevelStatistics(counts, sums, order))
        return _PassAll.apply(weight, quantized.view(weight.shape))


class ActivationQuantizer(LearnedQuantizer):
    """Quantizer of an activation tensor of any shape: one basis [K] for the whole tensor.

    The straight-through gradient is that of ``min(x, top level)``. The input is expected to come
    from a ReLU, so nothing is done about the lower side.

    Args:
        bits: Number of planes K, 1..8.
        encoding: Alphabet of the code bits.
    """

    def __init__(
        self, bits: int, encoding: ActivationEncoding = ActivationEncoding.UNSIGNED
    ) -> None:
        check_bits(bits)
        if encoding is ActivationEncoding.UNSIGNED:
            unit = NORMAL_UPPER_QUARTILE * 2 / (2**bits - 1)
        else:
            unit = NORMAL_UPPER_QUARTILE / 2 ** (bits - 1)
        super().__init__(bits, encoding, unit * 2.0 ** torch.arange(bits))
        self.statistics: Statistics = compare_and_sum
        self.gate: Gate = gate_gradient

    _fit = staticmethod(fit_activation_bases)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Integer codes with the shape of ``x`` (int64); bit j = plane j, 1 means one or +1."""
        index = torch.bucketize(
            x.detach().to(self.basis.dtype).contiguous(), self.thresholds(), right=False
        )
        return self.sorted_levels()[1][index]

    def forward(self, x: Tensor) -> Tensor:
        """Quantized ``x``, same shape and type.

        In training mode the basis is updated after the values were taken from the old one.
        """
        with torch.no_grad():
            levels, order = self.sorted_levels()
            thresholds = (levels[1:] + levels[:-1]) / 2
            if self.training:
                quantized, counts, sums = assign_levels(
                    x.detach(), thresholds, levels, self.statistics
                )
                self._learn(LevelStatistics(counts[None], sums[None], order[None]))
            else:
                quantized = round_to_levels(x.detach(), thresholds, levels)
        return _PassBelow.apply(x, quantized, levels[-1], self.gate)

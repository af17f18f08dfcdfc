"""Learned quantizers of LQ-Nets: value = basis . code, basis fitted by least squares.

A K-bit quantizer has K basis entries ``v`` and 2^K levels, one per code ``e``: ``q = v . e``.
Weight codes are in {-1,+1}^K with one basis per output channel; activation codes are in
{0,1}^K (the authors' released code) or {-1,+1}^K (the paper's text) with one basis per tensor.

The basis gets no gradient. Every training step does one alternation of quantization error
minimisation (QEM): codes from the stored basis, then the basis that minimises
``|v . e - x|^2`` for these codes, which enters a zero-debiased moving average.

Both steps only need, per level, how many elements fell on it and their sum. These are
gathered in one pass; K x N code tensors never exist.

Source: Zhang et al., "LQ-Nets: Learned Quantization for Highly Accurate and Compact Deep Neural
Networks" (ECCV 2018). Constants, order of operations and ties follow ``QuantizedActiv`` and
``QuantizedWeight`` in learned_quantization.py of the microsoft/LQ-Nets repository; the moving
average is TensorFlow's ``assign_moving_average`` with its default zero-debias.
"""

import enum
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOVING_AVERAGE_FACTOR = 0.9
"""Share of the old basis that stays in the moving average at each training step."""

WEIGHT_REGULARIZER = 1e-4
"""Pull of a weight basis towards its stored value, added to the diagonal of B B^T."""

NORMAL_UPPER_QUARTILE = 0.6745
"""75th percentile of N(0, 1); the initial bases are multiples of it."""

MAX_CONDITION = 1e5
"""Normal equations of an activation basis above this condition number are not solved."""

MAX_BITS = 8

MAX_COMPARED_THRESHOLDS = 7
"""Up to here one comparison per threshold is faster than a binary search and a histogram."""


Statistics = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Signature of :func:`compare_and_sum`, so that a compiled twin can take its place."""

Gate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Signature of :func:`gate_gradient`, so that a compiled twin can take its place."""


class ActivationEncoding(enum.Enum):
    """Alphabet of an activation code bit."""

    UNSIGNED = "unsigned"
    """{0,1}: lowest level exactly 0, as in the authors' released code."""

    SIGNED = "signed"
    """{-1,+1}: levels symmetric about 0, as in the paper's text."""


def code_table(bits: int, encoding: ActivationEncoding) -> Tensor:
    """All 2^K codes in counting order as float64 [2^K, K]; column j is bit j (0 = LSB)."""
    numbers = torch.arange(2**bits)
    ones = (numbers[:, None] >> torch.arange(bits)) & 1
    if encoding is ActivationEncoding.SIGNED:
        ones = 2 * ones - 1
    return ones.to(torch.float64)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be in 1..{MAX_BITS}, not {bits}")


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
        return ctx.gate(grads[0], x, top), None, None, None


def gate_gradient(gradient: Tensor, x: Tensor, top: Tensor) -> Tensor:
    """``gradient`` where ``x <= top``, compared in the type of ``top``, else 0."""
    return torch.where(x.to(top.dtype) <= top, gradient, 0.0)


class _Quantizer(nn.Module):
    """State shared by both quantizers: the basis and its zero-debiased moving average.

    Buffers: ``basis`` [K, ...] used by forward; ``biased`` [K, ...] the raw moving average that
    starts at zero; ``step`` [] the number of updates, so ``basis = biased / (1 - 0.9^step)``.
    """

    basis: Tensor
    biased: Tensor
    step: Tensor
    _codes: Tensor

    def __init__(self, bits: int, encoding: ActivationEncoding, basis: Tensor) -> None:
        super().__init__()
        self.bits = bits
        self.encoding = encoding
        self.register_buffer("basis", basis)
        self.register_buffer("biased", torch.zeros_like(basis))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("_codes", code_table(bits, encoding), persistent=False)

    def sorted_levels(self) -> tuple[Tensor, Tensor]:
        """Levels in ascending order and the integer code of each.

        Returns levels in the basis' type and int64 codes, both [..., 2^K]. The codes are a
        permutation of 0..2^K-1: counting order only where each basis entry is at least the sum
        of the smaller ones.
        """
        levels = (self.basis.t().double() @ self._codes.t()).to(self.basis.dtype)
        return torch.sort(levels, dim=-1, stable=True)

    def levels(self) -> Tensor:
        """Quantization levels in ascending order, [..., 2^K]."""
        return self.sorted_levels()[0]

    def thresholds(self) -> Tensor:
        """Midpoints of adjacent levels, [..., 2^K - 1]: x takes level i + 1 if x > t_i (strict)."""
        levels = self.levels()
        return (levels[..., 1:] + levels[..., :-1]) / 2

    @torch.no_grad()
    def _average(self, new_basis: Tensor) -> None:
        """Move the stored basis towards ``new_basis`` (TensorFlow's zero-debiased average)."""
        self.step += 1
        self.biased.lerp_(new_basis.to(self.biased.dtype), 1 - MOVING_AVERAGE_FACTOR)
        weight = 1 - torch.pow(MOVING_AVERAGE_FACTOR, self.step.double())
        self.basis.copy_(self.biased / weight.to(self.biased.dtype))


class WeightQuantizer(_Quantizer):
    """Quantizer of a weight tensor [Cout, ...]: {-1,+1} codes, one basis per output channel.

    Args:
        out_channels: Number of output channels Cout; ``basis`` is [K, Cout].
        bits: Number of planes K, 1..8.
        fan_out_n: Kernel height x width x Cout; sets the initial scale sqrt(2 / n).
    """

    def __init__(self, out_channels: int, bits: int, fan_out_n: int) -> None:
        _check_bits(bits)
        if fan_out_n < 1:
            raise ValueError(f"fan_out_n must be positive, not {fan_out_n}")
        unit = NORMAL_UPPER_QUARTILE * math.sqrt(2 / fan_out_n) / 2 ** (bits - 1)
        planes = unit * 2.0 ** torch.arange(bits)
        super().__init__(bits, ActivationEncoding.SIGNED, planes[:, None].repeat(1, out_channels))

    def _rows(self, weight: Tensor) -> Tensor:
        """The weights of each channel as a row [Cout, n], in the basis' type."""
        return weight.detach().to(self.basis.dtype).flatten(1).contiguous()

    def _index(self, rows: Tensor) -> Tensor:
        """Level index [Cout, n] of weights [Cout, n]: the number of thresholds below each."""
        return torch.searchsorted(self.thresholds(), rows, right=False)

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes with the shape of ``weight`` (int64); bit j = plane j, 1 means +1."""
        rows = self._rows(weight)
        return self.sorted_levels()[1].gather(1, self._index(rows)).view(weight.shape)

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weights with the shape of ``weight``; the gradient passes unchanged.

        In training mode the basis is updated after the values were taken from the old one.
        """
        with torch.no_grad():
            rows = self._rows(weight)
            index = self._index(rows)
            levels, order = self.sorted_levels()
            quantized = levels.gather(1, index).view(weight.shape)
            if self.training:
                self._average(self.fit(rows, index, order))
        return _PassAll.apply(weight, quantized)

    def fit(self, rows: Tensor, index: Tensor, order: Tensor) -> Tensor:
        """Least-squares basis [K, Cout] for weights ``rows`` [Cout, n] on levels ``index``.

        Solves ``(B B^T + r I) v = B x + r v_stored`` per channel with r = 1e-4, which exists
        even where two planes always agree.
        """
        codes = self._codes[order]
        zeros = torch.zeros(order.shape, dtype=torch.float64, device=rows.device)
        values = rows.double()
        counts = zeros.scatter_add(1, index, torch.ones_like(values))
        sums = zeros.scatter_add(1, index, values)
        gram = codes.mT @ (counts[..., None] * codes)
        gram = gram + WEIGHT_REGULARIZER * torch.eye(self.bits, dtype=gram.dtype)
        moment = codes.mT @ sums[..., None]
        moment = moment + WEIGHT_REGULARIZER * self.basis.t().double()[..., None]
        return torch.linalg.solve(gram, moment)[..., 0].t()


class ActivationQuantizer(_Quantizer):
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
        _check_bits(bits)
        if encoding is ActivationEncoding.UNSIGNED:
            unit = NORMAL_UPPER_QUARTILE * 2 / (2**bits - 1)
        else:
            unit = NORMAL_UPPER_QUARTILE / 2 ** (bits - 1)
        super().__init__(bits, encoding, unit * 2.0 ** torch.arange(bits))
        self.statistics: Statistics = compare_and_sum
        self.gate: Gate = gate_gradient
        self._warned = False

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
                self._average(self.fit(counts, sums, order))
            else:
                quantized = round_to_levels(x.detach(), thresholds, levels)
        return _PassBelow.apply(x, quantized, levels[-1], self.gate)

    def fit(self, counts: Tensor, sums: Tensor, order: Tensor) -> Tensor:
        """Least-squares basis [K] from the count and sum [2^K] of the elements on each level.

        Solves ``B B^T v = B x``. A plane that no element uses, or two planes that always agree,
        make it singular; the stored basis is returned then, with one warning per quantizer.
        """
        codes = self._codes[order]
        gram = codes.t() @ (counts[:, None] * codes)
        moment = codes.t() @ sums
        scale = gram.diagonal().clamp(min=1).rsqrt()
        spread = torch.linalg.eigvalsh(scale[:, None] * gram * scale)
        if not bool(spread[0] * MAX_CONDITION > spread[-1]):
            if not self._warned:
                self._warned = True
                warnings.warn(
                    "an activation quantizer uses too few of its levels to fit its basis; "
                    "it keeps the old one",
                    stacklevel=2,
                )
            return self.basis
        return torch.linalg.solve(gram, moment)


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
        flat = index.flatten()
        counts = torch.bincount(flat, minlength=len(levels)).double()
        sums = torch.bincount(flat, x.flatten().double(), minlength=len(levels))
        return quantized, counts, sums
    quantized, above_counts, above_sums = statistics(x, thresholds, levels)
    counts = above_counts.double()
    sums = above_sums.double()
    # Entry i so far holds all elements above threshold i - 1; level i ends where i + 1 begins.
    counts[:-1] -= counts[1:].clone()
    sums[:-1] -= sums[1:].clone()
    return quantized, counts, sums


def compare_and_sum(x: Tensor, thresholds: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized values, and count [2^K] and sum [2^K] of the elements above each threshold.

    Entry 0 covers all elements. This is the one pass over the tensor that training costs.
    """
    wide = x.to(levels.dtype)
    quantized = levels[0].expand_as(wide)
    counts = [torch.full((), x.numel(), dtype=torch.int64)]
    sums = [wide.sum()]
    for i in range(thresholds.shape[0]):
        above = wide > thresholds[i]
        quantized = torch.where(above, levels[i + 1], quantized)
        counts.append(above.sum())
        sums.append(torch.where(above, wide, 0.0).sum())
    return quantized.to(x.dtype), torch.stack(counts), torch.stack(sums)

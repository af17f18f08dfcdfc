"""What both learned quantizers have in common: the basis, its levels and its updates."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MOVING_AVERAGE_FACTOR = 0.9
"""Share of the old basis that stays in the moving average at each training step."""

MAX_BITS = 8

SETTLED_STEP = 1000
"""Updates that an imported basis counts as: 0.9^1000 vanishes, so its average is the basis."""


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


def check_bits(bits: int) -> None:
    """Raise a ValueError unless there can be so many planes."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be in 1..{MAX_BITS}, not {bits}")


@dataclass(frozen=True)
class LevelStatistics:
    """What a step of QEM needs to know of a tensor; a row for each basis.

    Attributes:
        counts: Elements on each level, float64 [R, 2^K].
        sums: Sum of these, float64 [R, 2^K].
        order: Code of each level, int64 [R, 2^K].
    """

    counts: Tensor
    sums: Tensor
    order: Tensor


Fit = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Signature of :func:`golden.basis_fit.fit_activation_bases`."""


class LearnedQuantizer(nn.Module):
    """State shared by both quantizers: the basis and its zero-debiased moving average.

    Buffers: ``basis`` [K, ...] used by forward; ``biased`` [K, ...] the raw moving average that
    starts at zero; ``step`` [] the number of updates, so ``basis = biased / (1 - 0.9^step)``;
    ``unfitted`` [] how many updates found no basis, not part of the saved state.

    Attributes:
        is_deferred: Whether :func:`update_bases` will be called for the bases of a step; if not,
            forward does it.
        pending: Statistics that wait for that.
    """

    basis: Tensor
    biased: Tensor
    step: Tensor
    unfitted: Tensor
    _codes: Tensor
    _fit: Fit

    def __init__(self, bits: int, encoding: ActivationEncoding, basis: Tensor) -> None:
        super().__init__()
        self.bits = bits
        self.encoding = encoding
        self.register_buffer("basis", basis)
        self.register_buffer("biased", torch.zeros_like(basis))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("unfitted", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("_codes", code_table(bits, encoding), persistent=False)
        self.is_deferred = False
        self.pending: LevelStatistics | None = None

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

    def rows(self, values: Tensor) -> Tensor:
        """``values`` of the shape of ``basis`` as one basis per row, [R, K]."""
        return values.reshape(self.bits, -1).t()

    def _learn(self, statistics: LevelStatistics) -> None:
        """Update the basis, now or later."""
        if not self.is_deferred:
            update_bases([self], [statistics])
        elif self.pending is None:
            self.pending = statistics
        else:
            # Another part of the same step: its codes come from the same basis.
            counts = self.pending.counts + statistics.counts
            sums = self.pending.sums + statistics.sums
            self.pending = LevelStatistics(counts, sums, statistics.order)


@torch.no_grad()
def update_bases(
    quantizers: Sequence[LearnedQuantizer], statistics: Sequence[LevelStatistics]
) -> None:
    """Fit the bases of quantizers of one kind and width, and move their averages towards them.

    Args:
        quantizers: The quantizers.
        statistics: Of each one's tensor in this step.
    """
    first = quantizers[0]
    counts = torch.cat([s.counts for s in statistics])
    sums = torch.cat([s.sums for s in statistics])
    codes = first._codes[torch.cat([s.order for s in statistics])]
    sizes = [s.counts.shape[0] for s in statistics]
    stored = torch.cat([q.rows(q.basis) for q in quantizers])
    new, fitted = first._fit(codes, counts, sums, stored)
    # TensorFlow's zero-debiased moving average.
    biased = torch.cat([q.rows(q.biased) for q in quantizers])
    biased = biased.lerp(new.to(biased.dtype), 1 - MOVING_AVERAGE_FACTOR)
    for quantizer in quantizers:
        quantizer.step += 1
    steps = torch.cat([q.step.expand(n) for q, n in zip(quantizers, sizes, strict=True)])
    weight = 1 - torch.pow(MOVING_AVERAGE_FACTOR, steps.double())
    basis = biased / weight.to(biased.dtype)[:, None]
    parts = zip(
        quantizers, basis.split(sizes), biased.split(sizes), fitted.split(sizes), strict=True
    )
    for quantizer, own_basis, own_biased, own_fitted in parts:
        quantizer.basis.copy_(own_basis.t().reshape(quantizer.basis.shape))
        quantizer.biased.copy_(own_biased.t().reshape(quantizer.basis.shape))
        quantizer.unfitted += ~own_fitted.all()

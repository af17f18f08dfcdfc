"""Least-squares bases from counts and sums per level, many at once and without waiting for a GPU.

A *row* is one basis: of an activation tensor, or of one output channel of a weight tensor. For
codes ``B`` (K x n, one column per element ``x``) the best basis solves ``B B^T v = B x``; both
sides need only, per level, how many elements are on it and their sum.
"""

import torch
from torch import Tensor

WEIGHT_REGULARIZER = 1e-4
"""Pull of a weight basis towards its stored value, added to the diagonal of B B^T."""

MAX_CONDITION = 1e5
"""Normal equations of an activation basis up to this condition number are solved."""


def normal_equations(codes: Tensor, counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """``B B^T`` [R, K, K] and ``B x`` [R, K, 1], all float64.

    Args:
        codes: Code of every level, [R, 2^K, K].
        counts: Elements on every level, [R, 2^K].
        sums: Sum of these, [R, 2^K].
    """
    return codes.mT @ (counts[..., None] * codes), codes.mT @ sums[..., None]


def fit_weight_bases(
    codes: Tensor, counts: Tensor, sums: Tensor, stored: Tensor
) -> tuple[Tensor, Tensor]:
    """Bases [R, K] that solve ``(B B^T + r I) v = B x + r v_stored`` with r = 1e-4.

    They exist even where two planes always agree. Arguments as for :func:`fit_activation_bases`.

    Returns:
        Float64 bases [R, K], and True for each, [R].
    """
    gram, moment = normal_equations(codes, counts, sums)
    identity = torch.eye(codes.shape[-1], dtype=gram.dtype, device=gram.device)
    gram = gram + WEIGHT_REGULARIZER * identity
    moment = moment + WEIGHT_REGULARIZER * stored.double()[..., None]
    bases = torch.linalg.solve_ex(gram, moment).result[..., 0]
    return bases, torch.ones(bases.shape[:1], dtype=torch.bool, device=bases.device)


def fit_activation_bases(
    codes: Tensor, counts: Tensor, sums: Tensor, stored: Tensor
) -> tuple[Tensor, Tensor]:
    """Bases [R, K] that solve ``B B^T v = B x``; the stored one where that is not determined.

    It is not if no element uses some plane, or two planes always agree. Nothing is thrown, since
    that would wait for the device; the second result tells.

    Args:
        codes: Code of every level, float64 [R, 2^K, K].
        counts: Elements on every level, float64 [R, 2^K].
        sums: Sum of these, float64 [R, 2^K].
        stored: Bases so far, [R, K].

    Returns:
        Float64 bases [R, K], and whether each was fitted, [R].
    """
    gram, moment = normal_equations(codes, counts, sums)
    bits = codes.shape[-1]
    scale = gram.diagonal(dim1=-2, dim2=-1).clamp(min=1).rsqrt()
    scaled = scale[..., :, None] * gram * scale[..., None, :]
    inverse = torch.linalg.inv_ex(scaled).inverse
    # In Frobenius' norm the condition number is between once and K times that of the 2-norm,
    # and infinite or not a number for a singular matrix.
    condition = scaled.square().sum((-2, -1)) * inverse.square().sum((-2, -1))
    fitted = condition < (bits * MAX_CONDITION) ** 2
    identity = torch.eye(bits, dtype=gram.dtype, device=gram.device)
    solvable = torch.where(fitted[:, None, None], gram, identity)
    bases = torch.linalg.solve_ex(solvable, moment).result[..., 0]
    return torch.where(fitted[:, None], bases, stored.double()), fitted

"""Roundings to numbers with few bits, for :mod:`golden.exact_parameters`."""

from __future__ import annotations

import math

import numpy as np

from golden.float_weights import CLIPPING, float_weight_planes
from golden.graph import FloatWeights, QuantizedWeights, Weights

__all__ = [
    "divided",
    "fraction_of",
    "integer_bits",
    "nearest",
    "nearest_nonzero",
    "rounded_basis",
    "stepped_weights",
]

BASIS_TOLERANCE = 2.0**-8
"""Relative error of the entries of an activation's basis; weights get the bits that are left."""

BASIS_BITS = 12
"""Most bits of the largest entry, whatever the tolerance of small ones."""

LONGEST = 64
"""Limit for numbers whose expansions are long, or do not end."""


def rounded_basis(basis: np.ndarray) -> np.ndarray:
    """The basis of an activation in as few bits as its tolerance leaves it."""
    largest = np.abs(basis).max()
    if largest == 0:
        return basis
    fraction = -math.floor(math.log2(largest))
    for bits in range(BASIS_BITS):
        values = nearest_nonzero(basis, fraction + bits)
        if (np.abs(values - basis) <= BASIS_TOLERANCE * np.abs(basis)).all():
            return values
    return nearest_nonzero(basis, fraction + BASIS_BITS - 1)


def stepped_weights(
    values: np.ndarray, planes: int, fraction: int, most: int | None = None
) -> np.ndarray:
    """Weights of ``planes`` planes whose steps are multiples of ``2**-fraction``, at most ``most``.

    Per channel they are odd multiples of the step with the least squared error, which clips the
    largest |w| or is larger than that needs.
    """
    largest = 2**planes - 1
    _, basis = float_weight_planes(values, planes)
    shape = (-1, *(1,) * (values.ndim - 1))
    best, least = np.zeros_like(values), np.full(len(values), np.inf)
    for share in (*CLIPPING, 2.0):
        ideal = np.ldexp(np.minimum(share, 1.0) * basis[0], fraction)
        steps = np.clip(np.floor(ideal) if share <= 1 else np.ceil(ideal), 1, most)
        step = np.ldexp(steps, -fraction).reshape(shape)
        odd = np.clip(2 * np.floor(values / (2 * step)) + 1, -largest, largest)
        error = ((odd * step - values) ** 2).reshape(len(values), -1).sum(axis=1)
        better = (error < least) & (basis[0] > 0)
        best[better], least[better] = (odd * step)[better], error[better]
    return best


def fraction_of(values: np.ndarray) -> int:
    """Fewest fraction bits that hold ``values``; beyond any format for most numbers."""
    for fraction in range(-LONGEST, LONGEST):
        scaled = np.ldexp(values, fraction)
        if np.array_equal(scaled, np.rint(scaled)):
            return fraction
    return LONGEST


def integer_bits(largest: float) -> int:
    """Bits before the point of numbers up to ``largest``."""
    return math.ceil(math.log2(largest)) if largest > 0 else 0


def nearest(values: np.ndarray, fraction: int) -> np.ndarray:
    """To the nearest multiples of ``2**-fraction``."""
    return np.ldexp(np.rint(np.ldexp(values, fraction)), -fraction)


def nearest_nonzero(values: np.ndarray, fraction: int) -> np.ndarray:
    """As :func:`nearest`, but what is not zero stays so."""
    integers = np.maximum(np.rint(np.abs(np.ldexp(values, fraction))), values != 0)
    return np.sign(values) * np.ldexp(integers, -fraction)


def divided(weights: Weights, powers: np.ndarray) -> Weights:
    """The weights before a scale of ``powers`` (float64 [Cout])."""
    if isinstance(weights, QuantizedWeights):
        return QuantizedWeights(weights.planes, weights.basis / powers)
    values = weights.values
    return FloatWeights(values / powers.reshape(-1, *(1,) * (values.ndim - 1)))

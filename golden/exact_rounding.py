"""Roundings to numbers with few bits, for :mod:`golden.exact_parameters`."""

from __future__ import annotations

import math

import numpy as np

from golden.float_weights import CLIPPING, float_weight_planes

__all__ = [
    "fraction_of",
    "integer_bits",
    "rounded",
    "rounded_basis",
    "rounded_up",
    "stepped_weights",
]

LEAST_BASIS_BITS, MOST_BASIS_BITS = 8, 12
SMALLEST_BASIS_BITS = 6
"""Bits of the largest entry of an activation's basis, and what the smallest one gets of them."""

MOST_FRACTION = 64
"""Limit for numbers whose expansions are long, or do not end."""


def rounded_basis(basis: np.ndarray) -> np.ndarray:
    """The basis of an activation, on a grid that is fine enough for its smallest entry."""
    largest = np.abs(basis).max()
    smallest = np.abs(basis[basis != 0]).min(initial=largest)
    if largest == 0:
        return basis
    bits = math.ceil(math.log2(largest / smallest)) + SMALLEST_BASIS_BITS
    bits = min(max(bits, LEAST_BASIS_BITS), MOST_BASIS_BITS)
    return rounded_up(basis, bits - 1 - math.floor(math.log2(largest)))


def stepped_weights(values: np.ndarray, planes: int, fraction: int) -> np.ndarray:
    """Weights of ``planes`` planes whose steps are multiples of ``2**-fraction``.

    The largest |w| of a channel is on the largest number, so that
    :func:`golden.float_weights.float_weight_planes` finds the same step. As there it may be
    clipped for the least squared error.
    """
    largest = 2**planes - 1
    _, basis = float_weight_planes(values, planes)
    shape = (-1, *(1,) * (values.ndim - 1))
    best, least = np.zeros_like(values), np.full(len(values), np.inf)
    for share in CLIPPING:
        steps = np.maximum(np.floor(np.ldexp(share * basis[0], fraction)), 1)
        step = np.ldexp(steps, -fraction).reshape(shape)
        odd = np.clip(2 * np.floor(values / (2 * step)) + 1, -largest, largest)
        error = ((odd * step - values) ** 2).reshape(len(values), -1).sum(axis=1)
        better = error < least
        best[better], least[better] = (odd * step)[better], error[better]
    return best


def fraction_of(values: np.ndarray) -> int:
    """Fewest fraction bits that hold ``values``; beyond any format for most numbers."""
    for fraction in range(-MOST_FRACTION, MOST_FRACTION):
        scaled = np.ldexp(values, fraction)
        if np.array_equal(scaled, np.rint(scaled)):
            return fraction
    return MOST_FRACTION


def integer_bits(largest: float) -> int:
    """Bits before the point of numbers up to ``largest``."""
    return math.ceil(math.log2(largest)) if largest > 0 else 0


def rounded(values: np.ndarray, fraction: int) -> np.ndarray:
    """To the nearest multiples of ``2**-fraction``."""
    return np.ldexp(np.rint(np.ldexp(values, fraction)), -fraction)


def rounded_up(values: np.ndarray, fraction: int) -> np.ndarray:
    """As :func:`rounded`, but what is not zero stays so."""
    integers = np.maximum(np.rint(np.abs(np.ldexp(values, fraction))), values != 0)
    return np.sign(values) * np.ldexp(integers, -fraction)

"""Chooses the fixed-point formats of all layers, and proves that no accumulator overflows.

A layer's accumulator gets the most fraction bits for which its coefficients fit their width and
the worst case of everything that is added stays inside the accumulator. Streams get the fraction
that just holds their calibrated range with headroom (or the worst case, if that is less), limited
by the accumulators of the layers that write and read them: a stream enters an accumulator by a
left shift and leaves it by a right shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.fixed_point import signed_range
from golden.graph import ModelError
from golden.integer_network import Arithmetic
from golden.lowering_plan import AffinePlan

__all__ = [
    "Formats",
    "affine_fraction",
    "largest_fraction",
    "range_fraction",
    "rounded",
]

MAX_FRACTION = 64
"""Limit for values that are zero or nearly so."""

MIN_FRACTION = -128
MAX_SHIFT = 31
"""Largest shift between an accumulator and a stored value."""


@dataclass
class Formats:
    """Fraction bits of the stored tensors, by name; lowered where a layer demands it."""

    streams: dict[str, int]
    fixed: dict[str, int]
    changed: bool = False

    def limit_stream(self, tensor: str, fraction: int) -> None:
        """Lower the fraction of a stream to at most ``fraction``."""
        self._limit(self.streams, tensor, fraction)

    def limit_fixed(self, tensor: str, fraction: int) -> None:
        """Lower the fraction of a fixed-point plane tensor to at most ``fraction``."""
        self._limit(self.fixed, tensor, fraction)

    def _limit(self, fractions: dict[str, int], tensor: str, fraction: int) -> None:
        if fractions[tensor] > fraction:
            fractions[tensor] = fraction
            self.changed = True


def rounded(values: np.ndarray, fraction: int) -> np.ndarray:
    """``values * 2**fraction`` to the nearest integers (int64), halves to even."""
    return np.rint(np.ldexp(values, fraction)).astype(np.int64)


def range_fraction(largest: float, bits: int) -> int:
    """Most fraction bits with which ``bits`` signed bits hold ``largest`` (>= 0)."""
    top = signed_range(bits)[1]
    if largest <= 0:
        return MAX_FRACTION
    fraction = math.floor(math.log2(top / largest))
    while math.ldexp(largest, fraction) > top:
        fraction -= 1
    return min(fraction, MAX_FRACTION)


def largest_fraction(fits: Callable[[int], bool], start: int, name: str, what: str) -> int:
    """Largest fraction, counting down from ``start``, for which ``fits``.

    ``fits`` works on the rounded integers, so that its yes is the proof.
    """
    for fraction in range(min(start, MAX_FRACTION), MIN_FRACTION, -1):
        if fits(fraction):
            return fraction
    raise ModelError(f"node {name!r}: {what} must fit the accumulator at some scale, but does not")


def affine_fraction(
    affine: AffinePlan,
    summands: int,
    stream_fraction: int,
    most: int,
    arithmetic: Arithmetic,
    name: str,
) -> int:
    """Fraction bits of ``s * gain + offset`` for a stream ``s`` with ``stream_fraction``.

    It is at most ``most``. ``summands`` such values must fit the accumulator together. The gain
    gets the fraction minus that of the stream.
    """
    _, gain_top = signed_range(arithmetic.coefficient)
    _, top = signed_range(arithmetic.accumulator)
    largest = 1 << (arithmetic.stream - 1)

    def fits(fraction: int) -> bool:
        gains = _magnitude(affine.gain, fraction - stream_fraction)
        offsets = _magnitude(affine.offset, fraction)
        if gains.max() > gain_top:
            return False
        return bool(summands * (largest * gains + offsets).max() <= top)

    start = stream_fraction + range_fraction(
        float(np.abs(affine.gain).max()), arithmetic.coefficient
    )
    return largest_fraction(fits, min(start, most), name, "batch-norm on the stream")


def _magnitude(values: np.ndarray, fraction: int) -> np.ndarray:
    """|rounded values| as floats: exact where it matters, without overflow where it does not."""
    return np.abs(np.rint(np.ldexp(values, fraction)))
